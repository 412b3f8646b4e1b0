package main

import (
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/capture"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// figures is where the metrics come from.
type figures struct {
	capture  func() capture.Status
	spool    func() rotate.Stats
	triggers func() trigger.Stats
	outbox   func() upload.OutboxStats
	notifier func() upload.NotifierStats
	reloads  func() reloads
	timeline func() hoststate.Stats
	watchers func() []hoststate.WatcherStatus
	rules    func() trigger.RulesStats

	detection func() *detectionStats
	api       func() api.Stats
}

// newMetrics serves the state of all parts as they are at each scrape; nothing is counted twice.
func newMetrics(f figures) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		scrape(sendBuild),
		scrape(func(s sender) { sendCapture(s, f.capture()) }),
		scrape(func(s sender) { sendSpool(s, f.spool()) }),
		scrape(func(s sender) { sendTriggers(s, f.triggers()) }),
		scrape(func(s sender) { sendOutbox(s, f.outbox()) }),
		scrape(func(s sender) { sendNotifier(s, f.notifier()) }),
		scrape(func(s sender) { sendConfig(s, f.reloads()) }),
		scrape(func(s sender) { sendHost(s, f.timeline(), f.watchers()) }),
		scrape(func(s sender) { sendRules(s, f.rules()) }),
		scrape(func(s sender) { sendDetect(s, f.detection()) }),
		scrape(func(s sender) { sendAPI(s, f.api()) }),
		scrape(sendClock),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// scrape is a collector whose metrics are only known when it is asked.
type scrape func(sender)

// Describe sends nothing: the collector is unchecked.
func (scrape) Describe(chan<- *prometheus.Desc) {}

// Collect sends every metric.
func (s scrape) Collect(out chan<- prometheus.Metric) { s(sender{out}) }

// sender sends metrics named ringside_NAME. Labels are pairs of a name and a value.
type sender struct{ out chan<- prometheus.Metric }

func (s sender) counter(name, help string, value uint64, labels ...string) {
	s.send(prometheus.CounterValue, name, help, float64(value), labels)
}

func (s sender) gauge(name, help string, value int64, labels ...string) {
	s.send(prometheus.GaugeValue, name, help, float64(value), labels)
}

func (s sender) seconds(name, help string, value time.Duration, labels ...string) {
	s.send(prometheus.GaugeValue, name, help, value.Seconds(), labels)
}

// time sends nothing for a time that is not known yet: 0 would read as 1970.
func (s sender) time(name, help string, t time.Time, labels ...string) {
	if !t.IsZero() {
		s.send(prometheus.GaugeValue, name, help, float64(t.UnixNano())/1e9, labels)
	}
}

func (s sender) send(kind prometheus.ValueType, name, help string, value float64, labels []string) {
	var names, values []string
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, strings.ToValidUTF8(labels[i+1], "?"))
	}
	desc := prometheus.NewDesc("ringside_"+name, help, names, nil)
	s.out <- prometheus.MustNewConstMetric(desc, kind, value, values...)
}

func sendBuild(s sender) {
	s.gauge("build_info", "Always 1; its labels say what runs.", 1, "version", version, "goversion", runtime.Version())
}

// sendCapture adds up interfaces that share a name, because a metric may be sent once for each set of labels.
func sendCapture(s sender, c capture.Status) {
	packets := map[string]uint64{}
	states := map[string]int64{
		capture.StateRecording: 0, capture.StateWaiting: 0, capture.StateDown: 0, capture.StateExcluded: 0, capture.StateBlind: 0,
	}
	for _, i := range c.Interfaces {
		states[i.State]++
		if i.State != capture.StateExcluded || i.Received > 0 {
			packets[i.Name] += i.Received
		}
	}
	for name, n := range packets {
		s.counter("capture_received_packets_total", "Packets recorded, by interface.", n, "interface", name)
	}
	for state, n := range states {
		s.gauge("capture_interfaces_total", "Interfaces in each state at the moment.", n, "state", state)
	}
	for _, r := range c.Rings {
		sendRing(s, r)
	}
	s.counter("capture_own_recorded_total", "Connections of Ringside itself that could not be left out of the recording.", c.OwnRecorded)
}

func sendRing(s sender, r capture.RingStatus) {
	const cut = "Packets stored shorter than they were: by policy as the service's payload asks, by limit because no ring block or file holds more."
	s.counter("capture_ring_received_packets_total", "Packets the kernel handed over.", r.Received, "ring", r.Name)
	s.counter("capture_dropped_packets_total", "Packets the kernel dropped because the ring was full.", r.Dropped, "ring", r.Name)
	s.counter("capture_ring_frozen_total", "Times the kernel found the ring full.", r.Frozen, "ring", r.Name)
	s.counter("capture_cut_packets_total", cut, r.CutPolicy, "ring", r.Name, "by", "policy")
	s.counter("capture_cut_packets_total", cut, r.CutLimit, "ring", r.Name, "by", "limit")
	s.counter("capture_filtered_packets_total", "Packets that a coarsened filter let through and the process left out.", r.Filtered, "ring", r.Name)
	s.gauge("capture_ring_bytes", "Memory of the ring.", int64(r.Bytes), "ring", r.Name)
	s.time("capture_covered_to_timestamp_seconds", "Time up to which the ring is recorded.", r.CoveredTo, "ring", r.Name)
}

func sendSpool(s sender, t rotate.Stats) {
	s.counter("spool_written_packets_total", "Packets written to the spool.", t.WrittenPackets)
	s.counter("spool_written_bytes_total", "Bytes written to the spool, padding included.", t.WrittenBytes)
	s.counter("spool_unwritten_packets_total", "Packets captured that could not be written.", t.UnwrittenPackets)
	s.counter("spool_unwritten_bytes_total", "Bytes captured that could not be written.", t.UnwrittenBytes)
	s.counter("spool_write_errors_total", "Writes that failed.", t.WriteErrors)
	s.counter("spool_seal_failures_total", "Segments whose index or name could not be written.", t.SealFailures)
	s.counter("spool_sync_failures_total", "Segments that the disk did not confirm.", t.SyncFailures)
	s.counter("spool_rotations_total", "Segments begun.", t.Rotations)
	s.counter("spool_removed_segments_total", "Segments that retention removed.", t.Removed)
	s.counter("spool_clock_steps_total", "Times the wall clock was moved.", t.ClockSteps)
	s.counter("spool_lost_notes_total", "Dated facts that could not be kept.", t.NotesLost)
	s.gauge("spool_segments_total", "Segments in the spool at the moment.", int64(t.Segments))
	s.gauge("spool_bytes", "Size of the spool, without what only pins hold.", t.Bytes)
	s.gauge("spool_budget_bytes", "Size that the spool may have.", t.KeepBytes)
	s.gauge("spool_pinned_bytes", "Size of what only pins hold.", t.PinnedBytes)
	s.gauge("spool_pins_total", "Incidents that pin a part of the spool at the moment.", int64(t.Pins))
	s.gauge("spool_queue_bytes", "Memory of the chunks that wait for the disk.", int64(t.Queue)*pcapng.ChunkSize)
	s.gauge("spool_disk_free_bytes", "Free bytes of the spool's file system.", t.DiskFree)
	s.gauge("spool_disk_size_bytes", "Size of the spool's file system.", t.DiskTotal)
	s.time("spool_oldest_timestamp_seconds", "Least time that the spool covers.", t.Oldest)
	s.time("spool_newest_timestamp_seconds", "Greatest time that the spool covers.", t.Newest)
}

package main

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/capture"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

func scrapeAll(t *testing.T, c capture.Status, s rotate.Stats) string {
	t.Helper()
	h := newMetrics(figures{
		capture: func() capture.Status { return c }, spool: func() rotate.Stats { return s },
		triggers: func() trigger.Stats { return trigger.Stats{} }, outbox: func() upload.OutboxStats { return upload.OutboxStats{} },
		notifier: func() upload.NotifierStats { return upload.NotifierStats{} }, reloads: func() reloads { return reloads{} },
		api: func() api.Stats { return api.Stats{} },
		detection: func() *detectionStats {
			return &detectionStats{Packets: 90, Skipped: 7, Findings: map[string]uint64{"conntrack-loss": 2}, Conversations: 41, CoveredTo: time.Now()}
		},
	})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	at := time.Unix(1795374000, 500_000_000)
	text := scrapeAll(t, capture.Status{
		Ready: true,
		Interfaces: []capture.InterfaceStatus{
			{Name: "eth0", State: capture.StateRecording, Received: 40},
			{Name: "eth0", State: capture.StateWaiting, Received: 2}, // the same name, vanished and back
			{Name: "bad\xff", State: capture.StateDown, Received: 1},
			{Name: "docker0", State: capture.StateExcluded},
		},
		Rings: []capture.RingStatus{{Name: "eth0", Bytes: 1 << 25, Received: 50, Dropped: 7, Frozen: 1, CutPolicy: 30, CutLimit: 2, Filtered: 3, CoveredTo: at}},
	}, rotate.Stats{
		WrittenPackets: 41, UnwrittenPackets: 1, Segments: 5, Bytes: 1 << 20, Queue: 2, Oldest: at,
	})
	for _, line := range []string{
		`ringside_capture_received_packets_total{interface="eth0"} 42`,
		`ringside_capture_received_packets_total{interface="bad?"} 1`,
		`ringside_capture_dropped_packets_total{ring="eth0"} 7`,
		`ringside_capture_ring_received_packets_total{ring="eth0"} 50`,
		`ringside_capture_ring_frozen_total{ring="eth0"} 1`,
		`ringside_capture_cut_packets_total{by="policy",ring="eth0"} 30`,
		`ringside_capture_cut_packets_total{by="limit",ring="eth0"} 2`,
		`ringside_capture_filtered_packets_total{ring="eth0"} 3`,
		`ringside_capture_covered_to_timestamp_seconds{ring="eth0"} 1.7953740005e+09`,
		`ringside_capture_interfaces_total{state="recording"} 1`,
		`ringside_capture_interfaces_total{state="blind"} 0`,
		`ringside_spool_written_packets_total 41`,
		`ringside_spool_unwritten_packets_total 1`,
		`ringside_spool_segments_total 5`,
		`ringside_spool_queue_bytes 2.097152e+06`,
		`ringside_spool_oldest_timestamp_seconds 1.7953740005e+09`,
		`ringside_detect_packets_total 90`,
		`ringside_detect_skipped_packets_total 7`,
		`ringside_detect_findings_total{class="conntrack-loss"} 2`,
		`ringside_detect_conversations_total 41`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	for _, absent := range []string{"docker0", "ringside_spool_newest_timestamp_seconds"} {
		if strings.Contains(text, absent) {
			t.Errorf("%s is there, which is excluded or unknown", absent)
		}
	}
}

// TestMetricNames holds every name of ours to the contract: ringside_ first, a unit or _total last.
func TestMetricNames(t *testing.T) {
	text := scrapeAll(t, capture.Status{Rings: []capture.RingStatus{{Name: "r"}}}, rotate.Stats{})
	names := regexp.MustCompile(`(?m)^# TYPE (\S+) `).FindAllStringSubmatch(text, -1)
	ours := 0
	for _, m := range names {
		switch name := m[1]; {
		case strings.HasPrefix(name, "go_"), strings.HasPrefix(name, "process_"), name == "ringside_build_info":
		case regexp.MustCompile(`^ringside_[a-z_]+_(total|bytes|seconds)$`).MatchString(name):
			ours++
		default:
			t.Errorf("metric %s: want ringside_..._total, _bytes or _seconds", name)
		}
	}
	if ours < 25 {
		t.Errorf("%d metrics of ours, want at least 25", ours)
	}
}

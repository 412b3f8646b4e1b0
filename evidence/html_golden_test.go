package evidence

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/series"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/rotate"
)

var update = flag.Bool("update", false, "write the golden reports")

// goldenReport is what tests of the page in other modules read.
const goldenReport = "testdata/incident.report.json"

// TestGolden holds the stored report against the types.
func TestGolden(t *testing.T) {
	want, err := json.MarshalIndent(goldenIncident(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(goldenReport, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(goldenReport); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what the types say (%v): go test ./evidence -run TestGolden -update", goldenReport, err)
	}
}

var goldenFault = time.Date(2026, 11, 3, 2, 14, 7, 318e6, time.UTC)

func sinceFault(d time.Duration) time.Time { return goldenFault.Add(d) }

// goldenIncident is a bundle's report of a night: systemd-networkd removed an address, and with it the state of 41 flows.
func goldenIncident() *Report {
	from, to := sinceFault(-67318*time.Millisecond), sinceFault(22682*time.Millisecond)
	chain := []Event{
		{sinceFault(-3120 * time.Millisecond), "package.upgraded", "libc6", "libc6 2.36-9+deb12u13 → 2.36-9+deb12u14", "unattended-upgrade"},
		{sinceFault(-1204 * time.Millisecond), "unit.restarted", "systemd-networkd.service", "systemd-networkd.service was restarted", "needrestart"},
		{sinceFault(-2 * time.Millisecond), "address.removed", "ens5", "10.0.3.17/20 was removed from ens5", "systemd-networkd"},
		{sinceFault(0), "conntrack.burst", "", "312 entries were destroyed within 4 ms", "kernel"},
	}
	events := append([]Event{
		{sinceFault(-41 * time.Second), "unit.started", "apt-daily-upgrade.service", "apt-daily-upgrade.service was started", "systemd"},
		{sinceFault(-30 * time.Second), "log.line", "kernel", "TCP: request_sock_TCP: Possible SYN flooding on port 9100. Sending cookies.", ""},
		{sinceFault(310 * time.Millisecond), "address.added", "ens5", "10.0.3.17/20 was added to ens5", "systemd-networkd"},
		{sinceFault(322 * time.Millisecond), "route.added", "default", "default via 10.0.0.1 dev ens5 was added", "systemd-networkd"},
		{sinceFault(9 * time.Second), "observation", "orders", "readiness probe failed: HTTP 503", "kubelet"},
	}, chain...)
	loss := detect.Finding{
		Class: detect.ConntrackLoss, Rule: "port-migration", Confidence: 0.97, First: goldenFault, Last: sinceFault(14700 * time.Millisecond), Count: 41,
		Text:     "41 flows went on in mid-stream from another port within 4 ms of each other, and the server, which knew nothing of them, answered RST",
		Services: []string{"orders-db", "sessions-cache"},
	}
	for i := range 41 {
		loss.Flows = append(loss.Flows, goldenFlow(i))
	}
	loss.Citations = loss.Flows[0].Citations
	probes := detect.Finding{
		Class: detect.ConnectRejected, Rule: "refused-once", Confidence: 0.3, First: sinceFault(-20 * time.Second), Last: sinceFault(-20 * time.Second), Count: 1,
		Text: "one connection to 10.0.9.44:9100 was refused, and the next one was not", Services: []string{"node-exporter"}, Citations: []detect.Citation{},
		Flows: []detect.Flow{{Src: "10.0.3.17:40112", Dst: "10.0.9.44:9100", Service: "node-exporter", Interface: "ens5", Fate: detect.Refused,
			First: sinceFault(-20 * time.Second), Last: sinceFault(-20 * time.Second)}},
	}
	return &Report{
		Version: Version, Created: sinceFault(94 * time.Second), Program: "ringside 0.5.0",
		Incident: &Incident{ID: "20261103T021407Z-7f3a", Cluster: "prod-eu", Node: "ip-10-0-3-17", Trigger: "rule: finding conntrack-loss", At: sinceFault(900 * time.Millisecond), From: from, To: to},
		Verdict: Verdict{
			Class: detect.ConntrackLoss, Confidence: 0.97, StateLost: true, First: goldenFault, Last: sinceFault(14700 * time.Millisecond), Chain: chain,
			Cause: "the kernel destroyed it when systemd-networkd removed 10.0.3.17 from ens5, 1.2 s after needrestart restarted it",
			Sentence: "Conntrack state of 41 flows to orders-db and sessions-cache was lost at 02:14:07.318; the kernel destroyed it when systemd-networkd removed " +
				"10.0.3.17 from ens5, 1.2 s after needrestart restarted it; 33 flows were reset, 8 hung; impact ended at 02:14:22.",
			Impact: Impact{Flows: 41, Services: loss.Services, Seconds: 14.7, Fates: map[string]int{detect.Reset: 33, detect.Hung: 8}, From: goldenFault, To: sinceFault(14700 * time.Millisecond)},
			Need:   []string{"Record the pods’ side of cali9f2e0 too: it was blind, so for 3 of the flows it is not known whether answers reached the pod."},
		},
		Findings: []detect.Finding{loss, probes},
		RuledOut: []RuledOut{
			{detect.NATRulesLoss, "New connections were translated as before: 118 of them in the 15 s after."},
			{detect.ServerRestart, "The servers went on answering new connections from the same ports, and their RSTs came only upon segments from ports that they had never seen."},
			{detect.PathOutage, "Packets of other flows passed ens5 in both directions throughout."},
			{detect.ConntrackTableFull, "The table held 312 of 262144 entries, and no insertion failed."},
		},
		Services: []Service{
			goldenService("orders-db", 5.2e6, from, 60, true), goldenService("sessions-cache", 0.6e6, from, 210, true),
			goldenService("invoices-db", 9e6, from, 14, false), goldenService("node-exporter", 31e6, from, 1, false),
		},
		Coverage: Coverage{
			From: from, To: to, Known: true,
			Vantages: []detect.Vantage{{Name: "ens5", Uplink: true, Packets: 151_340}, {Name: "cali41d7c", Packets: 88_120}, {Name: "cali9f2e0", Packets: 12_019}},
			Blind:    []detect.Blind{{Vantage: "cali9f2e0", From: sinceFault(-9 * time.Second), To: sinceFault(-6 * time.Second), Why: "its packets bypass the interface (redirect_peer)"}},
			Missing:  []rotate.Missing{{Span: rotate.Span{From: sinceFault(-48 * time.Second), To: sinceFault(-47600 * time.Millisecond)}, Ring: "ens5", Reason: rotate.MissingDropped, Packets: 212}},
			Stats:    detect.Stats{Packets: 251_479, TCP: 250_200, Unread: 113, Conversations: 402, Retransmitted: 388, Unseen: 4},
			Timeline: &TimelineFacts{Events: 412, Complete: true, Watchers: []hoststate.WatcherStatus{
				{Name: "conntrack", State: "running", Since: from}, {Name: "units", State: "running", Since: from, Blind: []string{"units of containers"}},
			}},
		},
		Events: events,
		Paths: []detect.Path{
			{From: "cali41d7c", To: "ens5", Flows: 38, Segments: 40112, MedianNS: 18_400, P99NS: 96_000, MaxNS: 1_220_000},
			{From: "ens5", To: "cali41d7c", Flows: 38, Segments: 39870, MedianNS: 21_700, P99NS: 120_000, MaxNS: 2_010_000, Vanished: 57, VanishedFlows: 8},
		},
		Files: []File{{Name: "capture.pcapng", Packets: 251_479, Bytes: 27_662_690, SHA256: "5f1d2c0a9b7e43d88a6c15f0e2b94d7713c08ea6d95b2f4e6a1c3d7088b9e5f2"}},
	}
}

// goldenFlow is one of the flows that were lost.
func goldenFlow(i int) detect.Flow {
	server, service := "10.0.9.21:5432", "orders-db"
	if i%3 == 1 {
		server, service = "10.0.9.80:6379", "sessions-cache"
	}
	at := sinceFault(time.Duration(i*i*7) * time.Millisecond)
	f := detect.Flow{
		Src: fmt.Sprintf("10.0.3.17:%d", 31022+i*13), Dst: server, Service: service, Interface: "ens5", Inner: fmt.Sprintf("10.0.44.%d:%d", 5+i%4, 40210+i*3),
		Then: fmt.Sprintf("10.0.3.17:%d", 52001+i*29), Fate: detect.Reset, First: at, Last: at.Add(21 * time.Millisecond),
	}
	cite := func(d time.Duration, name string, frame int, what string) {
		f.Citations = append(f.Citations, detect.Citation{File: "capture.pcapng", Interface: name, TimeNS: at.Add(d).UnixNano(), Frame: uint64(frame), What: what})
	}
	cite(-40*time.Millisecond, "ens5", 180_100+i*31, "the last segment from the old port")
	cite(0, "cali41d7c", 181_002+i*31, "the pod’s next segment")
	if i%5 == 4 {
		f.Then, f.Fate, f.Last = "", detect.Hung, sinceFault(14700*time.Millisecond)
		cite(30*time.Millisecond, "ens5", 181_050+i*31, "the server’s answer, which never reached the pod")
		return f
	}
	cite(18*time.Microsecond, "ens5", 181_003+i*31, "the same segment, from another port")
	cite(620*time.Microsecond, "ens5", 181_004+i*31, "RST of the server, which knows no such connection")
	return f
}

// goldenService is a service of 90 s, whose answers take about so many ns; those that were hit slow down.
func goldenService(name string, usual int64, from time.Time, rate uint64, hit bool) Service {
	s := series.Series{Service: name, From: from.Truncate(time.Second), StepNS: int64(time.Second)}
	for i := range 91 {
		at := s.From.Add(time.Duration(i) * time.Second).Sub(goldenFault)
		wobble := int64(i*i*31%17) - 8
		b := series.Bucket{Answers: rate + uint64(i*7%5), P50: usual + usual*wobble/60, Connects: uint64(i % 4 / 3), ConnectMax: 800_000, Bytes: rate * 900}
		b.P95 = b.P50 * 2
		b.Max = b.P95*2 + usual*(wobble+9)/6
		if i%23 == 7 {
			b.Retransmitted = 1
		}
		if hit && at > -time.Second && at < 15*time.Second {
			left := int64(15 - at/time.Second)
			b.Answers, b.P95, b.Max = b.Answers*uint64(16-left)/16, usual*20*left, min(1_000_000_000*left, 7_400_000_000)
			b.P50 = usual * (1 + left/2)
			b.Resets, b.Retransmitted, b.TimeOuts, b.Connects = uint64(left*left/20), uint64(left*2), uint64(left/4), uint64(left)
		}
		t := &s.Total
		t.Answers, t.Connects, t.Resets, t.Retransmitted, t.TimeOuts, t.Bytes = t.Answers+b.Answers, t.Connects+b.Connects, t.Resets+b.Resets, t.Retransmitted+b.Retransmitted, t.TimeOuts+b.TimeOuts, t.Bytes+b.Bytes
		t.Max, t.ConnectMax = max(t.Max, b.Max), max(t.ConnectMax, b.ConnectMax)
		s.Buckets = append(s.Buckets, b)
	}
	s.Total.P50, s.Total.P95 = usual, usual*2
	s.Packets = 3*s.Total.Answers + 4*s.Total.Connects
	return Service{Name: name, Packets: s.Packets, Series: s}
}

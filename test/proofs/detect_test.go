package proofs

import (
	"context"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/ringside/ringside/lab"
	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/ringside"
)

const (
	lookedMetric  = "ringside_detect_packets_total"
	skippedMetric = "ringside_detect_skipped_packets_total"
)

// TestFindingTriggers flushes the connection tracking of the laboratory's node while no rule but one on what the packets
// show is in force: it triggers, and soon.
func TestFindingTriggers(t *testing.T) {
	t.Parallel()
	binary := ringside.Binary(t, "")
	r, err := lab.Run(t.Context(), lab.Options{
		Scenario: "conntrack-flush", Variant: "random-ports", Seed: 1,
		Daemon: func(ctx context.Context, config string) *exec.Cmd {
			const only = `sed -i 's/{on: ".*"}/{on: "finding conntrack-loss"}/' "$1" && exec "$0" run -c "$1"`
			return exec.CommandContext(ctx, "sh", "-c", only, binary, config)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range r.Recorded.Key {
		if e.Kind != "trigger.accepted" || e.Text != "rule: finding conntrack-loss" {
			continue
		}
		after, err := time.ParseDuration(e.After)
		if err != nil || after > 10*time.Second {
			t.Errorf("triggered %s after the flush: %v", e.After, err)
		}
		t.Logf("triggered %v after the flush; %d connections were hit; the machine stood still for %s at most", after, r.Traffic.Hit, r.Stall)
		return
	}
	t.Errorf("no trigger by a finding: %v, %v", r.Recorded.Triggers, r.Recorded.Key)
}

// TestDetectionGivesWay has a million packets a second recorded and looked at by one core. Each of them is looked at or
// counted as skipped, and none is dropped unless others took the core.
func TestDetectionGivesWay(t *testing.T) {
	need(t, "taskset")
	if runtime.NumCPU() <= loadCore {
		t.Skip("needs two cores: one for the recorder, one for the load")
	}
	s := newSite(t, "v0")
	r := ringside.Launch(t, ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: "[v0]", Prefix: []string{"taskset", "-c", "0"},
	})
	line := loadgen.Line{
		Plan: loadgen.Plan{ID: 1, Port: headersPort}, Shape: loadgen.Shape{Size: 64}, Interface: "v0",
		Count: pick[uint64](500_000, 8_000_000), Rate: 1e6, CPU: loadCore,
	}
	began, others := time.Now(), takenByOthers(t, r)
	took, err := line.Run(s.node)
	if err != nil {
		t.Fatal(err)
	}
	settled(t, r, int(line.Count))
	others = takenByOthers(t, r) - others
	busy := others > time.Since(began)/20
	m := accountedFor(t, r)
	looked, skipped, dropped := sum(t, m, lookedMetric), sum(t, m, skippedMetric), sum(t, m, droppedMetric)
	if looked+skipped+dropped != int(line.Count) || dropped != 0 && !busy {
		t.Errorf("of %d packets %d were looked at, %d skipped and %d dropped; others had the core for %v", line.Count, looked, skipped, dropped, others)
	}
	cpu, err := ringside.CPUOf(r.Pid())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d packets at %.0f a second: %d looked at, %d skipped, %d dropped; %v of processor time, %v of the same core by others",
		line.Count, float64(line.Count)/took.Seconds(), looked, skipped, dropped, cpu.Round(time.Millisecond), others.Round(time.Millisecond))
}

// accountedFor waits until each packet that was received is looked at or skipped.
func accountedFor(t *testing.T, r *ringside.Recorder) (m ringside.Metrics) {
	t.Helper()
	err := r.Until(patience, "done with looking", func() bool {
		var err error
		if m, err = r.Metrics(); err != nil {
			return false
		}
		received, _ := m.Sum(receivedMetric)
		looked, _ := m.Sum(lookedMetric)
		skipped, _ := m.Sum(skippedMetric)
		return looked+skipped == received
	})
	if err != nil {
		t.Error(err)
	}
	return m
}

// TestDetectionMemory follows more connections than there is room for. The memory stays within ring + 64 MiB and what the
// connections take.
func TestDetectionMemory(t *testing.T) {
	const room = 65536
	s := newSite(t, "v0")
	r := ringside.Launch(t, ringside.Options{Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: "[v0]"})
	b := &brake{Recorder: r}
	sender := s.inbound(t, "v0", loadgen.Plan{ID: 1, Port: headersPort, V6: true, Flows: 1 << 16})
	if err := b.send(t, sender, pick(200_000, 2_000_000), 100_000); err != nil {
		t.Fatal(err)
	}
	settled(t, r, sender.Count())
	m := accountedFor(t, r)
	if n := sum(t, m, "ringside_detect_conversations_total"); n != room || sum(t, m, "ringside_detect_evicted_total") == 0 {
		t.Errorf("%d connections are followed, %d forgotten; want %d, and some", n, sum(t, m, "ringside_detect_evicted_total"), room)
	}
	memory, err := ringside.MemoryOf(r.Pid())
	if err != nil {
		t.Fatal(err)
	}
	const limit = 128<<20 + room*1024
	if memory.Peak > limit {
		t.Errorf("%d MiB resident, want at most ring + 64 MiB + 1 KiB for each connection = %d MiB", memory.Peak>>20, limit>>20)
	}
	t.Logf("%d connections followed, %d forgotten, %d packets looked at, %d skipped; %d MiB resident, at most %d MiB", sum(t, m, "ringside_detect_conversations_total"),
		sum(t, m, "ringside_detect_evicted_total"), sum(t, m, lookedMetric), sum(t, m, skippedMetric), memory.Now>>20, memory.Peak>>20)
}

package proofs

import (
	"testing"
	"time"

	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/readback"
	"github.com/ringside/ringside/test/ringside"
)

// stall is a disk that writes nothing for a while, under a load.
type stall struct {
	name  string
	size  int // of each packet in bytes
	rate  float64
	lasts time.Duration
	lossy bool // more comes than ring and chunks hold
}

// TestStall freezes the disk while packets come. What the defaults must bear is lost nowhere; what they cannot bear is
// counted to the packet, and memory does not grow.
func TestStall(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	for _, c := range []stall{
		{name: "5 s at 10 MB/s", size: 1400, rate: 7150, lasts: 5 * time.Second},
		{name: "5 s at 1000 small packets a second", size: 60, rate: 1000, lasts: 5 * time.Second},
		pick(
			stall{name: "6 s at 42 MB/s", size: 1400, rate: 30_000, lasts: 6 * time.Second, lossy: true},
			stall{name: "30 s at 20 MB/s", size: 1400, rate: 14_300, lasts: 30 * time.Second, lossy: true}),
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

func (c stall) run(t *testing.T) {
	s := newSite(t, "v0")
	disk := s.node.Ext4(t, 2<<30)
	p := loadgen.Plan{ID: 1, Port: wholePort, Sizes: []int{c.size}}
	sender := s.inbound(t, "v0", p)
	r := ringside.Launch(t, ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: "[v0]",
		Rotate: map[string]string{"dir": disk.Dir + "/spool"},
	})
	stop := steady(t, sender, c.rate)
	time.Sleep(time.Second)
	disk.Freeze(t)
	until := sender.Count() + int(c.rate*c.lasts.Seconds()) // however long a busy machine takes for it
	if err := r.Until(c.lasts+patience, "stalled", func() bool { return sender.Count() >= until }); err != nil {
		t.Error(err)
	}
	if ready, _ := interfaces(t, r); !ready {
		t.Error("not ready during the stall, although it records")
	}
	memory, err := ringside.MemoryOf(r.Pid())
	if err != nil {
		t.Fatal(err)
	}
	disk.Thaw(t)
	time.Sleep(500 * time.Millisecond)
	stop()
	settled(t, r, sender.Count())
	m := metrics(t, r)
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	dropped := sum(t, m, droppedMetric) + sum(t, m, unwrittenMetric)
	l := ledgerOf(t, r, readback.Source{Plan: p, Interfaces: []string{"v0"}, Payload: -1})
	sane(t, l)
	t.Logf("sent %d, read %d, reported lost %d; resident at most %d MiB", sender.Count(), l.Packets, dropped, memory.Peak>>20)
	if l.Packets+dropped != sender.Count() {
		t.Errorf("sent %d packets, stored %d and reported %d lost: %d are unaccounted for",
			sender.Count(), l.Packets, dropped, sender.Count()-l.Packets-dropped)
	}
	if (dropped > 0) != c.lossy {
		t.Errorf("%d packets lost, want a loss: %v", dropped, c.lossy)
	}
	if noted := lostInNotes(t, r); noted != dropped {
		t.Errorf("%d packets lost by the notes in the files, %d by the metrics", noted, dropped)
	}
	const limit = (64 + 64 + 16) << 20
	if memory.Peak > limit {
		t.Errorf("%d MiB resident, want at most ring + 64 MiB, and 16 MiB for detection with few connections = %d MiB", memory.Peak>>20, limit>>20)
	}
}

// lostInNotes adds up the packets that the dated notes in the segments report lost.
func lostInNotes(t *testing.T, r *ringside.Recorder) (lost int) {
	t.Helper()
	for _, kind := range []string{"dropped", "unwritten"} {
		for _, n := range notes(t, sealed(t, r), kind) {
			lost += int(n.Packets)
			if n.From > n.To {
				t.Errorf("note %+v ends before it begins", n)
			}
		}
	}
	return lost
}

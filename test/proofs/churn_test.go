package proofs

import (
	"fmt"
	"testing"
	"time"

	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/readback"
	"github.com/ringside/ringside/test/ringside"
)

// TestChurn lets veths come and go beside one that stays, which loses nothing, and watches that the recorder's memory,
// goroutines, descriptors and interface tables stay where they are.
func TestChurn(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	t.Parallel()
	alive, lasts := pick(60, 1000), pick(15*time.Second, 10*time.Minute)
	s := newSite(t, "veth")
	r := ringside.Launch(t, ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: `["veth*"]`,
		Rotate: map[string]string{"every": pick("2s", "30s")},
	})
	p := loadgen.Plan{ID: 1, Port: headersPort, V6: true, Tags: true, Sizes: mixedSizes}
	f := traffic{s.inbound(t, "veth", p), readback.Source{Plan: p, Interfaces: []string{"veth"}}}
	stop := steady(t, f.Sender, 1000)

	var early, late usage
	end := time.Now().Add(lasts)
	made := 0
	for time.Now().Before(end) {
		if made >= alive {
			if err := s.node.Remove(fmt.Sprint("veth", made-alive)); err != nil {
				t.Fatal(err)
			}
		}
		name := fmt.Sprint("veth", made)
		if err := s.node.NewVeth(name, s.node, fmt.Sprint("other", made)); err != nil {
			t.Fatal(err)
		}
		made++
		if early.goroutines == 0 && made > alive && time.Until(end) < lasts*3/4 {
			early = usageOf(t, r)
		}
	}
	late = usageOf(t, r)
	stop()
	settled(t, r, f.Count())
	finish(t, r, f)
	t.Logf("%d veths made, %d alive at a time; at a quarter of the time: %v; at the end: %v", made, alive, early, late)
	late.compare(t, early)
	for _, file := range sealed(t, r) {
		n := 0
		walk(t, file, func(b pcapng.Block) {
			if b.Type == pcapng.TypeInterface {
				n++
			}
		})
		if limit := 4*alive + 1000; n > limit {
			t.Errorf("%s has %d interfaces, want at most %d", file, n, limit)
		}
	}
}

// usage is what a recorder holds.
type usage struct {
	resident                int64
	goroutines, descriptors int
}

func (u usage) String() string {
	return fmt.Sprintf("%d MiB, %d goroutines, %d descriptors", u.resident>>20, u.goroutines, u.descriptors)
}

func usageOf(t *testing.T, r *ringside.Recorder) usage {
	t.Helper()
	memory, err := ringside.MemoryOf(r.Pid())
	if err != nil {
		t.Fatal(err)
	}
	m := metrics(t, r)
	return usage{memory.Now, sum(t, m, "go_goroutines"), sum(t, m, "process_open_fds")}
}

// compare fails if there is more than earlier, by more than what comes and goes by itself.
func (u usage) compare(t *testing.T, early usage) {
	t.Helper()
	const slack, few = 16 << 20, 8
	if early.goroutines == 0 {
		t.Fatal("the time was too short to measure twice")
	}
	if u.resident > early.resident+slack || u.goroutines > early.goroutines+few || u.descriptors > early.descriptors+few {
		t.Errorf("grown from %v to %v", early, u)
	}
}

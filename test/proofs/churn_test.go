package proofs

import (
	"fmt"
	"testing"
	"time"

	"github.com/ringside/ringside/lab/netfilter"
	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/readback"
	"github.com/ringside/ringside/test/ringside"
)

// TestChurn lets veths come and go beside one that stays, which loses nothing, and has the node's rules loaded anew with each;
// the recorder's memory, goroutines, descriptors and interface tables stay where they are, and its watchers keep up.
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
	enough := 3 * alive // also on a machine that makes few in that time
	for made < enough || time.Now().Before(end) {
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
		rules := netfilter.Rules{Forward: []netfilter.Match{{Protocol: 6, Port: uint16(1 + made%60000), Do: netfilter.Drop}}}
		if err := netfilter.Apply(s.node.Host, rules, false); err != nil {
			t.Fatal(err)
		}
		if early.goroutines == 0 && made > alive && time.Until(end) < lasts*3/4 {
			early, enough = usageOf(t, r), made+2*alive
		}
	}
	late = usageOf(t, r)
	stop()
	settled(t, r, f.Count())
	m := metrics(t, r)
	for _, name := range []string{"network", "ruleset"} {
		events, restarts := m[fmt.Sprintf("ringside_watcher_events_total{watcher=%q}", name)], m[fmt.Sprintf("ringside_watcher_restarts_total{watcher=%q}", name)]
		t.Logf("%s: %v events", name, events)
		if events < 1 || restarts > 0 {
			t.Errorf("watcher %s has told of %v events and was started again %v times", name, events, restarts)
		}
	}
	if lost := sum(t, m, "ringside_timeline_lost_total"); lost > 0 {
		t.Errorf("%d events were lost", lost)
	}
	finish(t, r, f)
	t.Logf("%d veths made and rule sets loaded, %d alive at a time; at a quarter of the time: %v; at the end: %v", made, alive, early, late)
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

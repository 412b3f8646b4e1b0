package proofs

import (
	"sync"
	"testing"
	"time"

	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/readback"
	"github.com/ringside/ringside/test/ringside"
)

const (
	headersOnly = "postgres" // 5432, no payload
	headersPort = 5432
	wholePort   = 6379
	services    = "[postgres, {name: redis, payload: full}]"
)

// mixedSizes are mostly small; a large one in sixteen.
var mixedSizes = []int{60, 61, 62, 63, 64, 66, 90, 100, 128, 200, 300, 500, 590, 1000, 1514, 9000}

// traffic is one sender and how its packets must have been recorded.
type traffic struct {
	*loadgen.Sender
	source readback.Source
}

// both returns traffic in both directions of an interface: to the node without payload, from it with.
func (s site) both(t *testing.T, id uint32, name string) []traffic {
	t.Helper()
	in := loadgen.Plan{ID: id, Port: headersPort, V6: true, Tags: true, Sizes: mixedSizes}
	out := loadgen.Plan{ID: id + 1, Port: wholePort, V6: true, Tags: true, Sizes: mixedSizes}
	names := []string{name}
	return []traffic{
		{s.inbound(t, name, in), readback.Source{Plan: in, Interfaces: names}},
		{s.outbound(t, name, out), readback.Source{Plan: out, Interfaces: names, Outbound: true, Payload: -1}},
	}
}

// TestExact sends a million numbered packets over five interfaces, of which one goes and one comes on the way, and
// reads the same set back.
func TestExact(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	const perSender, rate = 126_000, 15_000
	s := newSite(t, "up0", "up1", "veth0", "veth1")
	r := ringside.Launch(t, ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services,
		Interfaces: `[up0, up1, "veth*"]`, Rotate: map[string]string{"every": "2s"},
	})
	var stay []traffic
	for i, name := range []string{"up0", "up1", "veth0"} {
		stay = append(stay, s.both(t, uint32(10+2*i), name)...)
	}
	gone := s.both(t, 30, "veth1")

	var wg sync.WaitGroup
	b := &brake{Recorder: r}
	begin := func(f traffic) {
		wg.Go(func() {
			if err := b.send(t, f.Sender, perSender, rate); err != nil {
				t.Error(err)
			}
		})
	}
	for _, f := range stay {
		begin(f)
	}
	for _, f := range gone {
		wg.Go(func() { _ = b.send(t, f.Sender, perSender, rate) }) // ends when its interface goes
	}
	time.Sleep(3 * time.Second)
	removed := time.Now().UnixNano()
	if err := s.node.Remove("veth1"); err != nil {
		t.Fatal(err)
	}
	s.add(t, "veth2")
	come := s.both(t, 40, "veth2")
	for _, f := range come {
		begin(f)
	}
	wg.Wait()

	all := append(append(append([]traffic(nil), stay...), come...), gone...)
	total := count(all)
	settled(t, r, total-1000) // the removed one's last packets may have been lost
	m := metrics(t, r)
	checkLab(t, s, append(append([]traffic(nil), stay...), come...))
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	if dropped, unwritten := sum(t, m, droppedMetric), sum(t, m, unwrittenMetric); dropped != 0 || unwritten != 0 {
		t.Errorf("%d packets dropped by the kernel, %d not written, want none", dropped, unwritten)
	}
	began := time.Now()
	l := ledgerOf(t, r, sources(all)...)
	t.Logf("read in %v", time.Since(began))
	exact(t, l, senders(append(stay, come...))...)
	lost := 0
	for _, f := range gone {
		lost += lostAtRemoval(t, l, f, removed)
	}
	vanished := 0
	for _, n := range notes(t, sealed(t, r), "interface") {
		if n.Interface == "veth1" && n.To > removed-1e9 {
			vanished++
		}
	}
	if vanished == 0 {
		t.Error("no note says when veth1 vanished")
	}
	t.Logf("%d packets sent over 5 interfaces, %d of them on veth1, of which %d around its removal were not recorded; %d read",
		total, count(gone), lost, l.Packets)
	if l.Packets < 1_000_000 {
		t.Errorf("%d packets read, the proof asks for 1,000,000", l.Packets)
	}
}

// lostAtRemoval counts what is missing of a sender whose interface was removed: only packets of the last moment.
func lostAtRemoval(t *testing.T, l *readback.Ledger, f traffic, removed int64) (lost int) {
	t.Helper()
	sent := f.Sent()
	for _, gap := range l.Missing(f.ID, len(sent)) {
		lost += gap.Last - gap.First + 1
		if sent[gap.First] < removed-50e6 {
			t.Errorf("veth1 plan %d: packets %v missing, the first sent %s ms before the removal", f.ID, gap, ms(removed-sent[gap.First]))
		}
	}
	return lost
}

// checkLab fails if the lab, and not the recorder, lost packets.
func checkLab(t *testing.T, s site, all []traffic) {
	t.Helper()
	for _, f := range all {
		name := f.source.Interfaces[0]
		link, err := s.node.Link(name)
		if err != nil {
			t.Fatal(err)
		}
		got := link.Received
		if f.source.Outbound {
			got = link.Sent
		}
		if int(got) != f.Count() {
			t.Errorf("the lab's %s carried %d of %d packets", name, got, f.Count())
		}
	}
}

func count(all []traffic) (n int) {
	for _, f := range all {
		n += f.Count()
	}
	return n
}

func sources(all []traffic) (s []readback.Source) {
	for _, f := range all {
		s = append(s, f.source)
	}
	return s
}

func senders(all []traffic) (s []*loadgen.Sender) {
	for _, f := range all {
		s = append(s, f.Sender)
	}
	return s
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/zap"

	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/config"
	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/rotate"
)

// beheld is a detector that keeps what it is shown as text, and fails on demand.
type beheld struct {
	names []string
	said  []string
	count int
	fail  bool
	stuck chan struct{} // nil: it is not
}

func (b *beheld) say(format string, args ...any) {
	b.said = append(b.said, fmt.Sprintf(format, args...))
}

func (b *beheld) Vantage(name, _ string) uint16 {
	for i, n := range b.names {
		if n == name {
			return uint16(i)
		}
	}
	b.names = append(b.names, name)
	return uint16(len(b.names) - 1)
}

func (b *beheld) Packets(batch []frame.Packet) {
	for i := range batch {
		b.packet(&batch[i])
	}
}

func (b *beheld) packet(p *frame.Packet) {
	if b.fail {
		panic("a packet that no detector likes")
	}
	if b.stuck != nil {
		<-b.stuck
	}
	b.count++
	way := "?"
	if p.In != p.Out {
		way = map[bool]string{true: "in", false: "out"}[p.In]
	}
	b.say("%s %s %d %v → %v", b.names[p.Vantage], way, p.Time, p.Src, p.Dst)
}

func (b *beheld) Covered(until int64, vantages ...uint16) {
	var names []string
	for _, n := range vantages {
		names = append(names, b.names[n])
	}
	b.say("covered %d %v", until, names)
}

func (b *beheld) Blind(l detect.Blind) {
	b.say("blind %s %d to %d: %d, %s", l.Vantage, l.From.UnixNano(), l.To.UnixNano(), l.Packets, l.Why)
}
func (b *beheld) Findings() []detect.Finding { return nil }
func (b *beheld) Live() detect.Live {
	return detect.Live{Conversations: 1, Stats: detect.Stats{Evicted: 3}}
}

// played is a spool whose rings the test plays, and detection of what they hand over.
type played struct {
	*testing.T
	*detection
	spool  *rotate.Spool
	table  *pcapng.Table
	to     map[string]int64
	put    uint64 // packets
	made   []*beheld
	names  []detect.Service // of the last that was made
	events []hoststate.Event
}

func newPlayed(t *testing.T, cfg *config.Config) *played {
	t.Helper()
	spool, err := rotate.Open(rotate.Config{Dir: t.TempDir(), Keep: rotate.Keep{Free: 1e-9, Age: 1e6 * time.Hour}}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- spool.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		spool.Close()
	})
	p := &played{T: t, spool: spool, table: new(pcapng.Table), to: map[string]int64{}}
	p.detection = newDetection(cfg, spool, func(e hoststate.Event) { p.events = append(p.events, e) }, zap.NewNop())
	return p
}

// behold has detectors made that keep what they are shown.
func (p *played) behold() *played {
	p.detection.make = func(names []detect.Service) detector {
		p.made, p.names = append(p.made, &beheld{}), names
		return p.last()
	}
	return p
}

func (p *played) last() *beheld { return p.made[len(p.made)-1] }

// sent is a packet of a chunk.
type sent struct {
	id    uint32
	at    int64
	flags uint32
	data  []byte
}

// chunk puts a chunk of a ring that covers up to to.
func (p *played) chunk(ring string, to int64, packets []sent, notes ...pcapng.Note) {
	p.Helper()
	c, err := p.spool.Get(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	from, ok := p.to[ring]
	if !ok {
		from = to - 10
	}
	c.Reset(p.table, ring, from)
	for _, s := range packets {
		c.Packet(s.id, s.at, uint32(len(s.data)), s.flags, nil, s.data)
	}
	for _, n := range notes {
		c.Note(n)
	}
	c.Summary.To = to
	p.to[ring] = to
	p.put += uint64(len(packets))
	p.spool.Put(c)
}

// looks has detection look at everything that waits.
func (p *played) looks() {
	for p.tap.Stats().Held > 0 {
		l := p.tap.Next(p.Context())
		p.take(l)
		l.Release()
	}
}

// syn is a SYN from one address to port 5432 of another.
func syn(src, dst string) []byte {
	b := make([]byte, 14+20+20)
	b[12], b[14], b[17], b[23] = 0x08, 0x45, 40, frame.TCP
	copy(b[26:], netip.MustParseAddr(src).AsSlice())
	copy(b[30:], netip.MustParseAddr(dst).AsSlice())
	b[34], b[35], b[36], b[37], b[46], b[47] = 0x9c, 0x40, 5432>>8, 5432&0xff, 0x50, frame.SYN
	return b
}

// TestDetectionShows: packets with their interface, direction and time, how far each ring is covered, and what is missing.
func TestDetectionShows(t *testing.T) {
	p := newPlayed(t, config.Default()).behold()
	for _, name := range []string{"eth0", "eni1", "eni2"} {
		p.table.Add(pcapng.Interface{Name: name})
	}
	out, in := syn("10.0.0.1", "10.9.0.5"), syn("10.9.0.5", "10.0.0.1")
	p.chunk("eth0", 100, []sent{{0, 95, pcapng.Outbound, out}, {0, 96, pcapng.Inbound, in}})
	p.chunk("shared", 110, []sent{{1, 101, 0, out}, {2, 102, pcapng.Inbound, out}},
		pcapng.Note{Kind: pcapng.NoteDropped, Ring: "shared", From: 103, To: 104, Packets: 5}, pcapng.Note{Kind: pcapng.NoteInterface, Interface: "eni2", To: 105})
	p.chunk("eth0", 120, nil)
	p.looks()
	p.to["eth0"] = 130                                          // ten nanoseconds of which nothing came
	p.chunk("eth0", 140, []sent{{1, 135, pcapng.Inbound, out}}) // eni1 has moved
	p.chunk("shared", 150, nil, pcapng.Note{Kind: pcapng.NoteDropped, Ring: "shared", From: 141, To: 142, Packets: 6})
	p.looks()
	want := []string{
		"eth0 out 95 10.0.0.1:40000 → 10.9.0.5:5432", "eth0 in 96 10.9.0.5:40000 → 10.0.0.1:5432", "covered 100 [eth0]",
		"blind  103 to 104: 5, the ring was full", "eni1 ? 101 10.0.0.1:40000 → 10.9.0.5:5432", "eni2 in 102 10.0.0.1:40000 → 10.9.0.5:5432",
		"covered 110 [eni1 eni2]", "covered 120 [eth0]",
		"blind eth0 120 to 130: 0, the ring was not read, or the clock was set", "eni1 in 135 10.0.0.1:40000 → 10.9.0.5:5432", "covered 140 [eth0 eni1]",
		"blind eni2 141 to 142: 6, the ring was full", "covered 150 [eni2]",
	}
	if got := p.last().said; !reflect.DeepEqual(got, want) {
		t.Errorf("shown\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if s := p.Stats(); s.Packets != 5 || s.Skipped != 0 || s.Conversations != 1 || s.Evicted != 3 || s.CoveredTo.UnixNano() != 150 {
		t.Errorf("stats %+v", s)
	}
}

// TestDetectionBehind: every packet is looked at or counted as skipped, and the detector knows of what it was not shown.
func TestDetectionBehind(t *testing.T) {
	p := newPlayed(t, config.Default()).behold()
	p.table.Add(pcapng.Interface{Name: "eth0"})
	data := syn("10.0.0.1", "10.9.0.5")
	for i := range int64(100) { // nobody looks meanwhile
		p.chunk("eth0", 100+i*10, []sent{{0, 91 + i*10, 0, data}, {0, 92 + i*10, 0, data}})
	}
	held := p.tap.Stats().Held
	p.looks()
	p.chunk("eth0", 2000, []sent{{0, 1999, 0, data}})
	p.looks()
	said := strings.Join(p.last().said, "\n")
	blind := fmt.Sprintf("blind eth0 %d to 1090: %d, detection was behind\neth0 ? 1999", 90+10*held, 2*(100-held))
	if !strings.Contains(said, blind) || strings.Count(said, "blind") != 1 {
		t.Errorf("shown\n%s\nwant %s", said, blind)
	}
	if s := p.Stats(); s.Packets+s.Skipped != p.put || s.Packets != uint64(2*held+1) || int(s.Packets) != p.last().count {
		t.Errorf("stats %+v of %d packets", s, p.put)
	}
}

// TestDetectionBeginsAnew after a panic, with the clock set back, with other services, and after many interfaces.
func TestDetectionBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config.Default()
		p := newPlayed(t, cfg).behold()
		p.table.Add(pcapng.Interface{Name: "eth0"})
		next := func(to int64) {
			p.chunk("eth0", to, []sent{{0, to - 1, 0, syn("10.0.0.1", "10.9.0.5")}})
			p.looks()
		}
		next(100)
		p.last().fail = true
		next(110) // panics
		next(120) // rests
		if s := p.Stats(); len(p.made) != 1 || s.Panics != 1 || s.Packets != 1 || s.Skipped != 2 || p.report().State != hoststate.StateFailing {
			t.Errorf("%d detectors, stats %+v", len(p.made), s)
		}
		time.Sleep(2 * leastRest)
		next(130)
		const anew = "blind  0 to %d: 0, detection began anew\neth0 ? "
		check := func(made int, from int64) {
			t.Helper()
			if said := strings.Join(p.last().said, "\n"); len(p.made) != made || !strings.HasPrefix(said, fmt.Sprintf(anew, from)) {
				t.Errorf("%d detectors, want %d; shown\n%s", len(p.made), made, said)
			}
		}
		check(2, 120)
		next(140)
		p.to["eth0"] = 50 // the clock is set back
		next(60)
		check(3, 50)
		next(70)
		p.setServices([]filter.Service{{Name: "orders", Ports: []filter.PortRange{{First: 7000, Last: 7001}}}})
		next(80)
		check(4, 70)
		if want := []detect.Service{{Name: "orders", First: 7000, Last: 7001}}; !reflect.DeepEqual(p.names, want) {
			t.Errorf("services %+v, want %+v", p.names, want)
		}
		for i := range mostVantages + 1 {
			p.table.Add(pcapng.Interface{Name: fmt.Sprintf("veth%d", i)})
		}
		next(90)
		next(100)
		check(5, 90)
		for n := uint64(2); n < 12; n++ { // what fails each time is asked ever more rarely
			p.last().fail = true
			next(p.to["eth0"] + 10)
			if p.Stats().Panics != n {
				t.Errorf("%d panics, want %d", p.Stats().Panics, n)
			}
			time.Sleep(min(leastRest<<(n-1), mostRest))
			synctest.Wait()
			time.Sleep(time.Nanosecond)
			next(p.to["eth0"] + 10)
		}
		if s := p.Stats(); s.Packets+s.Skipped != p.put {
			t.Errorf("stats %+v of %d packets", s, p.put)
		}
	})
}

// TestDetectionStuck: what never ends holds up nobody, and is not waited for.
func TestDetectionStuck(t *testing.T) {
	p := newPlayed(t, config.Default()).behold()
	stuck := make(chan struct{})
	asked := make(chan struct{})
	p.detection.make = func([]detect.Service) detector {
		close(asked)
		return &beheld{stuck: stuck}
	}
	p.drain = 10 * time.Millisecond
	p.table.Add(pcapng.Interface{Name: "eth0"})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- p.run(ctx) }()
	for i := range int64(200) {
		p.chunk("eth0", 100+i*10, []sent{{0, 91 + i*10, 0, syn("10.0.0.1", "10.9.0.5")}})
	}
	<-asked
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	close(stuck)
	for p.tap.Stats().Held > 0 { // it looks at what waits, and ends
		time.Sleep(time.Millisecond)
	}
}

// TestDetectionOff costs nothing: nothing is tapped, shown or counted.
func TestDetectionOff(t *testing.T) {
	cfg := config.Default()
	cfg.Detect.Enable = false
	p := newPlayed(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.run(ctx); err != nil || p.tap != nil || p.Stats() != nil || p.report() != nil {
		t.Errorf("%v, %+v, %+v", err, p.Stats(), p.report())
	}
	if n := config.Default().Detect.Conversations; n != detect.DefaultConversations {
		t.Errorf("%d conversations by default, detect has %d", n, detect.DefaultConversations)
	}
}

// TestDetectionFinds plays a flush of the connection tracking as rings would hand it over, a chunk a second. Nothing is found
// before the flush, and within two seconds of the first lost packet it is.
func TestDetectionFinds(t *testing.T) {
	const flush = 1795369079_564721000 // truth.tsv
	p := newPlayed(t, config.Default())
	rings := map[uint32]string{0: "shared", 1: "shared", 2: "eth0", 3: "eth1"}
	waiting := map[string][]sent{}
	var first *hoststate.Event
	var due, told int64
	hand := func() {
		for _, ring := range []string{"eth0", "eth1", "shared"} {
			p.chunk(ring, due, waiting[ring])
			waiting[ring] = nil
			p.looks()
		}
		for i := range p.events {
			if e := &p.events[i]; e.Subject == string(detect.ConntrackLoss) && first == nil {
				first, told = e, due
			}
		}
		due += 1e9
	}
	readCapture(t, "../../detect/testdata/captures/a02-flush-masqrf-loose1.pcapng.zst", p.table, func(e pcapng.Packet) {
		if due == 0 {
			due = e.NS + 1e9
		}
		if e.NS > due+1e8 { // the file is a little out of order
			hand()
		}
		if ring, ok := rings[e.ID]; ok {
			waiting[ring] = append(waiting[ring], sent{e.ID, e.NS, e.Flags, append([]byte(nil), e.Data...)})
		}
	})
	hand()
	if first == nil {
		t.Fatalf("nothing was found: %+v", p.events)
	}
	if p.events[0].Time.UnixNano() < flush {
		t.Errorf("found before the flush: %s", p.events[0].Text)
	}
	if late := time.Duration(told - first.Time.UnixNano()); late > 2*time.Second {
		t.Errorf("found %v after the first lost packet", late)
	}
	var f detect.Finding
	if err := json.Unmarshal(first.Data, &f); err != nil || f.Class != detect.ConntrackLoss || f.Count == 0 || len(f.Flows) == 0 || first.Kind != "finding" ||
		first.Source != "detect" || first.Text != f.Text || !first.Time.Equal(f.First) {
		t.Errorf("%v: %+v", err, first)
	}
	if s := p.Stats(); s.Packets != p.put || s.Findings["conntrack-loss"] == 0 || p.report().Findings == 0 {
		t.Errorf("stats %+v of %d packets", s, p.put)
	}
	t.Logf("%v after the flush: %s", first.Time.Sub(time.Unix(0, flush)), first.Text)
}

// readCapture reads one of the shared captures; its interfaces go into the table.
func readCapture(t *testing.T, path string, table *pcapng.Table, each func(pcapng.Packet)) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for _, name := range []string{"eni1", "eni2", "eth0", "eth1", "lo", "any"} {
		table.Add(pcapng.Interface{Name: name})
	}
	for w := pcapng.NewWalker(in); ; {
		b, err := w.Next()
		if err != nil {
			return
		}
		if e, err := b.Packet(); err == nil {
			each(e)
		}
	}
}

// TestFindingAsEvent keeps the data of an event within bounds, whatever a finding holds.
func TestFindingAsEvent(t *testing.T) {
	cite := detect.Citation{Interface: "eth0", TimeNS: 5, What: strings.Repeat("x", 50)}
	flow := detect.Flow{Src: "10.0.0.1:40000", Dst: "10.9.0.5:5432", Service: "orders-db", Citations: []detect.Citation{cite, cite, cite}}
	f := detect.Finding{Class: detect.ConntrackLoss, Count: 1000, Text: "lost"}
	for range detect.MaxFlows {
		f.Flows = append(f.Flows, flow)
	}
	for range detect.MaxCitations {
		f.Citations = append(f.Citations, cite)
	}
	var got detect.Finding
	data := eventOf(&f).Data
	if err := json.Unmarshal(data, &got); err != nil || len(data) > maxFinding || got.Count != 1000 || len(got.Flows) < detect.MaxFlows/2 || got.Flows[0].Citations != nil {
		t.Errorf("%d bytes, %d flows, %v", len(data), len(got.Flows), err)
	}
	if len(f.Flows) != detect.MaxFlows || len(f.Flows[0].Citations) != 3 {
		t.Error("the finding itself was changed")
	}
	f.Text = strings.Repeat("x", maxFinding)
	if data := eventOf(&f).Data; data != nil {
		t.Errorf("%d bytes of data with a text as long", len(data))
	}
}

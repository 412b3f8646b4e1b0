package capture

import (
	"context"
	"testing"
	"time"

	"github.com/ringside/ringside/pcapng"
)

// A chunk covers no time that did not pass, and none twice, however the wall clock is set.
func TestClockSteps(t *testing.T) {
	m := newMemory(4)
	r, err := newReader("up0", &ring{}, 0, newDirectory(nil), m)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := r.begin(ctx); err != nil {
		t.Fatal(err)
	}
	begin := r.covered
	const second = int64(time.Second)
	clock := []struct{ monotonic, step int64 }{
		{1 * second, 0},
		{2 * second, 40 * int64(time.Millisecond)}, // slewed, not set
		{3 * second, 3600 * second},
		{4 * second, 0},
		{5 * second, -7200 * second},
		{6 * second, 0},
	}
	offset := r.offset
	for _, c := range clock {
		offset += c.step
		if err := r.checkClock(ctx, offset+c.monotonic, c.monotonic); err != nil {
			t.Fatal(err)
		}
		r.advance(offset + c.monotonic)
	}
	r.handOver()
	at := func(s int64) int64 { return begin + s*second }
	const slew = 40 * int64(time.Millisecond)
	want := []pcapng.Summary{
		{From: at(0), To: at(2) + slew},
		{From: at(2+3600) + slew, To: at(4+3600) + slew},
		{From: at(4-3600) + slew, To: at(6-3600) + slew},
	}
	if len(m.summaries) != len(want) {
		t.Fatalf("%d chunks, want %d", len(m.summaries), len(want))
	}
	for i, s := range m.summaries {
		if s.From != want[i].From || s.To != want[i].To {
			t.Errorf("chunk %d covers %d s to %d s, want %d s to %d s", i, (s.From-begin)/second, (s.To-begin)/second,
				(want[i].From-begin)/second, (want[i].To-begin)/second)
		}
	}
}

// Drops are dated by the two times the kernel was asked; what follows without a pause is one loss.
func TestLossIsDated(t *testing.T) {
	m := newMemory(4)
	r := &reader{name: "up0", ring: &ring{}, dir: newDirectory(nil), sink: m}
	if err := r.begin(context.Background()); err != nil {
		t.Fatal(err)
	}
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	r.asked = at(10)
	for _, c := range []struct {
		now   time.Time
		drops uint32
	}{{at(11), 0}, {at(12), 5}, {at(13), 6}, {at(14), 0}, {at(15), 0}, {at(16), 7}} {
		r.date(c.now, c.drops, 1)
	}
	r.handOver()
	want := []pcapng.Note{
		{Kind: pcapng.NoteDropped, Ring: "up0", From: at(11).UnixNano(), To: at(13).UnixNano(), Packets: 11},
		{Kind: pcapng.NoteDropped, Ring: "up0", From: at(15).UnixNano(), To: at(16).UnixNano(), Packets: 7},
	}
	if len(m.notes) != len(want) {
		t.Fatalf("notes %+v, want %+v", m.notes, want)
	}
	for i, n := range m.notes {
		n.Frozen = 0
		if n != want[i] {
			t.Errorf("note %+v, want %+v", n, want[i])
		}
	}
	if m.summaries[0].Dropped != 18 {
		t.Errorf("the chunk has %d dropped packets, want 18", m.summaries[0].Dropped)
	}
}

// A reader rests for an eighth of the time in which the ring would fill, and never when blocks come by time.
func TestPace(t *testing.T) {
	tests := []struct {
		name string
		full []bool // blocks of the last 8 ms
		ring int
		want time.Duration
	}{
		{"idle", nil, 112, 0},
		{"blocks whose time was over", []bool{false, false}, 112, 0},
		{"one in time after full ones", []bool{true, true, false}, 112, 0},
		{"moderate", []bool{true, true}, 112, gatherMost},
		{"fast", []bool{true, true, true, true, true, true, true, true}, 32, 4 * time.Millisecond},
		{"a full ring at once", []bool{true, true, true, true, true, true, true, true}, 8, time.Millisecond},
	}
	for _, tt := range tests {
		begin := time.Now()
		p := pace{since: begin}
		for _, full := range tt.full {
			p.took(full)
		}
		if got := p.rest(begin.Add(8*time.Millisecond), tt.ring); got != tt.want {
			t.Errorf("%s: rests %v, want %v", tt.name, got, tt.want)
		}
		if got := p.rest(begin.Add(16*time.Millisecond), tt.ring); got != 0 {
			t.Errorf("%s: rests %v again, without new blocks", tt.name, got)
		}
	}
}

// A block of packets from before the clock was set back does not let a chunk cover time that is still to come.
func TestBlockFromBeforeTheClockWasSetBack(t *testing.T) {
	m := newMemory(4)
	r, err := newReader("up0", &ring{}, 0, newDirectory(rules{{Name: "*"}}), m)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := r.begin(ctx); err != nil {
		t.Fatal(err)
	}
	begin := r.covered
	const hour = int64(time.Hour)
	if err := r.checkClock(ctx, r.offset-hour+int64(time.Second), int64(time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make(block, blockSize)
	packets := fillBlock(b, 64)
	native.PutUint32(b[blkFirstSec:], uint32(begin/1e9))
	native.PutUint32(b[blkLastSec:], uint32(begin/1e9))
	if err := r.encode(ctx, b, begin-hour+int64(time.Second)); err != nil {
		t.Fatal(err)
	}
	r.handOver()
	if got := m.summaries[1]; got.To != begin-hour || int(got.Packets) != packets {
		t.Errorf("a chunk of %d packets is said to cover up to %d s after the start; want %d packets and -3600 s",
			got.Packets, (got.To-begin)/1e9, packets)
	}
}

// A ring without packets takes a new table all the same: the spool begins a segment for each table.
func TestIdleRingTakesTheNewTable(t *testing.T) {
	needNamespace(t)
	wire(t, "up0")
	m := newMemory(4)
	c, stop := start(t, m, nil, "up0")
	await(t, c, "up0", StateRecording)
	old := c.dir.currentTable()
	for index := 1000; c.dir.currentTable() == old; index++ {
		c.dir.change(func() {
			c.dir.put(iface{link: link{name: "va", index: index}, state: StateRecording, ring: sharedRing})
		})
		c.dir.vanish(index)
		c.dir.forget(func(string) (int64, bool) { return 0, false })
	}
	for last := old; last == old; {
		<-m.changed
		m.mu.Lock()
		last = m.table
		m.mu.Unlock()
	}
	stop()
}

func TestFlushKeepsTwoSeconds(t *testing.T) {
	for retire, want := range map[time.Duration]time.Duration{
		100 * time.Millisecond: time.Second,
		400 * time.Millisecond: 980 * time.Millisecond, // the shared ring's reserve
		800 * time.Millisecond: 200 * time.Millisecond, // the smallest ring
	} {
		r := &reader{ring: &ring{retire: retire}}
		if got := r.flush(); got != want {
			t.Errorf("blocks retired after %v: chunks are filled for %v, want %v", retire, got, want)
		}
	}
}

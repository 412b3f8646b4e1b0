package rotate

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringside/ringside/pcapng"
)

// second is the start of the time in which tests record, in ns; at is a time so many seconds later.
var second = time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC).UnixNano()

func at(s float64) time.Time { return time.Unix(0, second+int64(s*1e9)).UTC() }

// contents is what a stream holds: the numbers of its packets in order, and what else matters.
type contents struct {
	numbers    []uint64
	times      []int64
	interfaces []pcapng.Interface
	ids        map[uint32]int
	notes      []pcapng.Note
	sections   int
	received   map[uint32]uint64 // from the last statistics of each interface
	dropped    map[uint32]uint64
}

func readStream(t *testing.T, r io.Reader) (c contents) {
	t.Helper()
	c.ids, c.received, c.dropped = map[uint32]int{}, map[uint32]uint64{}, map[uint32]uint64{}
	err := eachBlock(r, func(b pcapng.Block) error {
		switch b.Type {
		case pcapng.TypeSection:
			c.sections++
		case pcapng.TypeInterface:
			i, err := b.Interface()
			c.interfaces = append(c.interfaces, i)
			return err
		case pcapng.TypePacket:
			p, err := b.Packet()
			if err != nil {
				return err
			}
			c.numbers = append(c.numbers, binary.BigEndian.Uint64(p.Data[14:]))
			c.times = append(c.times, p.NS)
			c.ids[p.ID]++
		case pcapng.TypeStatistics:
			id := binary.LittleEndian.Uint32(b.Body)
			c.received[id] = binary.LittleEndian.Uint64(b.Body[16:])
			c.dropped[id] = binary.LittleEndian.Uint64(b.Body[28:])
		case pcapng.TypeLocal:
			if n, err := b.Note(); err == nil && n.Kind != noteSegment {
				c.notes = append(c.notes, n)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// windower is a Spool or a Reader.
type windower interface {
	Window(ctx context.Context, from, to time.Time) (*Window, error)
}

// window reads a window and returns what it holds. It also has capinfos count, and checks that window and coverage agree.
func window(t *testing.T, s windower, from, to time.Time) (contents, Coverage) {
	t.Helper()
	w, err := s.Window(t.Context(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var b bytes.Buffer
	n, err := w.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("WriteTo: %d bytes of %d, %v", n, b.Len(), err)
	}
	c, cov := readStream(t, &b), w.Coverage()
	if cov.Packets != uint64(len(c.numbers)) || cov.Bytes != uint64(n) {
		t.Errorf("coverage says %d packets and %d bytes; there are %d and %d", cov.Packets, cov.Bytes, len(c.numbers), n)
	}
	if c.sections != 1 {
		t.Errorf("%d sections, want 1", c.sections)
	}
	if _, err := json.Marshal(cov); err != nil {
		t.Error(err)
	}
	return c, cov
}

func numbers(from, to uint64) (l []uint64) {
	for n := from; n < to; n++ {
		l = append(l, n)
	}
	return l
}

func reasons(c Coverage) (l []string) {
	for _, m := range c.Missing {
		l = append(l, m.Reason)
	}
	return l
}

// tenSeconds records ten chunks a second apart, from second to second 10, of 100 packets 10 ms apart.
func tenSeconds(t *testing.T, cfg Config) *recording {
	t.Helper()
	r := record(t, cfg)
	for i := 1; i <= 10; i++ {
		r.chunk("eth0", second+int64(i)*1e9, 100, 100)
	}
	r.written(1000)
	return r
}

func config(dir string) Config {
	return Config{Dir: dir, Keep: Keep{Age: 1e6 * time.Hour, Free: 0.0001}}
}

func TestWindowEdgesAreExact(t *testing.T) { synctest.Test(t, testWindowEdges) }

func testWindowEdges(t *testing.T) {
	r := tenSeconds(t, config(t.TempDir()))
	tests := []struct {
		name        string
		from, to    time.Time
		first, last uint64 // numbers, [first, last)
	}{
		{"all", at(0), at(10), 0, 1000},
		{"beyond both ends", at(-5), at(15), 0, 1000},
		{"one chunk", at(3), at(4), 300, 400},
		{"within a chunk", at(3.2), at(3.5), 320, 350},
		{"over a bound", at(3.9), at(4.1), 390, 410},
		{"from is in the window", at(3.2), at(3.21), 320, 321},
		{"to is not", at(3.2), time.Unix(0, second+3_200_000_001), 320, 321},
		{"after a packet", time.Unix(0, second+3_200_000_001), at(3.21), 0, 0},
		{"before the oldest", at(-9), at(-8), 0, 0},
		{"after the newest", at(20), at(21), 0, 0},
	}
	check := func(s windower) {
		t.Helper()
		for _, test := range tests {
			c, _ := window(t, s, test.from, test.to)
			if want := numbers(test.first, test.last); !slices.Equal(c.numbers, want) {
				t.Errorf("%s: %d packets, want %d from %d", test.name, len(c.numbers), len(want), test.first)
			}
			if got := c.received[0]; got != test.last-test.first {
				t.Errorf("%s: statistics say %d received, want %d", test.name, got, test.last-test.first)
			}
		}
	}
	check(r.Spool) // from the live segment
	reader, err := OpenReader(r.Dir())
	if err != nil {
		t.Fatal(err)
	}
	check(reader) // the same, of another process
	r.stop()
	if reader, err = OpenReader(r.Dir()); err != nil {
		t.Fatal(err)
	}
	check(reader) // sealed
	if left, _ := os.ReadDir(filepath.Join(r.Dir(), windowsName)); len(left) != 0 {
		t.Errorf("windows left %v behind", left)
	}
	if _, err := r.Window(t.Context(), at(1), at(1)); err == nil {
		t.Error("an empty window is accepted")
	}
}

func TestCoverageSaysWhatIsMissing(t *testing.T) { synctest.Test(t, testCoverage) }

func testCoverage(t *testing.T) {
	cfg := config(t.TempDir())
	r := record(t, cfg)
	dropped := pcapng.Note{Kind: pcapng.NoteDropped, Ring: "eth0", From: second + 1.2e9, To: second + 1.4e9, Packets: 77, Frozen: 1}
	r.chunk("eth0", second+1e9, 10, 100)
	r.chunk("eth0", second+2e9, 10, 100, dropped)
	r.chunk("shared", second+2e9, 10, 100)
	r.written(30)
	r.stop()

	r2 := record(t, cfg)
	r2.to["eth0"], r2.to["shared"] = second+7e9, second+7e9
	r2.chunk("eth0", second+8e9, 10, 100)
	r2.chunk("shared", second+8e9, 10, 100)
	r2.written(20)

	_, cov := window(t, r2, at(-1), at(9))
	want := []struct {
		ring, reason string
		from, to     float64
		packets      uint64
	}{
		{"eth0", MissingBefore, -1, 0, 0},
		{"shared", MissingBefore, -1, 1, 0},
		{"eth0", MissingDropped, 1.2, 1.4, 77},
		{"eth0", MissingGap, 2, 7, 0},
		{"shared", MissingGap, 2, 7, 0},
		{"eth0", MissingAfter, 8, 9, 0},
		{"shared", MissingAfter, 8, 9, 0},
	}
	if len(cov.Missing) != len(want) {
		t.Fatalf("missing %v, want %v", cov.Missing, want)
	}
	for i, m := range cov.Missing {
		w := want[i]
		if m.Ring != w.ring || m.Reason != w.reason || !m.From.Equal(at(w.from)) || !m.To.Equal(at(w.to)) || m.Packets != w.packets {
			t.Errorf("missing %+v, want %+v", m, w)
		}
	}
	if cov.Complete() || cov.Segments != 2 || len(cov.Rings) != 2 || len(cov.Rings[0].Covered) != 2 {
		t.Errorf("coverage %+v, want 2 segments and 2 rings with 2 spans each", cov)
	}
	c, cov := window(t, r2, at(0), at(2))
	if got := reasons(cov); !slices.Equal(got, []string{MissingBefore, MissingDropped}) {
		t.Errorf("missing %v", got)
	}
	if c.received[0] != 20+77 || c.dropped[0] != 77 || c.dropped[1] != 0 {
		t.Errorf("statistics %v %v, want 97 received and 77 dropped on eth0", c.received, c.dropped)
	}
	if len(c.notes) != 1 || c.notes[0] != dropped {
		t.Errorf("notes %v, want the one of the drops", c.notes)
	}
	if _, cov = window(t, r2, at(0), at(1)); !slices.Equal(reasons(cov), []string{MissingBefore}) { // shared began at 1
		t.Errorf("missing %v", cov.Missing)
	}
	for _, to := range []float64{4, 6} { // the segment that tells of the gap begins after it
		if _, cov = window(t, r2, at(3), at(to)); !slices.Equal(reasons(cov), []string{MissingGap, MissingGap}) { // on both rings
			t.Errorf("within the gap: missing %v", cov.Missing)
		}
	}
	if _, cov = window(t, r2, at(7), at(8)); !cov.Complete() {
		t.Errorf("missing %v, want nothing", cov.Missing)
	}
}

func TestWindowWaitsForTheFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := tenSeconds(t, config(t.TempDir()))
		asked := time.Now()
		time.AfterFunc(700*time.Millisecond, func() { r.chunk("eth0", second+11e9, 100, 100) })
		c, cov := window(t, r, at(9), at(10.5))
		if len(c.numbers) != 150 || !cov.Complete() {
			t.Errorf("%d packets, missing %v; want 150 and nothing", len(c.numbers), cov.Missing)
		}
		if d := time.Since(asked); d != 700*time.Millisecond {
			t.Errorf("waited %v, want until the chunk came", d)
		}
		if _, cov = window(t, r, at(9), at(1000)); time.Since(asked) != 700*time.Millisecond+patience {
			t.Errorf("waited %v for the future, want %v", time.Since(asked)-700*time.Millisecond, patience)
		}
		if !slices.Equal(reasons(cov), []string{MissingAfter}) {
			t.Errorf("missing %v, want %s", cov.Missing, MissingAfter)
		}
	})
}

func TestWindowOutlivesRetention(t *testing.T) {
	cfg := config(t.TempDir())
	r := tenSeconds(t, cfg)
	r.stop()
	r = record(t, cfg) // a second segment, so that the first may go
	r.to["eth0"] = second + 20e9
	r.chunk("eth0", second+21e9, 10, 100)
	r.written(10)
	w, err := r.Window(t.Context(), at(0), at(10))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.mu.Lock()
	first := r.segments[0]
	r.mu.Unlock()
	r.files.Lock()
	r.removeSegment(first)
	r.files.Unlock()
	var b bytes.Buffer
	if _, err := w.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if c := readStream(t, &b); len(c.numbers) != 1000 {
		t.Errorf("%d packets, want 1000", len(c.numbers))
	}
	if _, cov := window(t, r, at(0), at(10)); !slices.Equal(reasons(cov), []string{MissingBefore}) {
		t.Errorf("missing %v after retention, want %s", cov.Missing, MissingBefore)
	}
}

// A table that continues, one that is new, and one whose interfaces have other ids: one section, each interface once.
func TestWindowJoinsTables(t *testing.T) { synctest.Test(t, testJoinsTables) }

func testJoinsTables(t *testing.T) {
	r := record(t, config(t.TempDir()))
	r.chunk("eth0", second+1e9, 10, 100)
	r.table.Add(pcapng.Interface{Name: "veth2", Index: 9})
	r.chunk("shared", second+1e9, 10, 100)
	r.table = tables("veth7", "eth0", "veth2")
	r.chunk("eth0", second+2e9, 10, 100) // id 0 is veth7 here
	r.written(30)
	if n := len(r.Segments()); n != 2 {
		t.Fatalf("%d segments, want one for each table", n)
	}
	c, _ := window(t, r, at(0), at(2))
	var names []string
	for _, i := range c.interfaces {
		names = append(names, i.Name)
	}
	if want := []string{"eth0", "veth1", "veth2", "veth7", "eth0", "veth2"}; !slices.Equal(names, want) { // indexes differ
		t.Errorf("interfaces %v, want %v", names, want)
	}
	if c.ids[0] != 10 || c.ids[1] != 10 || c.ids[3] != 10 {
		t.Errorf("packets by interface %v, want 10 on 0, 1 and 3", c.ids)
	}
}

func TestWindowReturnsTheErrorOfItsReader(t *testing.T) {
	r := tenSeconds(t, config(t.TempDir()))
	w, err := r.Window(t.Context(), at(0), at(10))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if n, err := w.WriteTo(&limited{500}); !errors.Is(err, io.ErrClosedPipe) || n > 500 {
		t.Errorf("WriteTo returns %d, %v, want the reader's error", n, err)
	}
}

type limited struct{ n int }

func (l *limited) Write(b []byte) (int, error) {
	if len(b) > l.n {
		return 0, io.ErrClosedPipe
	}
	l.n -= len(b)
	return len(b), nil
}

// A window asked for in the first second of a run waits for the first chunk.
func TestWindowOfTheFirstSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t, config(t.TempDir()))
		synctest.Wait()
		now := time.Now()
		time.AfterFunc(900*time.Millisecond, func() {
			r.to["eth0"] = now.UnixNano()
			r.chunk("eth0", now.Add(time.Second).UnixNano(), 10, 100)
		})
		c, _ := window(t, r, now, now.Add(500*time.Millisecond))
		if waited := time.Since(now); len(c.numbers) == 0 || waited != 900*time.Millisecond {
			t.Errorf("%d packets after %v, want some as soon as the chunk came", len(c.numbers), waited)
		}
	})
}

// A segment that is gone between the opening of a window and its reading is missing from it, and said to be, once.
func TestWindowReportsASegmentThatGoes(t *testing.T) {
	dir, path := sealedSegment(t)
	reader, err := OpenReader(dir) // it does not hold what it reads
	must(t, err)
	w, err := reader.Window(t.Context(), at(2), at(4))
	must(t, err)
	defer w.Close()
	must(t, os.Remove(path))
	must(t, os.Remove(indexPath(dir, filepath.Base(path))))
	for range 2 {
		_, err = w.WriteTo(io.Discard)
		must(t, err)
	}
	c := w.Coverage()
	if len(c.Missing) != 1 || c.Packets != 0 {
		t.Fatalf("%d packets, missing %v, want one stretch", c.Packets, c.Missing)
	}
	if m := c.Missing[0]; m.Reason != MissingDamaged || m.Packets != 1000 || !m.From.Equal(at(2)) || !m.To.Equal(at(4)) {
		t.Errorf("missing %+v, want 1000 packets damaged from second 2 to 4", m)
	}
}

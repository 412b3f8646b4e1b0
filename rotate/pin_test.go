package rotate

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// threeSegments records thirty seconds into a spool of ten-second segments; the last is live.
func threeSegments(t *testing.T, cfg Config) (*recording, *faulty) {
	t.Helper()
	cfg.Every = 10 * time.Second
	r, d, _, _ := faultyRecording(t, cfg)
	for i := range 29 {
		r.send(1)
		if i < 28 {
			time.Sleep(time.Second)
		}
	}
	synctest.Wait()
	if n := len(r.Segments()); n != 3 {
		t.Fatalf("%d segments, want 3", n)
	}
	return r, d
}

// removeAll removes all that retention may.
func (r *recording) removeAll() {
	r.t.Helper()
	r.cfg.Keep.Age = 1
	r.retain()
	r.cfg.Keep.Age = 1e6 * time.Hour
}

func TestPins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t.TempDir())
		r, _ := threeSegments(t, cfg)
		first, live := r.Segments()[0], r.Segments()[2]
		p, err := r.Pin("incident-1", at(2), at(3))
		must(t, err)
		if !slices.Equal(p.Segments, []string{first.Name}) || p.Bytes != first.Bytes {
			t.Errorf("pin %+v, want the first segment", p)
		}
		if p, err = r.Pin("now", at(25), at(35)); err != nil || !slices.Equal(p.Segments, []string{live.Name}) {
			t.Errorf("pin %+v, %v, want the live segment", p, err)
		}
		if again, err := r.Pin("incident-1", at(2), at(3)); err != nil || len(again.Segments) != 1 {
			t.Errorf("the same again: %+v, %v", again, err)
		}
		r.removeAll()
		st := r.Stats()
		if st.Removed != 1 || st.PinnedBytes != first.Bytes || st.Pins != 2 {
			t.Errorf("stats %+v, want one segment removed and %d bytes pinned", st, first.Bytes)
		}
		// The pin's directory is a spool to read.
		reader, err := OpenReader(filepath.Join(cfg.Dir, pinsName, "incident-1"))
		must(t, err)
		if c, cov := window(t, reader, at(2), at(3)); len(c.numbers) != 10 || !cov.Complete() {
			t.Errorf("%d packets in the pin, missing %v; want 10", len(c.numbers), cov.Missing)
		}
		// Segments that open before the pin ends are added to it, with their indexes.
		for range 12 {
			r.send(1)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if got := r.Pins()[1]; len(got.Segments) != 2 {
			t.Errorf("pin %+v, want two segments", got)
		}
		r.stop()
		r2 := reopen(t, cfg.Dir) // pins survive
		if pins := r2.Pins(); len(pins) != 2 || pins[0].Name != "incident-1" || !pins[0].From.Equal(at(2)) || len(pins[1].Segments) != 2 {
			t.Errorf("pins after a restart: %+v", pins)
		}
		if st := r2.Stats(); st.PinnedBytes != first.Bytes {
			t.Errorf("%d bytes pinned after a restart, want %d", st.PinnedBytes, first.Bytes)
		}
		for _, name := range r2.Pins()[1].Segments {
			if _, err := os.Stat(indexPath(filepath.Join(cfg.Dir, pinsName, "now"), name)); err != nil {
				t.Error(err)
			}
		}
		must(t, r2.Unpin("incident-1"))
		if err := r2.Unpin("incident-1"); !errors.Is(err, ErrNoPin) {
			t.Errorf("unpinned twice: %v", err)
		}
		if st := r2.Stats(); st.PinnedBytes != 0 || st.Pins != 1 {
			t.Errorf("stats after unpin %+v", st)
		}
	})
}

// A pin of a segment whose writer then died holds the recovered segment.
func TestPinSurvivesRecovery(t *testing.T) {
	dir, path := sealedSegment(t)
	name := filepath.Base(path)
	open := asOpen(t, path)
	must(t, os.MkdirAll(filepath.Join(dir, pinsName, "p"), 0o750))
	must(t, os.Link(open, filepath.Join(dir, pinsName, "p", name)))
	must(t, os.Truncate(open, 4096+6*16384+5))
	s := reopen(t, dir)
	if got := s.Pins(); len(got) != 1 || !slices.Equal(got[0].Segments, []string{name}) {
		t.Errorf("pins %+v", got)
	}
	reader, err := OpenReader(filepath.Join(dir, pinsName, "p"))
	must(t, err)
	if c, _ := window(t, reader, at(0), at(10)); len(c.numbers) != 600 {
		t.Errorf("%d packets, want 600", len(c.numbers))
	}
}

func TestPinNames(t *testing.T) {
	s := reopen(t, t.TempDir())
	for _, name := range []string{"", ".", "..", "../x", "a/b", ".hidden", "-x", "a b", "a\x00b", strings.Repeat("x", 129)} {
		if _, err := s.Pin(name, at(0), at(1)); err == nil {
			t.Errorf("name %q is accepted", name)
		}
	}
	if _, err := s.Pin("x", at(1), at(1)); err == nil {
		t.Error("an empty stretch of time is accepted")
	}
	if _, err := s.Pin("01J-ok_1.2", at(0), at(1)); err != nil {
		t.Error(err)
	}
}

// Segments that only a pin holds are not lost when a full disk makes room: they would free nothing.
func TestFullDiskSparesWhatIsPinned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := threeSegments(t, config(t.TempDir()))
		_, err := r.Pin("all", at(0), at(15))
		must(t, err)
		if r.freeOldest() {
			t.Error("a pinned segment was removed to make room")
		}
		must(t, r.Unpin("all"))
		if !r.freeOldest() || r.Segments()[0].Sequence != 2 {
			t.Errorf("segments %+v, want the oldest removed", r.Segments())
		}
	})
}

func TestPinFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t.TempDir())
		r, d := threeSegments(t, cfg)
		full := errors.New("no space")
		d.set(hooks{publish: func() error { return full }})
		if _, err := r.Pin("p", at(0), at(5)); !errors.Is(err, full) || len(r.Pins()) != 0 {
			t.Errorf("Pin returns %v and leaves %v", err, r.Pins())
		}
		d.set(hooks{})
		if _, err := r.Pin("p", at(0), at(5)); err != nil {
			t.Error(err)
		}
		r.stop()
		s, err := Open(cfg, zap.NewNop())
		must(t, err)
		defer s.Close()
		if len(s.Pins()) != 1 {
			t.Errorf("pins %v", s.Pins())
		}
	})
}

// What a pin could not link, the same pin again does: only what is in its directory counts.
func TestPinAgainAfterAFailedLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d := threeSegments(t, config(t.TempDir()))
		links := 0
		d.set(hooks{link: func() error {
			if links++; links == 3 { // segment and index of the first went well
				return syscall.EIO
			}
			return nil
		}})
		if _, err := r.Pin("p", at(0), at(40)); !errors.Is(err, syscall.EIO) {
			t.Errorf("Pin returns %v", err)
		}
		if got := r.Pins(); len(got) != 1 || len(got[0].Segments) != 1 {
			t.Errorf("pins %+v, want one with the first segment", got)
		}
		d.set(hooks{})
		_, err := r.Pin("p", at(0), at(40))
		must(t, err)
		for _, g := range r.Segments() {
			if _, err := os.Stat(filepath.Join(r.pinDir("p"), g.Name)); err != nil {
				t.Error(err)
			}
		}
	})
}

// Nor are those that a window holds, until it is closed.
func TestFullDiskSparesWhatIsBeingRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := threeSegments(t, config(t.TempDir()))
		w, err := r.Window(t.Context(), at(0), at(25))
		must(t, err)
		if r.freeOldest() {
			t.Error("a segment that a window holds was removed to make room")
		}
		must(t, w.Close())
		if !r.freeOldest() || r.Segments()[0].Sequence != 2 || len(r.held) != 0 {
			t.Errorf("segments %+v, held %v, want the oldest removed and none held", r.Segments(), r.held)
		}
	})
}

// What a pin costs and what all pins hold are counted once for each segment, and a pin is read as it is, live segment
// included.
func TestPinReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t.TempDir())
		r, _ := threeSegments(t, cfg)
		size := func(i int) int64 { return r.Segments()[i].Bytes }
		if got, want := r.PinCost(at(2), at(15)), size(0)+size(1); got != want {
			t.Errorf("a pin of two segments costs %d, want %d", got, want)
		}
		_, err := r.Pin("a", at(2), at(15))
		must(t, err)
		if got, want := r.PinCost(at(12), at(40)), size(2); got != want {
			t.Errorf("a pin of one more costs %d, want %d", got, want)
		}
		_, err = r.Pin("b", at(12), at(40))
		must(t, err)
		if got, want := r.PinnedTotal(), size(0)+size(1)+size(2); got != want || r.PinCost(at(0), at(40)) != 0 {
			t.Errorf("pins hold %d, want %d; another costs %d, want 0", got, want, r.PinCost(at(0), at(40)))
		}
		r.removeAll()
		for _, c := range []struct {
			pin      string
			from, to float64
			packets  int
			missing  string
		}{
			{"a", 2, 15, 130, ""},
			{"b", 12, 29, 170, ""}, // the live one, as far as it is written
			{"b", 12, 33, 170, MissingAfter},
			{"b", 2, 29, 190, MissingBefore},
		} {
			p, err := r.PinReader(c.pin)
			must(t, err)
			got, cov := window(t, p, at(c.from), at(c.to))
			if len(got.numbers) != c.packets || strings.Join(reasons(cov), " ") != c.missing {
				t.Errorf("[%v, %v) of pin %s: %d packets, missing %v; want %d, %q",
					c.from, c.to, c.pin, len(got.numbers), cov.Missing, c.packets, c.missing)
			}
		}
		_, err = r.Pin("late", at(5), at(29)) // retention has removed the first segment
		must(t, err)
		p, err := r.PinReader("late")
		must(t, err)
		if _, cov := window(t, p, at(5), at(29)); !slices.Equal(reasons(cov), []string{MissingBefore}) {
			t.Errorf("missing %v, want what retention had removed", cov.Missing)
		}
		r.send(3) // the live segment is sealed and another begins; b wants both
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if p, err = r.PinReader("b"); err != nil {
			t.Fatal(err)
		}
		if got, cov := window(t, p, at(12), at(32)); len(got.numbers) != 200 || !cov.Complete() {
			t.Errorf("%d packets, missing %v; want 200 and nothing", len(got.numbers), cov.Missing)
		}
		total := r.PinnedTotal()
		must(t, r.Unpin("late"))
		must(t, r.Unpin("a"))
		if _, err := r.PinReader("a"); !errors.Is(err, ErrNoPin) {
			t.Errorf("PinReader returns %v", err)
		}
		if got := r.PinnedTotal(); got >= total || got != r.Pins()[0].Bytes {
			t.Errorf("pins hold %d, want the %d of the only one", got, r.Pins()[0].Bytes)
		}
		r.stop()
		if got, want := reopen(t, cfg.Dir).PinnedTotal(), r.Pins()[0].Bytes; got != want {
			t.Errorf("pins hold %d after a restart, want %d", got, want)
		}
	})
}

// A crash may leave a pin that does not say yet what it is to hold: made again, it holds that and no more.
func TestPinMadeAgainBeforeItWasStated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t.TempDir())
		r, _ := threeSegments(t, cfg)
		r.stop()
		must(t, os.MkdirAll(filepath.Join(cfg.Dir, pinsName, "p"), 0o750))
		s := reopen(t, cfg.Dir)
		p, err := s.Pin("p", at(12), at(13))
		must(t, err)
		if !p.From.Equal(at(12)) || !p.To.Equal(at(13)) || len(p.Segments) != 1 {
			t.Errorf("pin %+v, want the second segment", p)
		}
	})
}

// A pin that could not be stated leaves nothing for the next start to find.
func TestPinThatCouldNotBeStated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t.TempDir())
		r, d := threeSegments(t, cfg)
		d.set(hooks{publish: func() error { return syscall.ENOSPC }})
		if _, err := r.Pin("p", at(2), at(3)); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%v", err)
		}
		d.set(hooks{})
		if _, err := os.Stat(filepath.Join(cfg.Dir, pinsName, "p")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its directory is left: %v", err)
		}
	})
}

// When the clock was set back, a pin does not take every segment from then on until its end comes again.
func TestPinAfterTheClockWasSetBack(t *testing.T) {
	p := pin{from: at(100).UnixNano(), to: at(200).UnixNano()}
	for _, c := range []struct {
		from, to float64
		want     bool
	}{{150, 151, true}, {90, 100, true}, {10, 12, false}, {200, 201, false}} {
		g := &segment{Segment: Segment{From: at(c.from), To: at(c.to)}} // live
		if got := p.wants(g); got != c.want {
			t.Errorf("a live segment of %v to %v: %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

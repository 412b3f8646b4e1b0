package rotate

import (
	"errors"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/ringside/ringside/pcapng"
)

// What one fault costs. Ten chunks are written before it, ten while it lasts, ten after.
func TestFaults(t *testing.T) {
	times := func(n int, err error) func() error { // fails n times
		return func() error {
			if n--; n >= 0 {
				return err
			}
			return nil
		}
	}
	writes := func(n int, short int, err error) func([]byte, int64) (int, error) {
		return func([]byte, int64) (int, error) {
			if n--; n >= 0 {
				return short, err
			}
			return -1, nil
		}
	}
	tests := []struct {
		name     string
		hooks    func() hooks
		lost     uint64 // packets
		segments int
	}{
		{"one I/O error", func() hooks { return hooks{write: writes(1, 0, syscall.EIO)} }, 0, 1},
		{"one short write", func() hooks { return hooks{write: writes(1, 4096, io.ErrShortWrite)} }, 0, 1},
		{"a short write within a page", func() hooks { return hooks{write: writes(1, 1000, io.ErrShortWrite)} }, 0, 1},
		{"two I/O errors: another segment", func() hooks { return hooks{write: writes(2, 0, syscall.EIO)} }, 0, 2},
		{"I/O errors on and on", func() hooks { return hooks{write: writes(1e6, 0, syscall.EIO)} }, 100, 2},
		{"read-only", func() hooks {
			return hooks{write: writes(1e6, 0, syscall.EROFS), create: times(1e6, syscall.EROFS)}
		}, 100, 2},
		{"disk full, nothing to free", func() hooks { return hooks{write: writes(1e6, 0, syscall.ENOSPC)} }, 100, 1},
		{"direct I/O refused late", func() hooks { return hooks{write: writes(2, 0, syscall.EINVAL)} }, 0, 2},
		{"no allocation ahead", func() hooks { return hooks{allocate: times(1e6, syscall.EOPNOTSUPP)} }, 0, 1},
		{"failing sync", func() hooks { return hooks{sync: times(1e6, syscall.EIO)} }, 0, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := config(t.TempDir())
				cfg.Every = time.Hour
				r, d, _, _ := faultyRecording(t, cfg)
				r.send(10)
				d.set(test.hooks())
				r.send(10)
				if c, cov := window(t, r, at(0), at(20)); len(c.numbers) == 100 { // it tells of the loss while it lasts
					checkUnwritten(t, cov, test.lost)
				}
				d.set(hooks{})
				time.Sleep(2 * maxBackOff)
				r.send(10)
				st := r.Stats()
				if st.UnwrittenPackets != test.lost || st.WrittenPackets != 300-test.lost {
					t.Errorf("%d packets written, %d lost; want %d lost of 300", st.WrittenPackets, st.UnwrittenPackets, test.lost)
				}
				if st.Segments != test.segments {
					t.Errorf("%d segments, want %d", st.Segments, test.segments)
				}
				if st.Error != "" {
					t.Errorf("still failing: %s", st.Error)
				}
				c, cov := window(t, r, at(0), at(30))
				if uint64(len(c.numbers)) != 300-test.lost {
					t.Errorf("%d packets can be read, want %d", len(c.numbers), 300-test.lost)
				}
				checkUnwritten(t, cov, test.lost)
				r.stop()
			})
		})
	}
}

// checkUnwritten wants exactly one stretch missing, from second 10 to 20, that says how many packets are lost.
func checkUnwritten(t *testing.T, cov Coverage, lost uint64) {
	t.Helper()
	if lost == 0 {
		if !cov.Complete() {
			t.Errorf("missing %v, want nothing", cov.Missing)
		}
		return
	}
	if len(cov.Missing) != 1 || cov.Missing[0].Reason != MissingUnwritten || cov.Missing[0].Packets != lost ||
		!cov.Missing[0].From.Equal(at(10)) || !cov.Missing[0].To.Equal(at(20)) {
		t.Errorf("missing %v, want %d unwritten from second 10 to 20", cov.Missing, lost)
	}
}

func TestFailuresAreLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d, _, logs := faultyRecording(t, config(t.TempDir()))
		r.send(1)
		d.set(hooks{write: func([]byte, int64) (int, error) { return 0, syscall.EIO }})
		for range 120 { // two minutes
			r.send(1)
			time.Sleep(time.Second)
		}
		failures := logs.FilterLevelExact(zapcore.ErrorLevel).Len()
		if failures < 2 || failures > 4 {
			t.Errorf("%d errors logged in two minutes: %v", failures, logs.All())
		}
		d.set(hooks{})
		r.send(2)
		recovered := logs.FilterMessage("chunks are written again").All()
		if len(recovered) != 1 || recovered[0].ContextMap()["unwritten_packets"] != uint64(1200) {
			t.Errorf("recovery is logged as %v, want once with 1200 packets", recovered)
		}
	})
}

// Faults of sealing never cost a packet.
func TestSealFaults(t *testing.T) {
	fail := func() error { return syscall.EIO }
	tests := []struct {
		name         string
		hooks        hooks
		seals, syncs uint64
		state        State // when opened again
	}{
		{"sync", hooks{sync: fail}, 0, 1, StateSealed},
		{"index", hooks{publish: fail}, 1, 0, StateRecovered},
		{"rename", hooks{rename: fail}, 1, 0, StateSealed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := config(t.TempDir())
				r, d, _, _ := faultyRecording(t, cfg)
				r.send(10)
				d.set(test.hooks)
				r.stop()
				st, segments := r.Stats(), r.Segments()
				if st.SealFailures != test.seals || st.SyncFailures != test.syncs {
					t.Errorf("%d seals and %d syncs failed, want %d and %d", st.SealFailures, st.SyncFailures, test.seals, test.syncs)
				}
				if len(segments) != 1 || !strings.Contains(segments[0].Error, "failed") {
					t.Errorf("segments %+v, want one that says what failed", segments)
				}
				if c, _ := window(t, r, at(0), at(10)); len(c.numbers) != 100 {
					t.Errorf("%d packets, want 100", len(c.numbers))
				}
				s := reopen(t, cfg.Dir)
				if c, _ := window(t, s, at(0), at(10)); len(c.numbers) != 100 {
					t.Errorf("%d packets after a restart, want 100", len(c.numbers))
				}
				if g := s.Segments()[0]; g.State != test.state {
					t.Errorf("%s after a restart, want %s", g.State, test.state)
				}
			})
		})
	}
}

// A full disk takes the oldest segments and nothing of the present.
func TestFullDiskTakesTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t.TempDir())
		cfg.Every = 5 * time.Second
		r, d, _, _ := faultyRecording(t, cfg)
		for range 20 {
			r.send(1)
			time.Sleep(time.Second)
		}
		before := r.Segments()
		var mu sync.Mutex
		removed := 0
		d.set(hooks{ // full until two segments are gone
			removed: func(path string) {
				mu.Lock()
				defer mu.Unlock()
				if strings.HasSuffix(path, suffixSealed) {
					removed++
				}
			},
			write: func([]byte, int64) (int, error) {
				mu.Lock()
				defer mu.Unlock()
				if removed < 2 {
					return 4096, syscall.ENOSPC
				}
				return -1, nil
			},
		})
		r.send(1)
		st := r.Stats()
		if st.UnwrittenPackets != 0 || st.Removed != 2 {
			t.Errorf("%d packets lost and %d segments removed, want 0 and 2", st.UnwrittenPackets, st.Removed)
		}
		if now := r.Segments(); now[0].Sequence != before[2].Sequence {
			t.Errorf("the oldest is %d, want %d", now[0].Sequence, before[2].Sequence)
		}
		lo := before[2].From
		if c, _ := window(t, r, lo, at(21)); len(c.numbers) != int(at(21).Sub(lo).Seconds())*10 {
			t.Errorf("%d packets since %v", len(c.numbers), lo)
		}
	})
}

// A disk that stalls for 5 s costs nothing at 10 MB/s: the chunks wait in the pool and the ring. Memory does not grow:
// Get waits.
func TestStalledDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d, _, _ := faultyRecording(t, config(t.TempDir()))
		r.send(1)
		stalled := time.Now()
		d.set(hooks{write: func([]byte, int64) (int, error) {
			time.Sleep(time.Until(stalled.Add(5 * time.Second)))
			return -1, nil
		}})
		for i := range 50 { // 1 MB ten times a second for 5 s; the pool has 32 chunks
			r.chunk("eth0", second+1e9+int64(i+1)*1e8, 700, 1400)
			if d := time.Since(stalled); i < poolChunks && d > time.Duration(i)*100*time.Millisecond {
				t.Fatalf("chunk %d had to wait for the disk", i)
			}
			time.Sleep(100 * time.Millisecond)
		}
		r.written(10 + 50*700)
		if st := r.Stats(); st.UnwrittenPackets != 0 || st.WrittenPackets != 10+50*700 {
			t.Errorf("%d packets written, %d lost", st.WrittenPackets, st.UnwrittenPackets)
		}
	})
}

// On a disk without room for a link, a window is read all the same.
func TestWindowWithoutLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d := threeSegments(t, config(t.TempDir()))
		d.set(hooks{link: func() error { return syscall.ENOSPC }})
		if c, cov := window(t, r, at(0), at(29)); len(c.numbers) != 290 || !cov.Complete() {
			t.Errorf("%d packets, missing %v; want 290", len(c.numbers), cov.Missing)
		}
		if _, err := r.Pin("p", at(0), at(5)); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Pin returns %v, want that it cannot hold", err)
		}
		d.set(hooks{})
		if p, err := r.Pin("p", at(0), at(5)); err != nil || len(p.Segments) != 1 {
			t.Errorf("the same again: %+v, %v", p, err)
		}
	})
}

// Rotation does not wait for the fsync of what came before.
func TestRotationDoesNotWaitForSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t.TempDir())
		cfg.Every = time.Second
		r, d, _, _ := faultyRecording(t, cfg)
		d.set(hooks{sync: func() error { time.Sleep(time.Minute); return nil }})
		start := time.Now()
		for range 20 {
			r.send(1)
			time.Sleep(time.Second)
		}
		if st := r.Stats(); time.Since(start) != 20*time.Second || st.WrittenPackets != 200 {
			t.Errorf("%d packets written after %v", st.WrittenPackets, time.Since(start))
		}
		if n := len(r.Segments()); n != maxSealing+1 { // a slow disk gets longer segments
			t.Errorf("%d segments, want %d", n, maxSealing+1)
		}
		if c, _ := window(t, r, at(0), at(20)); len(c.numbers) != 200 {
			t.Errorf("%d packets, want 200, of segments that are not sealed yet", len(c.numbers))
		}
	})
}

func TestWriteLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t.TempDir())
		cfg.WriteLimit = 1 << 20
		r, _, _, _ := faultyRecording(t, cfg)
		start := time.Now()
		for i := range 10 {
			r.chunk("eth0", second+int64(i+1)*1e9, 700, 1400) // 1 MB each
		}
		r.written(7000)
		if d := time.Since(start); d < 8*time.Second || d > 10*time.Second {
			t.Errorf("10 MB took %v at 1 MiB/s", d)
		}
		r.chunk("eth0", second+20e9, 700, 1400)
		r.chunk("eth0", second+21e9, 700, 1400)
		start = time.Now()
		r.stop() // what is queued is written at once
		if d := time.Since(start); d > time.Second || r.Stats().WrittenPackets != 8400 {
			t.Errorf("%d packets written, stopping took %v", r.Stats().WrittenPackets, d)
		}
	})
}

func TestNotesAreKeptAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d, _, _ := faultyRecording(t, config(t.TempDir()))
		r.send(1)
		for i := range maxNotes + 10 {
			r.Note(pcapng.Note{Kind: pcapng.NoteInterface, To: second + int64(i), Interface: "veth1", Text: "appeared"})
		}
		d.set(hooks{write: func([]byte, int64) (int, error) { return 0, syscall.EIO }})
		r.send(1) // fails: the notes must stay
		d.set(hooks{})
		time.Sleep(2 * maxBackOff)
		r.send(1)
		if n := r.Stats().NotesLost; n != 10 {
			t.Errorf("%d notes lost, want 10", n)
		}
		r.Note(pcapng.Note{Kind: pcapng.NoteInterface, To: second + 5e9, Interface: "veth1", Text: "vanished"})
		r.stop() // no chunk follows the last ones
		c, _ := window(t, r, at(0), at(10))
		kinds := map[string]int{}
		for _, n := range c.notes {
			kinds[n.Kind]++
		}
		if kinds[pcapng.NoteInterface] != maxNotes+1 || kinds[pcapng.NoteUnwritten] != 1 {
			t.Errorf("notes %v, want %d of interfaces and 1 unwritten", kinds, maxNotes+1)
		}
	})
}

// A note that is written between the moment of a window and the reading of it is told, once.
func TestWindowTellsNotesOfItsMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d, _, _ := faultyRecording(t, config(t.TempDir()))
		r.send(5)
		dropped := pcapng.Note{Kind: pcapng.NoteDropped, Ring: "eth0", From: second + 1e9, To: second + 2e9, Packets: 7}
		r.Note(dropped)
		d.set(hooks{link: func() error { // the window has chosen its segments
			d.set(hooks{})
			r.send(1) // which writes the note
			return nil
		}})
		for range 2 { // the second finds it in the segment
			_, cov := window(t, r, at(0), at(5))
			if len(cov.Missing) != 1 || cov.Missing[0].Reason != MissingDropped || cov.Missing[0].Packets != 7 {
				t.Errorf("missing %v, want 7 packets dropped", cov.Missing)
			}
		}
	})
}

package rotate

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// What retention removes of six segments of 100 MiB, one an hour, all of this boot unless a row says otherwise; the
// last is live. Now is six hours after the first began.
func TestRetention(t *testing.T) {
	const mib = 1 << 20
	const hour = int64(time.Hour)
	tests := []struct {
		name    string
		keep    Keep
		free    int64 // missing bytes
		change  func(s *Spool, c *steppable)
		removed []uint64
	}{
		{"within all bounds", Keep{Bytes: 1000 * mib, Age: 24 * time.Hour}, 0, nil, nil},
		{"by bytes", Keep{Bytes: 450 * mib, Age: 24 * time.Hour}, 0, nil, []uint64{0, 1}},
		{"by bytes, exactly", Keep{Bytes: 600 * mib, Age: 24 * time.Hour}, 0, nil, nil},
		{"never the newest sealed nor the live one", Keep{Bytes: 1, Age: 24 * time.Hour}, 0, nil, []uint64{0, 1, 2, 3}},
		{"by age", Keep{Bytes: 1000 * mib, Age: 3*time.Hour + time.Minute}, 0, nil, []uint64{0, 1}},
		{"by age, all but the newest", Keep{Bytes: 1000 * mib, Age: time.Second}, 0, nil, []uint64{0, 1, 2, 3}},
		{"by free disk", Keep{Bytes: 1000 * mib, Age: 24 * time.Hour}, 150 * mib, nil, []uint64{0, 1}},
		{"by free disk, no more than is there", Keep{Bytes: 1000 * mib, Age: 24 * time.Hour}, 1 << 50, nil, []uint64{0, 1, 2, 3}},
		{"pinned segments free nothing", Keep{Bytes: 1000 * mib, Age: 24 * time.Hour}, 150 * mib, func(s *Spool, _ *steppable) {
			s.bound = map[string]*bound{s.segments[0].Name: {pins: 1}, s.segments[1].Name: {pins: 1}}
		}, []uint64{2, 3}},
		{"nor do those that a window holds", Keep{Bytes: 1000 * mib, Age: 24 * time.Hour}, 150 * mib, func(s *Spool, _ *steppable) {
			s.held = map[string]int{s.segments[0].Name: 1, s.segments[2].Name: 2}
		}, []uint64{1, 3}},
		{"pinned segments leave the budget", Keep{Bytes: 450 * mib, Age: 24 * time.Hour}, 0, func(s *Spool, _ *steppable) {
			s.bound = map[string]*bound{s.segments[0].Name: {pins: 1}, s.segments[1].Name: {pins: 1}}
		}, []uint64{0, 1}},
		{"what is set aside counts", Keep{Bytes: 600 * mib, Age: 24 * time.Hour}, 0, func(s *Spool, _ *steppable) { s.damaged = 1 }, []uint64{0}},
		{"one that is being sealed stays", Keep{Bytes: 1, Age: 24 * time.Hour}, 0, func(s *Spool, _ *steppable) { s.segments[4].synced = false }, []uint64{0, 1, 2}},
		{"one that is being sealed stays, though a later one is done", Keep{Bytes: 1, Age: 24 * time.Hour}, 1 << 50, func(s *Spool, _ *steppable) { s.segments[1].synced = false }, []uint64{0, 2, 3}},
		{"wall clock set ahead", Keep{Bytes: 1000 * mib, Age: 24 * time.Hour}, 0, func(_ *Spool, c *steppable) { c.step.Add(10000 * hour) }, nil},
		{"wall clock set back", Keep{Bytes: 1000 * mib, Age: 3*time.Hour + time.Minute}, 0, func(_ *Spool, c *steppable) { c.step.Add(-10000 * hour) }, []uint64{0, 1}},
		{"an earlier boot, by the wall clock", Keep{Bytes: 1000 * mib, Age: 4*time.Hour + time.Minute}, 0, func(s *Spool, _ *steppable) {
			s.segments[0].Boot, s.segments[1].Boot = "earlier", "earlier"
		}, []uint64{0}},
		{"an earlier boot, wall clock just set ahead", Keep{Bytes: 1000 * mib, Age: 24 * time.Hour}, 0, func(s *Spool, c *steppable) {
			for _, g := range s.segments[:4] {
				g.Boot = "earlier"
			}
			s.steady = time.Now()
			c.step.Add(10000 * hour)
		}, nil},
		{"recovered: no time of its seal", Keep{Bytes: 1000 * mib, Age: 3*time.Hour + time.Minute}, 0, func(s *Spool, _ *steppable) {
			for _, g := range s.segments {
				g.Sealed = 0
			}
		}, []uint64{0, 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newSteppable()
				s := &Spool{cfg: Config{Keep: test.keep}, boot: "this", clock: c, pins: map[string]*pin{}, steady: time.Now()}
				s.bounds.Store(&s.cfg)
				wall, boot := c.now()
				for i := range int64(6) {
					s.segments = append(s.segments, &segment{
						Segment: Segment{Sequence: uint64(i), Name: baseName(uint64(i), time.Unix(0, wall+i*hour)) + suffixSealed,
							Bytes: 100 * mib, From: time.Unix(0, wall+i*hour), To: time.Unix(0, wall+(i+1)*hour)},
						anchor: anchor{Boot: "this", Wall: wall + i*hour, Created: boot + i*hour, Sealed: boot + (i+1)*hour},
						synced: i < 5,
					})
				}
				time.Sleep(6 * time.Hour)
				if test.change != nil {
					test.change(s, c)
				}
				var removed []uint64
				for _, g := range s.doomed(test.free) {
					removed = append(removed, g.Sequence)
				}
				if !slices.Equal(removed, test.removed) {
					t.Errorf("removed %v, want %v", removed, test.removed)
				}
			})
		})
	}
}

// What is set aside goes by budget and age, oldest first, and before any segment.
func TestRetentionOfWhatIsSetAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := threeSegments(t, config(t.TempDir()))
		dir := filepath.Join(r.Dir(), damagedName)
		must(t, os.Mkdir(dir, 0o750))
		for i, name := range []string{"c", "b", "a"} { // an hour apart, "c" the oldest
			must(t, os.WriteFile(filepath.Join(dir, name), make([]byte, 1000), 0o600))
			must(t, os.Chtimes(filepath.Join(dir, name), at(0), at(float64(i-3)*3600)))
		}
		r.countDamaged()
		check := func(bytes int64, want ...string) {
			t.Helper()
			r.retain()
			left, err := listDir(dir)
			must(t, err)
			if n := len(r.Segments()); !slices.Equal(left, want) || n != 3 || r.damaged != bytes {
				t.Errorf("%v and %d segments are left, %d bytes set aside; want %v, 3 and %d", left, n, r.damaged, want, bytes)
			}
		}
		check(3000, "a", "b", "c")
		r.cfg.Keep.Bytes = r.Stats().Bytes - 1500
		check(1000, "a")
		r.cfg.Keep.Age = 30 * time.Minute
		check(1000, "a") // the wall clock has not been steady for long
		r.mu.Lock()
		r.steady = time.Now().Add(-grace)
		r.mu.Unlock()
		check(0)
	})
}

// The janitor keeps a running spool to its bounds, index files included, and leaves no file behind.
func TestJanitorKeepsToTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t.TempDir())
		cfg.Every, cfg.Keep.Bytes = 2*time.Second, minBytes
		r, _, _, _ := faultyRecording(t, cfg)
		for range 60 {
			r.chunk("eth0", max(r.to["eth0"], second)+1e9, 700, 1400)
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		st := r.Stats()
		if st.Bytes > minBytes || st.Bytes < minBytes-4<<20 {
			t.Errorf("the spool takes %d bytes, want at most %d and not much less", st.Bytes, minBytes)
		}
		if st.Rotations != uint64(st.Segments)+st.Removed {
			t.Errorf("%d segments begun, %d there, %d removed", st.Rotations, st.Segments, st.Removed)
		}
		files, err := filepath.Glob(filepath.Join(cfg.Dir, "0*"))
		must(t, err)
		if len(files) != 2*st.Segments { // the last is sealed by now
			t.Errorf("files %v, want segment and index of %d", files, st.Segments)
		}
		if !st.Newest.Equal(at(60)) || st.Oldest.Before(at(45)) {
			t.Errorf("it covers %v to %v", st.Oldest, st.Newest)
		}
		r.stop()
	})
}

// Segments are rotated by the monotonic clock and by size, also when no chunk comes.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t.TempDir())
		cfg.Every, cfg.Keep.Bytes = 10*time.Second, 16<<20 // so that a segment has at most 4 MiB
		r, _, _, _ := faultyRecording(t, cfg)
		r.send(1)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if g := r.Segments(); len(g) != 1 || g[0].State != StateSealed {
			t.Errorf("segments %+v, want one that is sealed though nothing came", g)
		}
		for range 12 {
			r.chunk("eth0", r.to["eth0"]+1e9, 700, 1400)
		}
		synctest.Wait()
		for _, g := range r.Segments() {
			if g.Bytes > 4<<20 {
				t.Errorf("segment %d has %d bytes, want at most 4 MiB", g.Sequence, g.Bytes)
			}
			if info, err := os.Stat(filepath.Join(cfg.Dir, g.Name)); err == nil && info.Size() != g.Bytes {
				t.Errorf("segment %d has %d bytes on disk, %d by its facts", g.Sequence, info.Size(), g.Bytes)
			}
		}
		if n := len(r.Segments()); n != 4 { // 1, and 12 chunks four at a time
			t.Errorf("%d segments, want 4", n)
		}
	})
}

func TestNames(t *testing.T) {
	created := time.Date(2026, 11, 22, 19, 0, 1, 123456789, time.FixedZone("", 3600))
	base := baseName(42, created)
	if base != "00000042-20261122T180001.123456Z" {
		t.Errorf("name %s", base)
	}
	if seq, when, ok := parseBase(base); !ok || seq != 42 || !when.Equal(created.Truncate(time.Microsecond)) {
		t.Errorf("parsed %d %v %v", seq, when, ok)
	}
	for name, want := range map[string]string{
		base + ".pcapng":         "false true",
		base + ".pcapng.open":    "true true",
		base + ".idx":            "false false",
		"x" + base + ".pcapng":   "false false",
		"00000042.pcapng":        "false false",
		"../" + base + ".pcapng": "false false",
		"99999999999999999999-20261122T180001.123456Z.pcapng": "false false",
		"00000042-20261322T180001.123456Z.pcapng":             "false false",
	} {
		if _, open, ok := parseName(name); fmt.Sprint(open && ok, ok) != want {
			t.Errorf("parseName(%q): open and ok are %v %v, want %s", name, open && ok, ok, want)
		}
	}
}

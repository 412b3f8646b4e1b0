package rotate

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ringside/ringside/pcapng"
)

// sealedSegment records ten seconds into a spool and returns its directory and the path of the one segment.
func sealedSegment(t *testing.T) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	r := tenSeconds(t, config(dir))
	r.stop()
	return dir, filepath.Join(dir, r.Segments()[0].Name)
}

// asOpen gives a sealed segment the name of one whose writer died, and removes its index.
func asOpen(t *testing.T, path string) string {
	t.Helper()
	must(t, os.Remove(indexPath(filepath.Dir(path), filepath.Base(path))))
	must(t, os.Rename(path, path+".open"))
	return path + ".open"
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// overwrite puts b at off of a file; truncate cuts it.
func overwrite(t *testing.T, path string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt(b, off)
	must(t, err)
}

// reopen opens the spool without recording.
func reopen(t *testing.T, dir string) *Spool {
	t.Helper()
	s, err := Open(config(dir), zap.NewNop())
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// What survives damage. Every segment has ten chunks of 100 packets of 100 bytes, 14400 bytes of blocks in 16384.
func TestRecoveryKeepsWhatIsWhole(t *testing.T) {
	const chunk, packet = 16384, 144
	start := func(i int) int64 { return pcapng.PageSize + int64(i)*chunk } // of chunk i
	zeros := make([]byte, 10*chunk)
	tests := []struct {
		name   string
		damage func(t *testing.T, path string)
		want   []uint64 // numbers of packets left
		noted  int      // notes of damage
	}{
		{"nothing", func(*testing.T, string) {}, numbers(0, 1000), 0},
		{"cut at a chunk", func(t *testing.T, p string) { must(t, os.Truncate(p, start(6))) }, numbers(0, 600), 0},
		{"cut in a packet", func(t *testing.T, p string) { must(t, os.Truncate(p, start(6)+10*packet+7)) }, numbers(0, 610), 0},
		{"cut in a summary", func(t *testing.T, p string) { must(t, os.Truncate(p, start(7)-8)) }, numbers(0, 700), 0},
		{"zeros to the end", func(t *testing.T, p string) { overwrite(t, p, start(6)+10*packet, zeros[:4*chunk-10*packet]) }, numbers(0, 610), 0},
		{"zeros appended", func(t *testing.T, p string) { must(t, os.Truncate(p, start(40))) }, numbers(0, 1000), 0},
		{"garbage at the end", func(t *testing.T, p string) { overwrite(t, p, start(10), []byte(strings.Repeat("garbage!", 1000))) }, numbers(0, 1000), 0},
		{"a chunk of zeros", func(t *testing.T, p string) { overwrite(t, p, start(4), zeros[:chunk]) }, slices.Concat(numbers(0, 400), numbers(500, 1000)), 1},
		{"a page of zeros", func(t *testing.T, p string) { overwrite(t, p, start(4)+4096, zeros[:4096]) }, slices.Concat(numbers(0, 428), numbers(500, 1000)), 1},
		{"length of 0", func(t *testing.T, p string) { overwrite(t, p, start(4)+20*packet+4, zeros[:4]) }, slices.Concat(numbers(0, 420), numbers(500, 1000)), 1},
		{"length beyond the file", func(t *testing.T, p string) {
			overwrite(t, p, start(9)+20*packet+4, []byte{0, 0, 4, 0})
		}, numbers(0, 920), 0},
		{"lengths that differ", func(t *testing.T, p string) { overwrite(t, p, start(4)+20*packet+4, []byte{148}) }, slices.Concat(numbers(0, 420), numbers(500, 1000)), 1},
		{"type 0", func(t *testing.T, p string) { overwrite(t, p, start(4)+20*packet, zeros[:4]) }, slices.Concat(numbers(0, 420), numbers(500, 1000)), 1},
		{"captured length beyond the block", func(t *testing.T, p string) {
			overwrite(t, p, start(4)+20*packet+20, []byte{255})
		}, slices.Concat(numbers(0, 420), numbers(500, 1000)), 1},
		{"unknown interface", func(t *testing.T, p string) { overwrite(t, p, start(4)+20*packet+8, []byte{9}) }, slices.Concat(numbers(0, 420), numbers(500, 1000)), 1},
		{"two chunks damaged", func(t *testing.T, p string) {
			overwrite(t, p, start(2), zeros[:8])
			overwrite(t, p, start(7), zeros[:8])
		}, slices.Concat(numbers(0, 200), numbers(300, 700), numbers(800, 1000)), 2},
	}
	for _, test := range tests {
		for _, open := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, open %v", test.name, open), func(t *testing.T) {
				dir, path := sealedSegment(t)
				if open {
					path = asOpen(t, path)
				} else {
					must(t, os.Remove(indexPath(dir, filepath.Base(path))))
				}
				test.damage(t, path)
				s := reopen(t, dir)
				c, cov := window(t, s, at(-1), at(11))
				if !slices.Equal(c.numbers, test.want) {
					t.Errorf("%d packets are left, want %d", len(c.numbers), len(test.want))
				}
				segments := s.Segments()
				if len(segments) != 1 || segments[0].State != StateRecovered || segments[0].Packets != uint64(len(test.want)) {
					t.Fatalf("segments %+v, want one recovered with %d packets", segments, len(test.want))
				}
				if got := capinfosIfWhole(t, open, test.noted, filepath.Join(dir, segments[0].Name)); got != "" && got != fmt.Sprint(len(test.want)) {
					t.Errorf("capinfos finds %s packets, want %d", got, len(test.want))
				}
				damaged := 0
				for _, m := range cov.Missing {
					if m.Reason == MissingDamaged {
						damaged++
					}
				}
				if damaged != test.noted {
					t.Errorf("%d stretches are missing as damaged, want %d: %v", damaged, test.noted, cov.Missing)
				}
				// The index that was written is as good as the walk.
				x, err := readIndex(indexPath(dir, segments[0].Name), true)
				if err != nil || x.Packets != segments[0].Packets {
					t.Errorf("the index holds %v, %v", x, err)
				}
			})
		}
	}
}

// capinfosIfWhole counts the packets of a recovered segment; one that was cut, and not damaged in the middle, must
// please other tools.
func capinfosIfWhole(t *testing.T, open bool, noted int, path string) string {
	if !open || noted > 0 {
		return ""
	}
	return capinfos(t, path)
}

func TestDamagedIndexIsRebuilt(t *testing.T) {
	tests := map[string]func(t *testing.T, path string){
		"missing":   func(t *testing.T, p string) { must(t, os.Remove(p)) },
		"empty":     func(t *testing.T, p string) { must(t, os.Truncate(p, 0)) },
		"truncated": func(t *testing.T, p string) { must(t, os.Truncate(p, 200)) },
		"flipped":   func(t *testing.T, p string) { overwrite(t, p, 100, []byte{'?'}) },
		"another format": func(t *testing.T, p string) {
			must(t, os.WriteFile(p, []byte("ringside-index 2 00000000\n{}\n[]\n"), 0o600))
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			dir, path := sealedSegment(t)
			before, err := readIndex(indexPath(dir, filepath.Base(path)), true)
			must(t, err)
			damage(t, indexPath(dir, filepath.Base(path)))
			reader, err := OpenReader(dir) // changes nothing
			must(t, err)
			if c, cov := window(t, reader, at(0), at(10)); len(c.numbers) != 1000 || !cov.Complete() {
				t.Errorf("a reader finds %d packets, missing %v; want 1000", len(c.numbers), cov.Missing)
			}
			s := reopen(t, dir)
			after, err := readIndex(indexPath(dir, filepath.Base(path)), true)
			must(t, err)
			if !slices.EqualFunc(before.chunks, after.chunks, sameEntry) {
				t.Errorf("chunks were\n%v\nand are now\n%v", before.chunks, after.chunks)
			}
			if c, _ := window(t, s, at(0), at(10)); len(c.numbers) != 1000 {
				t.Errorf("%d packets, want 1000", len(c.numbers))
			}
		})
	}
}

// A chunk that is damaged while its index is good is found when it is read: it is left out, and said to be.
func TestWindowLeavesOutDamagedChunks(t *testing.T) {
	dir, path := sealedSegment(t)
	overwrite(t, path, pcapng.PageSize+4*16384+20*144+4, []byte{148})
	c, cov := window(t, reopen(t, dir), at(0), at(10))
	if want := slices.Concat(numbers(0, 400), numbers(500, 1000)); !slices.Equal(c.numbers, want) {
		t.Errorf("%d packets, want %d", len(c.numbers), len(want))
	}
	if len(cov.Missing) != 1 || cov.Missing[0].Reason != MissingDamaged || cov.Missing[0].Packets != 100 {
		t.Errorf("missing %v, want 100 packets damaged", cov.Missing)
	}
}

func TestWhatIsNoSegmentIsSetAside(t *testing.T) {
	for name, content := range map[string]string{
		"00000007-20261122T190000.000000Z.pcapng":      "not pcapng at all",
		"00000008-20261122T190000.000000Z.pcapng.open": strings.Repeat("\x00", 9000),
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := sealedSegment(t)
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
			s := reopen(t, dir)
			if _, err := os.Stat(filepath.Join(dir, damagedName, name)); err != nil {
				t.Error(err)
			}
			if c, _ := window(t, s, at(0), at(10)); len(c.numbers) != 1000 {
				t.Errorf("%d packets of the other segment, want 1000", len(c.numbers))
			}
			if got := s.Stats(); got.Bytes < int64(len(content)) || got.Segments != 1 {
				t.Errorf("stats %+v, want one segment, and what is set aside counted", got)
			}
			if s.next <= 7 {
				t.Errorf("the next sequence is %d, want more than that of the file set aside", s.next)
			}
		})
	}
}

// A segment that cannot be read at one start is not given up: it stays where it is, and the next start has it.
func TestReadErrorLeavesTheSegment(t *testing.T) {
	for _, open := range []bool{true, false} {
		t.Run(fmt.Sprintf("open %v", open), func(t *testing.T) {
			dir, path := sealedSegment(t)
			if open {
				path = asOpen(t, path)
			} else {
				must(t, os.Remove(indexPath(dir, filepath.Base(path))))
			}
			good := filepath.Join(dir, "good")
			must(t, os.Rename(path, good))
			if open {
				must(t, os.Mkdir(path, 0o750)) // EISDIR
			} else {
				must(t, os.Symlink("/proc/self/mem", path)) // EIO, and no size, with which an open one is removed
			}
			core, logs := observer.New(zapcore.ErrorLevel)
			s, err := Open(config(dir), zap.New(core))
			must(t, err)
			if logs.FilterField(zap.String("segment", strings.TrimSuffix(filepath.Base(path), ".open"))).Len() != 1 {
				t.Errorf("logged %v, want one line that names it", logs.All())
			}
			if len(s.Segments()) != 0 || s.next != 2 {
				t.Errorf("segments %+v, next is %d; want none, and 2", s.Segments(), s.next)
			}
			must(t, s.Close())
			must(t, os.Remove(path))
			must(t, os.Rename(good, path))
			if c, _ := window(t, reopen(t, dir), at(0), at(10)); len(c.numbers) != 1000 {
				t.Errorf("%d packets at the next start, want 1000", len(c.numbers))
			}
		})
	}
}

// A segment that no tool can open any more is named at start; what is whole in it is still served.
func TestDamagedBeginningIsNamed(t *testing.T) {
	dir, path := sealedSegment(t)
	overwrite(t, path, 0, make([]byte, 16))
	core, logs := observer.New(zapcore.ErrorLevel)
	s, err := Open(config(dir), zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := logs.FilterField(zap.String("segment", filepath.Base(path))).Len(); got != 1 {
		t.Errorf("%d log lines name %s, want 1", got, filepath.Base(path))
	}
	if c, _ := window(t, s, at(0), at(10)); len(c.numbers) != 1000 {
		t.Errorf("%d packets served, want 1000", len(c.numbers))
	}
}

func TestStartCleansUp(t *testing.T) {
	dir, path := sealedSegment(t)
	leftovers := []string{
		"00000009-20261122T190000.000000Z.pcapng.open", // created, nothing written
		"00000008-20261122T190000.000000Z.idx",         // its segment is gone
		"00000001-20261122T190000.000000Z.idx.tmp",
		windowsName + "/3/link",
		pinsName + "/.gone/link",
	}
	for _, l := range leftovers {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, l)), 0o750))
		must(t, os.WriteFile(filepath.Join(dir, l), nil, 0o600))
	}
	s := reopen(t, dir)
	for _, l := range leftovers {
		if _, err := os.Stat(filepath.Join(dir, l)); err == nil {
			t.Errorf("%s is still there", l)
		}
	}
	if n := len(s.Segments()); n != 1 {
		t.Errorf("%d segments, want 1", n)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// A process that died between index and rename left a segment that needs no walk.
func TestRecoveryOfTheLastRename(t *testing.T) {
	dir, path := sealedSegment(t)
	must(t, os.Rename(path, path+".open"))
	s := reopen(t, dir)
	if g := s.Segments(); len(g) != 1 || g[0].State != StateSealed || g[0].Packets != 1000 {
		t.Errorf("segments %+v, want one sealed", g)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestRestartIsADatedGap(t *testing.T) {
	dir, path := sealedSegment(t)
	must(t, os.Truncate(asOpen(t, path), pcapng.PageSize+6*16384)) // died at second 6
	r := record(t, config(dir))
	r.to["eth0"] = second + 60e9
	r.chunk("eth0", second+61e9, 5, 100)
	r.written(5)
	r.stop()
	reader, err := OpenReader(dir)
	must(t, err)
	segments := reader.Segments()
	if len(segments) != 2 || segments[1].Sequence != 2 {
		t.Fatalf("segments %+v, want sequences 1 and 2", segments)
	}
	contents, err := reader.Contents("2")
	must(t, err)
	if len(contents.Notes) != 1 {
		t.Fatalf("notes %v, want one gap", contents.Notes)
	}
	n := contents.Notes[0]
	if n.Kind != pcapng.NoteGap || n.From != second+6e9 || n.To != second+60e9 {
		t.Errorf("note %+v, want a gap from second 6 to 60", n)
	}
	// It is in the segment itself too.
	must(t, os.Remove(indexPath(dir, segments[1].Name)))
	if contents, err = reader.Contents("00000002"); err != nil || len(contents.Notes) != 1 || contents.Notes[0] != n {
		t.Errorf("rebuilt notes %v, %v, want the gap", contents.Notes, err)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := reopen(t, dir)
	_, err := Open(config(dir), zap.NewNop())
	if err == nil {
		t.Fatal("two spools are open on one directory")
	}
	if want := fmt.Sprintf("in use by process %d", os.Getpid()); !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not say %q", err, want)
	}
	_ = s
}

func TestOpenSaysWhatToDo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"no directory", Config{}, "rotate.dir is empty"},
		{"a file in the way", Config{Dir: file}, "set rotate.dir to a directory"},
		{"below a file", Config{Dir: filepath.Join(file, "spool")}, "set rotate.dir to a directory"},
		{"too often", Config{Dir: t.TempDir(), Every: time.Millisecond}, "at least 1s"},
		{"too small", Config{Dir: t.TempDir(), Keep: Keep{Bytes: 1000}}, "rotate.keep.bytes"},
		{"share above one", Config{Dir: t.TempDir(), Keep: Keep{Free: 20}}, "rotate.keep.free"},
		{"negative limit", Config{Dir: t.TempDir(), WriteLimit: -1}, "rotate.write_limit"},
		{"not there to be made", Config{Dir: "/proc/ringside"}, "cannot use /proc/ringside as spool"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := Open(test.cfg, zap.NewNop())
			if err == nil {
				_ = s.Close()
				t.Fatal("it is opened")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q does not say %q", err, test.want)
			}
		})
	}
}

// The pool bounds memory: once all chunks wait for the disk, Get waits too.
func TestGetWaitsForAFreeChunk(t *testing.T) {
	s := reopen(t, t.TempDir())
	var chunks []*pcapng.Chunk
	for range poolChunks {
		c, err := s.Get(t.Context())
		must(t, err)
		chunks = append(chunks, c)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Get(ctx); err != context.Canceled {
		t.Errorf("Get returns %v without a free chunk, want it to wait for ctx", err)
	}
	for _, c := range chunks {
		s.Put(c)
	}
	if _, err := s.Get(t.Context()); err != nil {
		t.Error(err)
	}
}

package logs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

const app = "/var/log/app.log"

func TestWhatWasThereBeforeIsLeftAlone(t *testing.T) {
	h := newHost(t)
	h.append(app, "old 0", "old 1")
	h.start()
	h.append(app, "new 0")
	h.expect("new 0")
}

func TestALineUnderWayAtTheStartIsWhole(t *testing.T) {
	h := newHost(t)
	h.do(os.WriteFile(h.path(app), []byte("old\nbegun"), 0o644))
	h.start()
	h.append(app, " and ended", "next")
	h.expect("begun and ended", "next")
}

func TestFileThatComesLater(t *testing.T) {
	h := newHost(t)
	h.start()
	h.append(app, "a", "b")
	h.expect("a", "b")
}

func TestDirectoriesThatComeLater(t *testing.T) {
	h := newHost(t, "/var/log/a/b/app.log", "/var/log/pods/*/*.log")
	h.start()
	h.mkdir("/var/log/a/b")
	h.append("/var/log/a/b/app.log", "a")
	h.expect("a")
	h.mkdir("/var/log/pods/one")
	h.append("/var/log/pods/one/0.log", "b", "c")
	h.expect("a", "b", "c")
	h.do(os.RemoveAll(h.path("/var/log/a")))
	h.mkdir("/var/log/a/b")
	h.append("/var/log/a/b/app.log", "d")
	h.expect("a", "b", "c", "d")
}

// Writers hold the old file open after it was renamed, and go on writing to it before they notice.
func TestRotationByRename(t *testing.T) {
	h := newHost(t)
	h.start()
	var want []string
	for round := range 8 {
		f, err := os.OpenFile(h.path(app), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		h.do(err)
		early, late, next := lines(fmt.Sprint("early ", round), 100), lines(fmt.Sprint("late ", round), 10), lines(fmt.Sprint("next ", round), 10)
		fmt.Fprintln(f, strings.Join(early, "\n"))
		for k := 8; k > 0; k-- {
			if os.Rename(h.path(fmt.Sprintf("%s.%d", app, k)), h.path(fmt.Sprintf("%s.%d", app, k+1))) != nil {
				continue
			}
		}
		h.rename(app, app+".1")
		fmt.Fprintln(f, strings.Join(late, "\n"))
		f.Close()
		want = append(append(want, early...), late...)
		h.expect(want...)
		h.append(app, next...)
		want = append(want, next...)
		h.expect(want...)
	}
	if n := h.count("log.gap"); n != 0 {
		t.Errorf("%d gaps where nothing was lost", n)
	}
}

func TestCopyTruncate(t *testing.T) {
	h := newHost(t)
	h.start()
	var want []string
	for round := range 8 {
		some, last := lines(fmt.Sprint("round ", round), 50), lines(fmt.Sprint("last ", round), 50)
		h.append(app, some...)
		want = append(want, some...)
		h.expect(want...)
		h.append(app, last...)
		want = append(want, last...)
		h.do(copyFile(h.path(app), h.path(app+".1")))
		h.do(os.Truncate(h.path(app), 0))
		more := lines(fmt.Sprint("after ", round), 200) // beyond where the file was read to
		h.append(app, more...)
		want = append(want, more...)
		h.expect(want...)
	}
	if n := h.count("log.gap"); n != 0 {
		t.Errorf("%d gaps where nothing was lost:%s", n, brief(h.all()))
	}
}

func TestTruncationWithoutACopyIsSaid(t *testing.T) {
	h := newHost(t)
	h.start()
	h.append(app, lines("a", 10)...)
	h.expect(lines("a", 10)...)
	h.do(os.Truncate(h.path(app), 0))
	h.wait("the gap", func() bool { return h.count("log.gap") == 1 })
	h.append(app, "b")
	h.expect(append(lines("a", 10), "b")...)
}

func TestSymlinkSwaps(t *testing.T) {
	h := newHost(t)
	h.append("/var/log/a", "a 0")
	h.append("/var/log/b", "b 0", "b 1")
	swap := func(to string) {
		h.do(os.Symlink(to, h.path("/var/log/.tmp")))
		h.rename("/var/log/.tmp", app)
	}
	swap("/var/log/a") // absolute: as the host sees it, not as we do
	h.start()
	h.append("/var/log/a", "a 1")
	h.expect("a 1")
	swap("b")
	h.expect("a 1", "b 0", "b 1")
	h.append("/var/log/a", "a 2") // still held open by who wrote it
	h.expect("a 1", "b 0", "b 1", "a 2")
	swap("/var/log/a")
	h.append("/var/log/a", "a 3")
	h.expect("a 1", "b 0", "b 1", "a 2", "a 3")
}

func TestALineOfAGigabyte(t *testing.T) {
	h := newHost(t)
	h.start()
	h.do(os.WriteFile(h.path(app), []byte("before\nbig "), 0o644))
	h.do(os.Truncate(h.path(app), 1<<30+1<<20)) // sparse
	h.append(app, " end", "after")
	var peak uint64
	h.wait("the line after", func() bool { peak = max(peak, heap()); return h.count("log") == 3 })
	got := h.all()
	if got[0].Raw != "before" || got[2].Raw != "after" || !strings.HasPrefix(got[1].Raw, "big ") {
		t.Fatalf("got %s", brief(got))
	}
	if want := "(the first 64 KiB of a line of 1.0 GiB)"; !strings.HasSuffix(got[1].Text, want) || len(got[1].Raw) > hoststate.MaxRaw {
		t.Errorf("text of %d bytes %.100q, raw of %d bytes; want %q at its end", len(got[1].Text), got[1].Text, len(got[1].Raw), want)
	}
	if peak > 64<<20 {
		t.Errorf("the heap grew to %d MiB", peak>>20)
	}
}

func TestBinaryNoise(t *testing.T) {
	h := newHost(t)
	h.start()
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(i * 7919 >> 3)
	}
	noise = bytes.ReplaceAll(noise, []byte("\n"), []byte{0xff})
	h.do(os.WriteFile(h.path(app), slices.Concat([]byte("a\x00b\x1b[31m\xff\n"), noise, []byte("\n\x00\x00\x00ok\r\n\n\n")), 0o644))
	h.wait("3 lines", func() bool { return h.count("log") == 3 })
	got := h.texts("log")
	if got[0] != "a\uFFFDb\uFFFD[31m\uFFFD" || got[2] != "ok" {
		t.Errorf("got %q and %q", got[0], got[2])
	}
}

func TestRestart(t *testing.T) {
	h := newHost(t)
	h.append(app, "old")
	h.start()
	h.append(app, lines("a", 10)...)
	h.expect(lines("a", 10)...)
	want := lines("a", 10)
	for round := range 5 {
		h.stop()
		down := lines(fmt.Sprint("down ", round), 10)
		h.append(app, down...)
		want = append(want, down...)
		switch round {
		case 1: // renamed, and written to under both names
			h.rename(app, app+".1")
			h.append(app, "new 1")
			want = append(want, "new 1")
		case 2: // twice
			h.rename(app, app+".2")
			h.append(app, "between")
			h.rename(app, app+".1")
			h.append(app, "new 2")
			want = append(want, "between", "new 2")
		case 3: // copied and truncated
			h.do(copyFile(h.path(app), h.path(app+".1")))
			h.do(os.Truncate(h.path(app), 0))
			h.append(app, "new 3")
			want = append(want, "new 3")
		}
		h.start()
		h.expect(want...)
		up := fmt.Sprint("up ", round)
		h.append(app, up)
		want = append(want, up)
		h.expect(want...)
	}
	if n := h.count("log.gap"); n != 0 {
		t.Errorf("%d gaps where nothing was lost:%s", n, brief(h.all()))
	}
}

// A writer that has not noticed the rotation yet writes to the old file while the recorder is restarted.
func TestRestartAfterRotation(t *testing.T) {
	h := newHost(t)
	h.start()
	h.append(app, "a")
	h.rename(app, app+".1")
	h.append(app, "b")
	h.expect("a", "b")
	h.stop()
	h.append(app+".1", "late")
	h.append(app, "c")
	h.start()
	h.expect("a", "b", "late", "c")
}

func TestCompressedWhileDownIsSaid(t *testing.T) {
	h := newHost(t)
	h.start()
	h.append(app, "a")
	h.expect("a")
	h.stop()
	h.append(app, "lost")
	h.rename(app, app+".1")
	h.append(app+".1.gz", "...")
	h.do(os.Remove(h.path(app + ".1")))
	h.append(app, "b")
	h.start()
	h.expect("a", "b")
	h.wait("the gap", func() bool { return h.count("log.gap") == 1 })
	if text := h.all()[1].Text; !strings.Contains(text, "compressed") {
		t.Errorf("the gap says %q", text)
	}
}

func TestFloodIsCounted(t *testing.T) {
	h := newHost(t)
	h.few = true
	h.start()
	const n = 5000
	h.append(app, lines("flood", n)...)
	left := func() (n int) {
		for _, e := range h.all() {
			if e.Kind == "log.gap" {
				n += int(data(t, e)["lines"].(float64))
			}
		}
		return n
	}
	h.wait("all lines, kept or counted", func() bool { return left()+h.count("log") == n })
	if kept := h.count("log"); kept < 100 || kept > n/10 {
		t.Errorf("kept %d lines", kept)
	}
}

func TestWhatIsNotAFileIsRefused(t *testing.T) {
	h := newHost(t)
	h.do(unix.Mkfifo(h.path(app), 0o644))
	h.start()
	blind := func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.blind) == 1 }
	h.wait("the blind spot", blind)
	if !strings.Contains(h.blind[0], app) {
		t.Errorf("blind spot %q", h.blind[0])
	}
	h.do(os.Remove(h.path(app)))
	h.append(app, "a")
	h.expect("a")
	h.wait("no blind spot", func() bool { return !blind() })
}

func TestRootThatIsNotThere(t *testing.T) {
	err := New(Config{Root: "/nowhere"}).Run(t.Context(), &sink{})
	if u, ok := err.(*hoststate.Unavailable); !ok || !strings.Contains(u.Error(), "/nowhere") {
		t.Errorf("got %v", err)
	}
}

// The file's inode is used again at once on some file systems; it is another file all the same.
func TestInodeUsedAgain(t *testing.T) {
	h := newHost(t)
	h.start()
	var want []string
	for round := range 20 {
		h.append(app, fmt.Sprint("a ", round))
		want = append(want, fmt.Sprint("a ", round))
		h.expect(want...)
		h.do(os.Remove(h.path(app)))
	}
}

func TestManyFilesAtOnce(t *testing.T) {
	h := newHost(t, "/var/log/many/*.log")
	h.mkdir("/var/log/many")
	h.start()
	for i := range maxFollowers + 10 {
		h.append(fmt.Sprintf("/var/log/many/%d.log", i), "a", "b")
	}
	h.wait("the lines of as many files as are followed", func() bool { return h.count("log") == 2*maxFollowers })
	h.wait("the blind spot", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.blind) == 1 })
}

func TestPlacesThatCannotBeRead(t *testing.T) {
	h := newHost(t)
	h.do(os.WriteFile(h.state+"/logs.json", []byte("{"), 0o600))
	h.append(app, "old")
	h.start()
	h.append(app, "new")
	h.expect("new")
}

func TestTimesAreThoseOfWriting(t *testing.T) {
	h := newHost(t)
	h.append(app, "old")
	h.start()
	h.stop()
	before := time.Now().Add(-time.Second)
	h.append(app, "a")
	after := time.Now().Add(time.Second)
	time.Sleep(2100 * time.Millisecond)
	h.start()
	h.expect("a")
	if at := h.all()[0].Time; at.Before(before) || at.After(after) {
		t.Errorf("written between %v and %v, dated %v", before, after, at)
	}
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, in)
	return err
}

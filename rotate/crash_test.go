//go:build failpoint

package rotate

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
)

const (
	crashDir   = "RINGSIDE_CRASH_DIR"
	crashFirst = "RINGSIDE_CRASH_FIRST"
)

// crashStages are the stages of this package, in the order in which they are passed.
var crashStages = []string{
	"segment-created", "meta-written", "chunk-written",
	"seal-started", "seal-truncated", "seal-synced", "index-temp", "index-written", "renamed", "sealed",
	"retention-unlinked", "pin-created", "pin-linked", "pin-synced", "unpin-unlinked",
	"recovery-walked", "recovery-truncated", "recovery-indexed", "recovery-renamed",
}

// TestCrashChild is the process that TestCrash kills. It goes through every stage: it recovers what is there, records
// six segments, each chunk said to be written once it is, pins, unpins, and leaves retention the oldest.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("only run by TestCrash")
	}
	s, err := Open(config(dir), zap.NewNop())
	must(t, err)
	s.cfg.Keep.Bytes = 256 << 10 // about two segments
	r := run(t, s)
	r.n, err = strconv.ParseUint(os.Getenv(crashFirst), 10, 64)
	must(t, err)
	for i := range 6 {
		r.table = tables("eth0", "veth1") // another segment
		for range 10 {
			r.chunk("eth0", time.Now().UnixNano(), 7, 1400)
			r.acknowledged()
			fmt.Println("written", r.n-1)
		}
		if i == 1 || i == 3 {
			_, err := r.Pin("p", time.Now().Add(-time.Millisecond), time.Now().Add(time.Hour))
			must(t, err)
			fmt.Println("pinned")
		}
		if i == 2 {
			fmt.Println("unpinning")
			must(t, r.Unpin("p"))
		}
	}
	for r.Stats().Removed == 0 { // the janitor may be late on a busy machine
		time.Sleep(time.Millisecond)
	}
}

// acknowledged waits until all that was put is written.
func (r *recording) acknowledged() {
	for {
		r.mu.Lock()
		done := r.progress["eth0"].to >= r.to["eth0"]
		changed := r.changed
		r.mu.Unlock()
		if done {
			return
		}
		<-changed
	}
}

// Killed at any stage, what was said to be written is served by the next start, but for what retention has removed, in
// segments that other tools read, and a pin that was said to hold holds.
func TestCrash(t *testing.T) {
	for _, stage := range crashStages {
		t.Run(stage, func(t *testing.T) {
			dir := t.TempDir()
			crash(t, dir, "chunk-written:7", 0) // leaves the next start something to recover
			reader, err := OpenReader(dir)
			must(t, err)
			first := uint64(len(packets(t, reader)))
			if first != 49 {
				t.Fatalf("%d packets after a kill at the seventh chunk, want 49", first)
			}
			last, pinned := crash(t, dir, stage, first)
			s := reopen(t, dir)
			got := packets(t, s)
			if len(got) == 0 || got[len(got)-1] < last || !slices.Equal(got, numbers(got[0], got[len(got)-1]+1)) {
				t.Errorf("packets %v, want all from the oldest to %d or more", got, last)
			}
			if left := leftovers(t, dir); len(left) != 0 {
				t.Errorf("files left: %v", left)
			}
			checkPin(t, s, pinned)
			for _, g := range s.Segments() {
				if want := fmt.Sprint(g.Packets); capinfos(t, filepath.Join(dir, g.Name)) != want {
					t.Errorf("%s has not the %s packets of its facts", g.Name, want)
				}
			}
		})
	}
}

// crash runs a child until it is killed at a stage. It returns the number of the last packet that was said to be
// written, or first less one, and whether a pin was said to hold.
func crash(t *testing.T, dir, stage string, first uint64) (last uint64, pinned bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir, fmt.Sprintf("%s=%d", crashFirst, first), "RINGSIDE_FAILPOINT="+stage)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child was not killed at %s: %v\n%s", stage, err, out)
	}
	last = max(first, 1) - 1
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		switch what, n, _ := strings.Cut(lines.Text(), " "); what {
		case "written":
			last, err = strconv.ParseUint(n, 10, 64)
			must(t, err)
		case "pinned":
			pinned = true
		case "unpinning":
			pinned = false
		}
	}
	return last, pinned
}

// packets returns the numbers of all packets in a spool.
func packets(t *testing.T, s windower) []uint64 {
	t.Helper()
	c, _ := window(t, s, time.Unix(0, 0), time.Now())
	return c.numbers
}

// leftovers are files in the spool that are neither segment nor index of one.
func leftovers(t *testing.T, dir string) (left []string) {
	t.Helper()
	names, err := listDir(dir)
	must(t, err)
	for _, name := range names {
		_, open, ok := parseName(name)
		if !ok {
			_, err := os.Stat(filepath.Join(dir, strings.TrimSuffix(name, suffixIndex)+suffixSealed))
			ok = err == nil || slices.Contains([]string{lockName, pinsName, windowsName}, name)
		}
		if !ok || open {
			left = append(left, name)
		}
	}
	return left
}

func checkPin(t *testing.T, s *Spool, pinned bool) {
	t.Helper()
	pins := s.Pins()
	if len(pins) == 0 {
		if pinned {
			t.Error("the pin is gone")
		}
		return
	}
	if pinned && len(pins[0].Segments) == 0 {
		t.Errorf("pin %+v holds nothing", pins[0])
	}
	reader, err := OpenReader(s.pinDir(pins[0].Name))
	must(t, err)
	for _, g := range reader.Segments() {
		if g.Error != "" {
			t.Errorf("segment %s of the pin: %s", g.Name, g.Error)
		}
	}
}

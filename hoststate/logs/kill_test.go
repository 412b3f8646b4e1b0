package logs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/ringside/ringside/hoststate"
)

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// child is a recorder that is killed: its timeline is a file, which takes events a quarter of a second after they came.
func child(dir string) {
	f, err := os.OpenFile(filepath.Join(dir, "timeline"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		panic(err)
	}
	s := &sink{}
	go func() {
		for n := 0; ; time.Sleep(250 * time.Millisecond) {
			var b bytes.Buffer
			for all := s.all(); n < len(all); n++ {
				line, _ := json.Marshal(all[n])
				b.Write(append(line, '\n'))
			}
			f.Write(b.Bytes())
		}
	}()
	w := New(Config{Root: filepath.Join(dir, "root"), State: filepath.Join(dir, "state"), Presets: []Preset{{Name: "app", Paths: []string{app}}},
		Recent: func(time.Time) iter.Seq[hoststate.Event] { return timeline(dir) }})
	fmt.Println(w.Run(context.Background(), s))
}

// timeline reads what children have kept.
func timeline(dir string) iter.Seq[hoststate.Event] {
	return func(yield func(hoststate.Event) bool) {
		f, err := os.Open(filepath.Join(dir, "timeline"))
		if err != nil {
			return
		}
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			var e hoststate.Event
			if json.Unmarshal(s.Bytes(), &e) == nil && !yield(e) {
				return
			}
		}
	}
}

// The recorder is killed at any moment, while lines are written and the file is rotated: each line is in the timeline once.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	h := &host{T: t, sink: &sink{}, root: filepath.Join(dir, "root")}
	h.mkdir("/var/log")
	h.append(app, "old")

	var want []string
	write := func() {
		line := fmt.Sprintf("line %d", len(want))
		h.append(app, line)
		want = append(want, line)
	}
	for round := range 6 {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "RINGSIDE_LOGS_CHILD="+dir)
		h.do(c.Start())
		h.wait("the first look", func() bool { _, err := os.Stat(filepath.Join(dir, "state", "logs.json")); return err == nil })
		for end := time.Now().Add(time.Duration(rand.Int64N(int64(4 * time.Second)))); time.Now().Before(end); time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond) {
			write()
		}
		h.do(c.Process.Kill())
		c.Wait()
		if round%2 == 1 {
			h.rename(app, fmt.Sprintf("%s.%d", app, 9-round))
		}
		write()
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "RINGSIDE_LOGS_CHILD="+dir)
	h.do(c.Start())
	defer func() { c.Process.Kill(); c.Wait() }()
	have := func() (n int) {
		for range timeline(dir) {
			n++
		}
		return n
	}
	h.wait("all lines", func() bool { return have() >= len(want) })
	var got []string
	for e := range timeline(dir) {
		got = append(got, e.Raw)
	}
	if len(got) != len(want) {
		t.Errorf("%d lines were written, the timeline has %d", len(want), len(got))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("line %d is %q, want %q", i, got[i], want[i])
		}
	}
	t.Logf("%d lines, 6 kills", len(want))
}

package logs

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringside/ringside/hoststate"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("RINGSIDE_LOGS_CHILD"); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must come.
const patience = 90 * time.Second

// sink keeps what a watcher emits.
type sink struct {
	mu     sync.Mutex
	events []hoststate.Event
	blind  []string
}

func (s *sink) Emit(e hoststate.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

func (s *sink) Blind(spots ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blind = spots
}

func (s *sink) all() []hoststate.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]hoststate.Event(nil), s.events...)
}

// texts is the lines of the events of a kind.
func (s *sink) texts(kind string) (all []string) {
	for _, e := range s.all() {
		if e.Kind == kind {
			all = append(all, e.Raw)
		}
	}
	return all
}

func (s *sink) count(kind string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.events {
		if s.events[i].Kind == kind {
			n++
		}
	}
	return n
}

// host is a file system with logs, and a watcher of them that is started and stopped.
type host struct {
	*testing.T
	*sink
	root, state string
	presets     []Preset
	few         bool // only a few events are kept
	stop        func()
}

// newHost is a host with one log, every line of which is an event.
func newHost(t *testing.T, paths ...string) *host {
	if len(paths) == 0 {
		paths = []string{"/var/log/app.log"}
	}
	h := &host{T: t, sink: &sink{}, root: t.TempDir(), state: t.TempDir(), presets: []Preset{{Name: "app", Paths: paths}}}
	h.mkdir("/var/log")
	t.Cleanup(func() {
		if h.stop != nil {
			h.stop()
		}
	})
	return h
}

// start runs the watcher until stop is called, and returns when it has looked at everything once.
func (h *host) start() {
	h.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	w := New(Config{Root: h.root, State: h.state, Presets: h.presets})
	if h.few {
		w.perSecond, w.burst = 1, 100
	}
	before, _ := os.Stat(filepath.Join(h.state, "logs.json"))
	go func() { done <- w.Run(ctx, h.sink) }()
	h.stop = func() {
		cancel()
		if err := <-done; err != nil {
			h.Errorf("Run: %v", err)
		}
		h.stop = nil
	}
	h.wait("the first look", func() bool {
		after, err := os.Stat(filepath.Join(h.state, "logs.json"))
		return err == nil && (before == nil || !os.SameFile(before, after))
	})
}

func (h *host) wait(what string, ok func() bool) {
	h.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			h.Fatalf("waited %v for %s; have %d events: %v", patience, what, len(h.all()), brief(h.all()))
		}
	}
}

// expect waits for exactly these lines, and no others, in this order.
func (h *host) expect(want ...string) {
	h.Helper()
	h.wait(fmt.Sprintf("%d lines", len(want)), func() bool { return h.count("log") >= len(want) })
	got := h.texts("log")
	if len(got) != len(want) {
		h.Fatalf("got %d lines, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			h.Fatalf("line %d is %q, want %q", i, got[i], want[i])
		}
	}
}

func (h *host) path(name string) string { return filepath.Join(h.root, name) }

func (h *host) mkdir(name string) {
	h.Helper()
	if err := os.MkdirAll(h.path(name), 0o755); err != nil {
		h.Fatal(err)
	}
}

func (h *host) append(name string, lines ...string) {
	h.Helper()
	f, err := os.OpenFile(h.path(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString(strings.Join(lines, "\n") + "\n")
		f.Close()
	}
	if err != nil {
		h.Fatal(err)
	}
}

func (h *host) do(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *host) rename(from, to string) { h.Helper(); h.do(os.Rename(h.path(from), h.path(to))) }

// lines is prefix 0 to prefix n-1.
func lines(prefix string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%s %d", prefix, i))
	}
	return all
}

func brief(events []hoststate.Event) string {
	var b strings.Builder
	for _, e := range events[max(0, len(events)-20):] {
		fmt.Fprintf(&b, "\n\t%s %s: %.120s", e.Kind, e.Subject, e.Text)
	}
	return b.String()
}

// data is the facts of an event.
func data(t *testing.T, e hoststate.Event) (f map[string]any) {
	t.Helper()
	if err := json.Unmarshal(e.Data, &f); err != nil {
		t.Fatalf("%s: %v", e.Data, err)
	}
	return f
}

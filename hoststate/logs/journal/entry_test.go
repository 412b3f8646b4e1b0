package journal

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringside/ringside/hoststate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	const head = `"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1795397401113034"`
	at := time.UnixMicro(1795397401113034).UTC()
	for _, c := range []struct {
		name, json string
		want       Entry
	}{
		{"of a service", `{` + head + `,"_SYSTEMD_UNIT":"dbus.service","SYSLOG_IDENTIFIER":"dbus-daemon","PRIORITY":"4","_PID":"57","MESSAGE":"hello","_SOURCE_REALTIME_TIMESTAMP":"1795397401110247"}`,
			Entry{Cursor: "s=1;i=2", Time: time.UnixMicro(1795397401110247).UTC(), Unit: "dbus.service", Program: "dbus-daemon", Message: "hello", Priority: 4, PID: 57}},
		{"about a unit", `{` + head + `,"_SYSTEMD_UNIT":"init.scope","UNIT":"kubelet.service","MESSAGE":"Stopping kubelet"}`,
			Entry{Cursor: "s=1;i=2", Time: at, Unit: "kubelet.service", Message: "Stopping kubelet", Priority: 6}},
		{"bytes", `{` + head + `,"MESSAGE":[104,105,27,255]}`, Entry{Cursor: "s=1;i=2", Time: at, Message: "hi\uFFFD\uFFFD", Priority: 6}},
		{"twice", `{` + head + `,"MESSAGE":["first","second"],"PRIORITY":["3","4"]}`, Entry{Cursor: "s=1;i=2", Time: at, Message: "first", Priority: 3}},
		{"too long for journalctl", `{` + head + `,"MESSAGE":null}`, Entry{Cursor: "s=1;i=2", Time: at, Message: "(longer than 4 KiB)", Priority: 6}},
	} {
		if got, err := parse([]byte(c.json)); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", c.name, got, err, c.want)
		}
	}
	for _, bad := range []string{"", "{", "null", "[]", "{}", `{"__CURSOR":"a"}`, `{"__CURSOR":"a","__REALTIME_TIMESTAMP":"x"}`} {
		if e, err := parse([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, e)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"1795397401113034","MESSAGE":[104,105],"PRIORITY":"4"}`))
	f.Add([]byte(`{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"1","MESSAGE":["a",["b"]]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := parse(line)
		if err == nil && (e.Cursor == "" || e.Time.IsZero() || len(e.Message) > 4*maxText) {
			t.Errorf("%+v", e)
		}
	})
}

func TestLines(t *testing.T) {
	in := "a\n" + strings.Repeat("x", 3*maxEntry) + "\nb\n" + strings.Repeat("y", maxEntry-1) + "\n" + strings.Repeat("z", maxEntry) + "\ntorn"
	var got []int
	lines(strings.NewReader(in), func(l []byte) { got = append(got, len(l)) })
	if want := []int{2, 0, 2, maxEntry, 0}; !slices.Equal(got, want) {
		t.Errorf("got lines of %v bytes, want %v", got, want)
	}
}

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
	s.blind = append(s.blind, spots...)
}

func (s *sink) texts(kind string) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Kind == kind {
			all = append(all, e.Text)
		}
	}
	return all
}

// fake is a journalctl: a script that writes its arguments to a file, and then what it is told to.
func fake(t *testing.T, script string) Config {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "journalctl")
	for path, text := range map[string]string{
		binary: "#!/bin/sh\necho \"$@\" >>" + dir + "/arguments\n" + script,
		dir + "/var/log/journal/1/system.journal": "",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return Config{Root: dir, State: dir, Binary: binary, Units: []string{"a.service"}}
}

func run(t *testing.T, cfg Config, until func(*sink) bool) *sink {
	t.Helper()
	out := &sink{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(cfg).Run(ctx, out) }()
	for end := time.Now().Add(30 * time.Second); !until(out); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("waited 30 s: %v", out.texts("journal"))
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	return out
}

func entry(n int) string {
	return fmt.Sprintf(`echo '{"__CURSOR":"c%d","__REALTIME_TIMESTAMP":"%d","_SYSTEMD_UNIT":"a.service","SYSLOG_IDENTIFIER":"a","MESSAGE":"%d"}'`+"\n", n, time.Now().UnixMicro(), n)
}

// A journalctl that ends is started again behind what it gave; so is the one of the next run.
func TestGoesOnAfterTheCursor(t *testing.T) {
	cfg := fake(t, `case "$*" in *after-cursor=c2*) `+entry(3)+`sleep 100;; *after-cursor=c3*) `+entry(4)+`sleep 100;; *) `+entry(1)+entry(2)+"echo gone >&2; exit 1;; esac\n")
	out := run(t, cfg, func(s *sink) bool { return len(s.texts("journal")) == 3 })
	if got := fmt.Sprint(out.texts("journal")); got != "[a: 1 a: 2 a: 3]" {
		t.Errorf("got %s", got)
	}
	if len(out.blind) != 1 || !strings.Contains(out.blind[0], "gone") {
		t.Errorf("blind spots %q", out.blind)
	}
	out = run(t, cfg, func(s *sink) bool { return len(s.texts("journal")) == 1 })
	if got := fmt.Sprint(out.texts("journal")); got != "[a: 4]" {
		t.Errorf("got %s", got)
	}
	said, _ := os.ReadFile(filepath.Join(cfg.Root, "arguments"))
	first, _, _ := bytes.Cut(said, []byte("\n"))
	for _, want := range []string{"--since=@", "--root=" + cfg.Root, "--unit=a.service", "--output=json"} {
		if !bytes.Contains(first, []byte(want)) {
			t.Errorf("journalctl %s: no %s", first, want)
		}
	}
}

// What the timeline has beyond the cursor is not emitted again.
func TestNothingTwiceAfterAKill(t *testing.T) {
	cfg := fake(t, entry(1)+entry(2)+entry(3)+"sleep 100\n")
	cfg.Recent = func(time.Time) iter.Seq[hoststate.Event] {
		return slices.Values([]hoststate.Event{{Data: []byte(`{"cursor":"c1"}`)}, {Data: []byte(`{"cursor":"c2"}`)}})
	}
	out := run(t, cfg, func(s *sink) bool { return len(s.texts("journal")) >= 1 })
	if got := fmt.Sprint(out.texts("journal")); got != "[a: 3]" {
		t.Errorf("got %s", got)
	}
}

func TestFloodIsCounted(t *testing.T) {
	cfg := fake(t, `i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo '{"__CURSOR":"c'$i'","__REALTIME_TIMESTAMP":"1795397401113034","MESSAGE":"x"}'; done; sleep 100`+"\n")
	out := run(t, cfg, func(s *sink) bool {
		n := len(s.texts("journal"))
		for _, text := range s.texts("log.gap") {
			var left int
			fmt.Sscan(text, &left)
			n += left
		}
		return n == 3000
	})
	if n := len(out.texts("journal")); n < burst || n > 2500 {
		t.Errorf("%d events", n)
	}
}

func TestUnavailable(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		cure string
	}{{Config{Binary: "no-journalctl"}, "image"}, {Config{Binary: "sh", Root: t.TempDir()}, "mount"}} {
		err := New(c.cfg).Run(t.Context(), &sink{})
		if u, ok := err.(*hoststate.Unavailable); !ok || !strings.Contains(u.Cure, c.cure) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}

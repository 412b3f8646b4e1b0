package hoststate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/ringside/ringside/rotate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// begin opens a timeline and runs it; the returned function stops it.
func begin(t *testing.T, cfg Config) (*Timeline, func()) {
	t.Helper()
	tl, err := Open(cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- tl.Run(ctx) }()
	return tl, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func texts(t *testing.T, r interface {
	Read(context.Context, Query, func(Event) error) error
}, q Query) (list []string) {
	t.Helper()
	if err := r.Read(t.Context(), q, func(e Event) error { list = append(list, e.Text); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestTimeline emits, restarts, and reads everything back in its order, with the time between as a gap.
func TestTimeline(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	tl, stop := begin(t, cfg)
	from := time.Now()
	const events = 5000
	for n := range events {
		tl.Emit(Event{Kind: "observation", Source: "test", Text: fmt.Sprint(n)})
	}
	got := texts(t, tl, Query{Kinds: []string{"observation"}})
	for n, text := range got {
		if text != fmt.Sprint(n) {
			t.Fatalf("event %d is %q", n, text)
		}
	}
	if len(got) != events {
		t.Fatalf("%d events, want %d", len(got), events)
	}
	stop()
	stopped := time.Now()
	time.Sleep(20 * time.Millisecond)
	tl, stop = begin(t, cfg)
	defer stop()
	again := time.Now()
	tl.Emit(Event{Kind: "link.change", Source: "test", Subject: "eth0", Text: "again"})
	var out bytes.Buffer
	to := time.Now()
	s, err := tl.Copy(t.Context(), Query{From: from, To: to}, &out)
	if err != nil {
		t.Fatal(err)
	}
	lines := uint64(strings.Count(out.String(), "\n"))
	if want := uint64(events + 3); s.Events != want || lines != want || s.Complete || len(s.Gaps) != 1 { // and stop, start, again
		t.Fatalf("%+v with %d lines, want %d and one gap", s, lines, want)
	}
	if g := s.Gaps[0]; g.From.Before(from) || g.From.After(stopped.Add(time.Millisecond)) || g.To.Sub(g.From) < 20*time.Millisecond || g.To.After(to) {
		t.Errorf("the gap is %v to %v, stopped at %v", g.From, g.To, stopped)
	}
	var last uint64
	if err := tl.Read(t.Context(), Query{}, func(e Event) error {
		if e.Seq != last+1 {
			return fmt.Errorf("event %d follows %d", e.Seq, last)
		}
		last = e.Seq
		return nil
	}); err != nil {
		t.Error(err)
	}
	if got := texts(t, tl, Query{Kinds: []string{"link.*"}, Subject: "eth*", Sources: []string{"test"}}); !slices.Equal(got, []string{"again"}) {
		t.Errorf("by kind, subject and source: %q", got)
	}
	s, err = tl.Copy(t.Context(), Query{From: again, To: time.Now()}, &out)
	if err != nil || !s.Complete {
		t.Errorf("%+v, %v: want it complete while the recorder runs", s, err)
	}
}

// TestTornTail cuts a timeline at every byte of its last two lines: what was whole stays, once, and the next start goes on.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	l, err := create(dir, 1, time.Unix(999, 0), false)
	if err != nil {
		t.Fatal(err)
	}
	head := l.size
	var b batch
	for n := range uint64(3) {
		e := Event{Seq: n + 1, Time: time.Unix(1000+int64(n), 0).UTC(), Kind: "observation", Text: fmt.Sprint("event ", n)}
		line, _ := json.Marshal(e)
		b.add(&e, line)
	}
	if err := l.append(b); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.f.Close()
	for size := int64(0); size <= l.size; size++ {
		again := filepath.Join(t.TempDir(), filepath.Base(l.path))
		if err := os.WriteFile(again, whole[:size], 0o640); err != nil {
			t.Fatal(err)
		}
		want := 0
		if size > head {
			want = bytes.Count(whole[head:size], []byte("\n"))
		}
		r := OpenReader(filepath.Dir(again))
		if got := texts(t, r, Query{}); len(got) != want {
			t.Fatalf("%d of %d bytes: read %q before recovery, want %d events", size, l.size, got, want)
		}
		tl, err := Open(Config{Dir: filepath.Dir(again)}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		if got := texts(t, r, Query{}); len(got) != want || tl.seq != uint64(want)+1 { // with timeline.start, not yet written
			t.Fatalf("%d of %d bytes: read %q after recovery, last sequence number %d, want %d events", size, l.size, got, tl.seq, want)
		}
	}
}

// TestRetention keeps to bytes and age, and removes nothing that a pin needs.
func TestRetention(t *testing.T) {
	var pins []rotate.Pin
	tl, err := Open(Config{Dir: t.TempDir(), Keep: Keep{Bytes: 10_000, Age: time.Hour}, Pins: func() []rotate.Pin { return pins }}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	tl.write() // its start
	tl.seal()
	start := time.Now()
	for n := range 8 { // files of about 4 KB
		tl.Emit(Event{Kind: "observation", Time: start.Add(time.Duration(n-8) * time.Minute), Text: fmt.Sprint(n), Raw: strings.Repeat("x", 4000)})
		tl.write()
		tl.seal()
		f := &tl.files[n+1]
		f.begun, f.ended = f.from, f.to
	}
	at := start.Add(-7 * time.Minute)
	pins = []rotate.Pin{{From: at, To: at.Add(time.Second)}}
	tl.retain(time.Now())
	r := OpenReader(tl.Dir())
	if got := texts(t, r, Query{Kinds: []string{"observation"}}); !slices.Equal(got, []string{"1", "6", "7"}) {
		t.Errorf("kept %q: want what is pinned and the newest 10 KB", got)
	}
	pins = nil
	tl.retain(time.Now().Add(2 * time.Hour))
	if got := texts(t, r, Query{}); len(got) != 0 {
		t.Errorf("kept %q for two hours, want nothing", got)
	}
}

// TestOverflow emits faster than anything is written: what is lost is counted, dated, and a gap of every copy.
func TestOverflow(t *testing.T) {
	tl, err := Open(Config{Dir: t.TempDir()}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	from := time.Now()
	raw := strings.Repeat("x", MaxRaw)
	sent := uint64(0)
	for ; tl.Stats().Lost < 10; sent++ {
		tl.Emit(Event{Kind: "observation", Raw: raw})
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- tl.Run(ctx) }()
	tl.Await(ctx)
	s, err := tl.Copy(ctx, Query{From: from, To: time.Now().Add(time.Second)}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if want := sent - 10 + 1; s.Events != want && s.Events != want-1 { // the gap itself may still wait for its turn
		t.Errorf("%d events kept, want %d", s.Events, want)
	}
	tl.Await(ctx)
	s, err = tl.Copy(ctx, Query{From: from, To: time.Now()}, &bytes.Buffer{})
	if err != nil || s.Complete || !strings.HasPrefix(s.Gaps[0].Why, "10 events were not kept") {
		t.Errorf("%+v, %v: want a gap of 10 events", s, err)
	}
	cancel()
	<-done
}

// TestFullDisk keeps what cannot be written and writes it when that is possible again, once.
func TestFullDisk(t *testing.T) {
	tl, err := Open(Config{Dir: t.TempDir()}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	tl.turn()
	f := tl.live.f
	if tl.live.f, err = os.Open(f.Name()); err != nil { // not writable
		t.Fatal(err)
	}
	for n := range 10 {
		tl.Emit(Event{Kind: "observation", Text: fmt.Sprint(n)})
		tl.turn()
	}
	if tl.Stats().Error == "" {
		t.Error("no error is stated")
	}
	_ = tl.live.f.Close()
	tl.live.f = f
	tl.turn()
	if got := texts(t, OpenReader(tl.Dir()), Query{Kinds: []string{"observation"}}); len(got) != 10 || tl.Stats().Error != "" {
		t.Errorf("%q, error %q: want each of ten once", got, tl.Stats().Error)
	}
	tl.seal()
}

// TestFollow sees what was there and what comes, over a seal and a restart.
func TestFollow(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	tl, stop := begin(t, cfg)
	tl.Emit(Event{Kind: "observation", Text: "0"})
	tl.Await(t.Context())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got []string
	seen := make(chan string)
	done := make(chan error)
	go func() {
		done <- OpenReader(cfg.Dir).Follow(ctx, Query{Kinds: []string{"observation"}}, func(e Event) error { seen <- e.Text; return nil })
	}()
	got = append(got, <-seen)
	tl.Emit(Event{Kind: "observation", Text: "1"})
	got = append(got, <-seen)
	stop()
	tl, stop = begin(t, cfg)
	defer stop()
	tl.Emit(Event{Kind: "observation", Text: "2"})
	got = append(got, <-seen)
	cancel()
	if err := <-done; err != nil || !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestSeen selects by when events reached the timeline: a line of a log may tell of long ago.
func TestSeen(t *testing.T) {
	tl, stop := begin(t, Config{Dir: t.TempDir()})
	defer stop()
	tl.Emit(Event{Kind: "log", Text: "early", Time: time.Now().Add(-time.Hour)})
	time.Sleep(10 * time.Millisecond)
	since := time.Now()
	tl.Emit(Event{Kind: "log", Text: "late", Time: time.Now().Add(-2 * time.Hour)})
	if got := texts(t, tl, Query{Kinds: []string{"log"}, SeenFrom: since}); !slices.Equal(got, []string{"late"}) {
		t.Errorf("%q", got)
	}
}

func TestBoundsOfAnEvent(t *testing.T) {
	now := time.Now()
	e := Event{Raw: strings.Repeat("é", MaxRaw), Data: json.RawMessage(strings.Repeat(" ", MaxData+1)), Text: "big"}
	e.complete(now)
	if len(e.Raw) > MaxRaw || !strings.HasSuffix(e.Raw, "é...") || e.Data != nil || !strings.Contains(e.Text, "left out") {
		t.Errorf("raw of %d bytes, data of %d, text %q", len(e.Raw), len(e.Data), e.Text)
	}
}

// FuzzReader reads files of anything, and starts on them.
func FuzzReader(f *testing.F) {
	f.Add([]byte(`{"kind":"timeline.file","time":"2026-11-22T19:00:00Z"}` + "\n" + `{"seq":1,"time":"2026-11-22T19:00:01Z","kind":"observation","text":"x"}` + "\n"))
	f.Add([]byte(`{"kind":"timeline.sealed","time":"2026-11-22T19:00:00Z","from":"2026-11-22T19:00:01Z","last_seq":18446744073709551615}` + "\n"))
	f.Add([]byte("\n\n{}\n[]\nnull\n"))
	f.Add([]byte(`{"seq":1}` + "\n")) // an event without a time
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "00000001-20261122T190001.123456Z.jsonl"), content, 0o640); err != nil {
			t.Fatal(err)
		}
		before := texts(t, OpenReader(dir), Query{})
		if _, err := Open(Config{Dir: dir}, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
		if after := texts(t, OpenReader(dir), Query{}); !slices.Equal(after, before) {
			t.Fatalf("before the start %q, after it %q", before, after)
		}
	})
}

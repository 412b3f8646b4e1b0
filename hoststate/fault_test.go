package hoststate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/rotate"
)

// TestLineThatIsTooLong: what is left out between two events costs neither of them, whoever reads.
func TestLineThatIsTooLong(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "00000001-20261122T190001.123456Z.jsonl")
	content := `{"kind":"timeline.file","time":"2026-11-22T19:00:00Z"}` + "\n" +
		`{"seq":1,"time":"2026-11-22T19:00:01Z","kind":"observation","text":"1"}` + "\n" +
		strings.Repeat("x", maxLine+1) + "\n" +
		`{"seq":2,"time":"2026-11-22T19:00:02Z","kind":"observation","text":"2"}` + "\n"
	if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got []string
	err := OpenReader(dir).Follow(ctx, Query{}, func(e Event) error {
		if got = append(got, e.Text); e.Text == "2" { // in the next turn
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString(`{"seq":3,"time":"2026-11-22T19:00:03Z","kind":"observation","text":"3"}` + "\n")
			return errors.Join(err, f.Close())
		}
		if e.Text == "3" {
			time.AfterFunc(2*poll, cancel)
		}
		return nil
	})
	if err != nil || !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("followed %q, %v", got, err)
	}
	if _, err := Open(Config{Dir: dir}, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	if got := texts(t, OpenReader(dir), Query{}); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("after a start: %q", got)
	}
}

// TestEventsOutOfBounds: whatever is emitted can be read.
func TestEventsOutOfBounds(t *testing.T) {
	tl, stop := begin(t, Config{Dir: t.TempDir()})
	defer stop()
	for _, e := range []Event{
		{Text: "grows as JSON", Data: json.RawMessage(`"` + strings.Repeat("<", MaxData-2) + `"`)},
		{Text: strings.Repeat("x", maxLine)},
		{Text: "long state", Before: strings.Repeat("é", maxLine), After: "y"},
		{Text: "no such year", Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Text: "before nanoseconds", Time: time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)},
	} {
		e.Kind = "observation"
		tl.Emit(e)
	}
	got := texts(t, tl, Query{Kinds: []string{"observation"}, From: time.Now().Add(-time.Hour)})
	if len(got) != 5 {
		for i, text := range got {
			got[i] = text[:min(len(text), 30)]
		}
		t.Errorf("%d events of 5: %q", len(got), got)
	}
}

// TestUnreadableFileStays: a file that cannot be opened at the start is no empty one, and keeps nobody from recording.
func TestUnreadableFileStays(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "00000001-20261122T190001.123456Z.jsonl")
	if err := os.Symlink(path, path); err != nil {
		t.Fatal(err)
	}
	tl, err := Open(Config{Dir: dir}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	tl.turn()
	if _, err := os.Lstat(path); err != nil || tl.live.number != 2 {
		t.Errorf("%v, it goes on with file %d", err, tl.live.number)
	}
	tl.seal()
}

// TestUncovered has timelines out of whose middle files were removed, and whose clock was set.
func TestUncovered(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 11, 22, 19, minute, 0, 0, time.UTC) }
	f := func(number uint64, from, to int, continues bool) file {
		return file{number: number, begun: at(from), ended: at(to), continues: continues}
	}
	for _, test := range []struct {
		name     string
		files    []file
		from, to int
		want     string
	}{
		{"one after the other", []file{f(1, 0, 10, false), f(2, 11, 20, true)}, 5, 15, ""},
		{"a restart", []file{f(1, 0, 10, false), f(2, 11, 20, false)}, 5, 15, "10-11"},
		{"one was removed", []file{f(1, 0, 10, false), f(3, 20, 30, true)}, 5, 25, "10-20"},
		{"set back", []file{f(1, 30, 40, false), f(2, 20, 35, true)}, 21, 39, ""},
		{"set back, then a restart", []file{f(1, 30, 40, false), f(2, 20, 25, true), f(3, 27, 28, false)}, 21, 39, "25-27 28-30"},
		{"set forward", []file{f(1, 0, 10, false), f(2, 30, 35, true)}, 5, 35, ""},
		{"a damaged head", []file{{number: 1, from: at(10), to: at(20), ended: at(20)}}, 5, 15, "5-10"},
		{"nothing", nil, 1, 2, "1-2"},
	} {
		var got []string
		for _, g := range uncovered(test.files, at(test.from), at(test.to), false) {
			got = append(got, fmt.Sprintf("%d-%d", g.From.Minute(), g.To.Minute()))
		}
		if got := strings.Join(got, " "); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// TestGapThatReachesIntoTheWindow began before it.
func TestGapThatReachesIntoTheWindow(t *testing.T) {
	tl, stop := begin(t, Config{Dir: t.TempDir()})
	defer stop()
	tl.Emit(Event{Kind: "observation"})
	first := time.Now()
	time.Sleep(time.Millisecond)
	from := time.Now()
	time.Sleep(time.Millisecond)
	tl.mu.Lock()
	tl.lost = lost{n: 3, first: first, last: time.Now()}
	tl.mu.Unlock()
	s, err := tl.Copy(t.Context(), Query{From: from, To: time.Now()}, &bytes.Buffer{})
	if err != nil || s.Complete || len(s.Gaps) != 1 || !strings.HasPrefix(s.Gaps[0].Why, "3 events") || s.Events != 0 {
		t.Errorf("%+v, %v: want the gap of three events", s, err)
	}
}

// TestCopyWhileTheDiskIsFull is not complete, and the next start does not believe it was.
func TestCopyWhileTheDiskIsFull(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	tl, err := Open(cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	tl.turn()
	f := tl.live.f
	if tl.live.f, err = os.Open(f.Name()); err != nil { // not writable
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond)
	from := time.Now()
	time.Sleep(time.Millisecond)
	tl.Emit(Event{Kind: "observation"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- tl.Run(ctx) }()
	s, err := tl.Copy(ctx, Query{From: from, To: time.Now()}, &bytes.Buffer{})
	if err != nil || s.Complete || len(s.Gaps) != 1 {
		t.Errorf("%+v, %v: want a gap of what waits for the disk", s, err)
	}
	cancel()
	<-done
	_ = f.Close()
}

// TestSealWhileTheDiskIsFull: there may be room for the last line, and for the events none. They are not covered then.
func TestSealWhileTheDiskIsFull(t *testing.T) {
	tl, err := Open(Config{Dir: t.TempDir()}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	tl.turn()
	f := tl.live.f
	if tl.live.f, err = os.Open(f.Name()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond)
	full := time.Now()
	tl.Emit(Event{Kind: "observation"})
	tl.turn()
	_ = tl.live.f.Close()
	tl.live.f = f
	tl.seal()
	if ended := tl.files[0].ended; ended.After(full) {
		t.Errorf("covered until %v, full since %v", ended, full)
	}
}

// TestPendingIsBounded emits while writes fail again and again.
func TestPendingIsBounded(t *testing.T) {
	tl, err := Open(Config{Dir: t.TempDir()}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	tl.turn()
	f := tl.live.f
	if tl.live.f, err = os.Open(f.Name()); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	emitted := make(chan struct{})
	go func() {
		defer close(emitted)
		raw := strings.Repeat("x", MaxRaw)
		for ctx.Err() == nil {
			tl.Emit(Event{Kind: "observation", Raw: raw})
		}
	}()
	for deadline := time.Now().Add(30 * time.Second); tl.Stats().Lost == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	for range 3000 {
		tl.write()
	}
	cancel()
	<-emitted
	if n := len(tl.pending.lines); n > maxPending+2*MaxRaw {
		t.Errorf("%d bytes wait for the disk, want about %d", n, maxPending)
	}
}

// TestRetentionAfterAStep believes in no age that the clock has only just come to.
func TestRetentionAfterAStep(t *testing.T) {
	tl, err := Open(Config{Dir: t.TempDir(), Pins: func() []rotate.Pin { return nil }}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	tl.write()
	tl.seal()
	tl.files[0].ended = tl.files[0].ended.Add(-6 * 365 * 24 * time.Hour) // the clock had no battery
	tl.retain(time.Now())
	if len(tl.files) != 1 {
		t.Error("what was seen a moment ago is removed")
	}
}

// TestCopyWhileFilesAreRemoved: retention is faster than the reader, which says so.
func TestCopyWhileFilesAreRemoved(t *testing.T) {
	tl, err := Open(Config{Dir: t.TempDir()}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	from := time.Now()
	for range 3 {
		tl.Emit(Event{Kind: "observation"})
		tl.write()
		tl.seal()
	}
	out := writer(func(b []byte) (int, error) { return len(b), os.RemoveAll(tl.files[1].path) })
	s, err := OpenReader(tl.Dir()).Copy(t.Context(), Query{From: from, To: tl.files[2].ended}, out, false)
	if err != nil || s.Events != 2 || s.Complete || len(s.Gaps) != 1 {
		t.Errorf("%+v, %v: want two events and a gap", s, err)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

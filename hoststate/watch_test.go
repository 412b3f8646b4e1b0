package hoststate

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// script is a watcher that does something else each time it is started.
type script struct {
	name string
	runs []func(ctx context.Context, out Sink) error
	n    int
}

func (s *script) Name() string { return s.name }

func (s *script) Run(ctx context.Context, out Sink) error {
	run := s.runs[min(s.n, len(s.runs)-1)]
	s.n++
	return run(ctx, out)
}

func forever(ctx context.Context, out Sink) error {
	<-ctx.Done()
	return nil
}

// TestWatch has one watcher that cannot run for a while, one that panics and fails, and one that is not disturbed by either.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		missing := func(context.Context, Sink) error { return &Unavailable{"no socket", "mount it"} }
		panics := func(context.Context, Sink) error { panic("out of range") }
		fails := func(ctx context.Context, out Sink) error {
			out.Blind("half of it")
			time.Sleep(2 * time.Second)
			return errors.New("no such luck")
		}
		watchers := []Watcher{
			&script{name: "late", runs: []func(context.Context, Sink) error{missing, missing, forever}},
			&script{name: "shaky", runs: []func(context.Context, Sink) error{panics, fails, panics, forever}},
			&script{name: "steady", runs: []func(context.Context, Sink) error{func(ctx context.Context, out Sink) error {
				out.Emit(Event{Kind: "observation"})
				out.Blind("a corner")
				return forever(ctx, out)
			}}},
		}
		var mu sync.Mutex
		var got []string
		w := NewWatch(watchers, func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, e.Kind+" "+e.Subject)
		}, zap.NewNop())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		time.Sleep(10 * time.Second)
		s := w.Status()
		if s[0].State != StateOff || s[0].Why != "no socket: mount it" {
			t.Errorf("%+v", s[0])
		}
		if s[2].State != StateOn || s[2].Events != 1 || !slices.Equal(s[2].Blind, []string{"a corner"}) {
			t.Errorf("%+v", s[2])
		}
		time.Sleep(3 * time.Minute)
		s = w.Status()
		if s[0].State != StateOn || s[0].Restarts != 0 || s[1].State != StateOn || s[1].Restarts != 2 || s[1].Blind != nil {
			t.Errorf("%+v", s)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		mu.Lock() // what told that a watcher runs may be of no goroutine of Run's
		defer mu.Unlock()
		count := map[string]int{}
		for _, e := range got {
			count[e]++
		}
		// Told once while it stays off; a failure is told each time.
		for what, want := range map[string]int{"watcher.off late": 1, "watcher.on late": 1, "watcher.fail shaky": 3, "watcher.on shaky": 2, "watcher.on steady": 1, "observation ": 1} {
			if count[what] != want {
				t.Errorf("%d times %q, want %d: %q", count[what], what, want, got)
			}
		}
	})
}

// TestWatcherThatIsOver does not count as running when it has something to say still.
func TestWatcherThatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late Sink
		s := &script{name: "late", runs: []func(context.Context, Sink) error{func(_ context.Context, out Sink) error {
			late = out
			return &Unavailable{"no socket", "mount it"}
		}}}
		w := NewWatch([]Watcher{s}, func(Event) {}, zap.NewNop())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		synctest.Wait()
		late.Emit(Event{Kind: "observation"})
		if got := w.Status()[0]; got.State != StateOff || got.Events != 1 {
			t.Errorf("%+v", got)
		}
		cancel()
		<-done
	})
}

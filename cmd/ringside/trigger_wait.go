package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/trigger"
)

const (
	firstPause = 100 * time.Millisecond // between two questions, once the window has ended
	mostPause  = 10 * time.Second
)

// waiter waits until an incident is stored.
type waiter struct {
	client *client
	id     string
	window time.Time // its end, as far as is known
	status *status
}

// run returns the incident once it is stored. A daemon that does not answer is asked again: what it has promised survives
// it.
func (w *waiter) run(ctx context.Context) (*api.Incident, error) {
	defer w.status.end()
	if err := w.windowEnds(ctx); err != nil {
		return nil, err
	}
	for pause := firstPause; ; pause = min(pause*3/2, mostPause) {
		i, err := w.look(ctx)
		if i != nil || err != nil {
			return i, err
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// windowEnds waits for what nothing can be stored before.
func (w *waiter) windowEnds(ctx context.Context) error {
	for {
		left := time.Until(w.window)
		if left <= 0 {
			return nil
		}
		if w.status.terminal {
			w.status.show("the window ends in %v", left.Round(time.Second))
		}
		if err := sleep(ctx, min(left, time.Second)); err != nil {
			return err
		}
	}
}

// look asks once, and returns the incident if it is stored.
func (w *waiter) look(ctx context.Context) (*api.Incident, error) {
	var i api.Incident
	err := w.client.get(ctx, "/v1/incidents/"+w.id+"?local", &i)
	var refused *problem
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusNotFound:
		return nil, fmt.Errorf("incident %s: %w", w.id, errLostSight)
	case errors.As(err, &refused) && refused.Status < 500 && refused.Status != http.StatusTooManyRequests:
		return nil, fmt.Errorf("incident %s is kept, but cannot be looked at: %w", w.id, err)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		w.status.show("%v; still waiting", err)
		return nil, nil
	case i.Local == nil:
		return nil, fmt.Errorf("incident %s: %w", w.id, errLostSight)
	case i.Local.State == trigger.StateStored && i.Local.Stored != nil:
		return &i, nil
	}
	w.progress(i.Local)
	return nil, nil
}

func (w *waiter) progress(i *trigger.Incident) {
	switch left := time.Until(i.To); {
	case i.State == trigger.StateOpen && left > time.Second:
		w.status.show("another trigger has extended the window: it ends at %s", stamp(i.To))
	case i.Error != "":
		w.status.show("not stored yet, %d attempts, the next at %s: %s", i.Attempts, stamp(i.Retry), printable(i.Error))
	default:
		w.status.show("storing it")
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// status is one line that changes on a terminal, and one line for every change elsewhere.
type status struct {
	out      io.Writer
	terminal bool
	last     string
}

func newStatus(out io.Writer) *status {
	f, ok := out.(*os.File)
	return &status{out: out, terminal: ok && isTerminal(f)}
}

func (s *status) show(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if text == s.last {
		return
	}
	s.last = text
	if s.terminal {
		fmt.Fprintf(s.out, "\r\x1b[K%s", text)
		return
	}
	fmt.Fprintln(s.out, text)
}

// end makes room for what comes next.
func (s *status) end() {
	if s.terminal && s.last != "" {
		fmt.Fprint(s.out, "\r\x1b[K")
	}
}

package trigger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/failpoint"
)

// Accept takes a request. When it returns without an error, the trigger survives whatever happens next. The error is a
// *Refusal. A request with the id of an accepted trigger is answered as that was.
func (e *Engine) Accept(ctx context.Context, r Request) (Receipt, error) {
	if receipt, ok := e.repeated(r.ID); ok {
		return receipt, nil
	}
	receipt, refusal := e.accept(r)
	switch {
	case refusal == nil:
		return receipt, nil
	case refusal.Kind == RefusedInvalid: // its reason may be anything
		r.Reason = ""
	}
	e.refuse(r.Source, r.Reason, refusal.Kind)
	return Receipt{}, refusal
}

func (e *Engine) accept(r Request) (Receipt, *Refusal) {
	if !e.limiter.Allow() {
		return Receipt{}, &Refusal{429, RefusedRate, fmt.Sprintf("more than %v triggers a second: send fewer, or raise trigger.rate", e.config().Rate), time.Second}
	}
	now := time.Now()
	if err := r.Check(now); err != nil {
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			refusal = invalid("%v", err)
		}
		return Receipt{}, refusal
	}
	defer e.waiting.Add(-1)
	if e.waiting.Add(1) > maxWaiting {
		return Receipt{}, &Refusal{503, RefusedFailed, fmt.Sprintf("%d triggers wait for the disk of the spool already: see why it is so slow", maxWaiting), time.Second}
	}
	e.changing.Lock()
	defer e.changing.Unlock()
	if receipt, ok := e.repeated(r.ID); ok {
		return receipt, nil
	}
	cfg := e.config()
	if r.Cooldown != nil {
		cfg.Cooldown = *r.Cooldown
	}
	t, from, to := cfg.window(r, now)
	if refusal := e.inReach(cfg, from, to, now); refusal != nil {
		return Receipt{}, refusal
	}
	if t.ID == "" {
		t.ID = e.newID(now)
	}
	next, old, refusal := e.place(cfg, t, from, to, now)
	if refusal != nil {
		return Receipt{}, refusal
	}
	if refusal := e.promise(next, old); refusal != nil {
		return Receipt{}, refusal
	}
	e.accepted(next, t, now)
	return Receipt{ID: t.ID, Incident: next.ID, Merged: next.ID != t.ID, From: next.From, To: next.To}, nil
}

// repeated answers a request whose id is known.
func (e *Engine) repeated(id string) (Receipt, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := e.all[e.byID[id]]
	if id == "" || i == nil {
		return Receipt{}, false
	}
	return Receipt{ID: id, Incident: i.ID, Merged: i.ID != id, Known: true, From: i.From, To: i.To}, true
}

// newID returns an id that sorts behind all others of this engine. The caller holds changing.
func (e *Engine) newID(now time.Time) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !now.After(e.counts.newest) && e.counts.newest.Sub(now) < time.Hour { // two in a microsecond, or a clock set back a little
		now = e.counts.newest.Add(time.Microsecond)
	}
	e.counts.newest = now
	return NewID(now)
}

// flushed is how old a packet is at most when it is on the disk.
const flushed = 2 * time.Second

// inReach refuses windows that are too long, or of which the spool has nothing and never will.
func (e *Engine) inReach(cfg Config, from, to time.Time, now time.Time) *Refusal {
	if w := to.Sub(from); w > cfg.MaxWindow {
		return invalid("the window of %v is longer than the %v that one may have: ask for less before and after, or raise trigger.max_window", w, cfg.MaxWindow)
	} else if w <= 0 {
		return invalid("the window has no length: give pre or post")
	}
	st := e.spool.Stats()
	switch {
	case to.After(now.Add(-flushed)):
		return nil
	case st.Oldest.IsZero():
		return invalid("the window ends at %s, and nothing is recorded yet", to.Format(time.RFC3339))
	case !to.After(st.Oldest):
		return invalid("the window ends at %s, and the spool reaches back to %s: ask for a later time, or raise rotate.keep",
			to.Format(time.RFC3339), st.Oldest.Format(time.RFC3339))
	}
	return nil
}

// place finds the incident for a trigger: an open one that its window overlaps and that may become as long, or a new
// one, if the budgets allow it. old is the incident as it was, nil for a new one.
func (e *Engine) place(cfg Config, t Trigger, from, to, now time.Time) (next, old *Incident, refusal *Refusal) {
	if old = e.mergeable(cfg, from, to); old != nil {
		if len(old.Triggers) >= maxTriggers {
			return nil, nil, &Refusal{429, RefusedCrowded, fmt.Sprintf("incident %s has %d triggers already: its window holds this moment too", old.ID, maxTriggers), time.Until(old.To)}
		}
		if labelBytes(old.Triggers...)+labelBytes(t) > maxLabelBytes {
			return nil, nil, &Refusal{429, RefusedCrowded, fmt.Sprintf("the labels of incident %s have %d KiB, which is all they may have: send fewer", old.ID, maxLabelBytes>>10), time.Until(old.To)}
		}
		i := *old
		i.Triggers = append(slices.Clone(old.Triggers), t)
		if from.Before(i.From) || to.After(i.To) {
			i.From, i.To = earlier(i.From, from), later(i.To, to)
			i.Extensions = append(slices.Clone(i.Extensions), Extension{t.ID, i.From, i.To, "another trigger: " + t.Reason})
			cost := e.cost(i.From, i.To, now)
			if refusal := e.affordPinned(cfg, cost); refusal != nil {
				return nil, nil, refusal
			}
			i.Pinned += max(0, cost-e.cost(old.From, old.To, now)) // what is to come of the old window is counted already
		}
		return &i, old, nil
	}
	i := Incident{ID: t.ID, State: StateOpen, From: from, To: to, Triggers: []Trigger{t}, Pinned: e.cost(from, to, now)}
	if refusal := e.affordable(cfg, &i, now); refusal != nil {
		return nil, nil, refusal
	}
	return &i, nil, nil
}

func labelBytes(triggers ...Trigger) (sum int) {
	for _, t := range triggers {
		for k, v := range t.Labels {
			sum += len(k) + len(v)
		}
	}
	return sum
}

// mergeable returns the open incident that [from, to) overlaps or touches, if both together are not too long.
func (e *Engine) mergeable(cfg Config, from, to time.Time) *Incident {
	e.mu.Lock()
	defer e.mu.Unlock()
	var found *Incident
	for id := range e.due {
		i := e.all[id]
		if e.closed[id] || from.After(i.To) || to.Before(i.From) || later(i.To, to).Sub(earlier(i.From, from)) > cfg.MaxWindow {
			continue
		}
		if found == nil || i.ID > found.ID {
			found = i
		}
	}
	return found
}

// promise makes an incident survive: first the journal, then the pin. If either fails, all is as it was before.
func (e *Engine) promise(next, old *Incident) *Refusal {
	err := e.journal.write(next)
	if err == nil {
		failpoint.Stage("journalled")
		if old == nil || !old.From.Equal(next.From) || !old.To.Equal(next.To) {
			_, err = e.spool.Pin(next.ID, next.From, next.To)
		}
	}
	if err == nil {
		failpoint.Stage("pinned")
		return nil
	}
	e.takeBack(next, old)
	e.log.Error("a trigger could not be kept and was refused", zap.String("reason", next.Triggers[len(next.Triggers)-1].Reason), zap.Error(err))
	status := 503
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		status = 507
	}
	return &Refusal{status, RefusedFailed, fmt.Sprintf("the trigger could not be kept: %v: check the disk of the spool", err), 10 * time.Second}
}

// takeBack undoes what promise had done. What cannot be undone now is stored as an incident that nobody was promised.
func (e *Engine) takeBack(next, old *Incident) {
	var err error
	if old != nil {
		err = e.journal.write(old) // the pin may stay wider
	} else {
		err = e.journal.remove(next.ID, StateOpen)
		if pins := e.spool.Pins(); slices.ContainsFunc(pins, named(next.ID)) {
			err = errors.Join(err, e.spool.Unpin(next.ID))
		}
	}
	if err != nil {
		e.log.Warn("what was begun for a refused trigger could not be undone", zap.String("incident", next.ID), zap.Error(err))
	}
}

// accepted makes an incident with its new trigger what everybody sees.
func (e *Engine) accepted(next *Incident, t Trigger, now time.Time) {
	e.mu.Lock()
	e.all[next.ID] = next
	e.byID[t.ID] = next.ID
	e.last[t.Reason] = now
	e.due[next.ID] = now.Add(max(0, next.To.Sub(now)))
	e.counts.accept(t.Source)
	told := e.cfg.Accepted
	e.mu.Unlock()
	wakeUp(e.wake)
	if told != nil {
		told(t, *next)
	}
	e.log.Info("a trigger was accepted", zap.String("id", t.ID), zap.String("incident", next.ID), zap.String("reason", t.Reason),
		zap.String("source", t.Source), zap.String("client", t.Client), zap.Time("from", next.From), zap.Time("to", next.To))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

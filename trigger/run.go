package trigger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/failpoint"
	"github.com/ringside/ringside/rotate"
)

// Run waits out the windows until ctx is done. What is open then goes on at the next start.
func (e *Engine) Run(ctx context.Context) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	defer e.ledger.save()
	closed := map[string]time.Time{} // of open incidents, the end that Closing was told of
	for {
		id, wait := e.next(time.Now())
		if id != "" && wait <= 0 {
			e.complete(ctx, id, closed)
			if ctx.Err() != nil {
				return nil
			}
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-e.wake:
		case <-tick.C:
			e.measure(time.Now())
			e.forget(time.Now())
			e.ledger.save()
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}

// next returns the open incident that is due next, and in how long.
func (e *Engine) next(now time.Time) (id string, wait time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	wait = time.Hour
	for candidate, due := range e.due {
		if w := due.Sub(now); id == "" || w < wait {
			id, wait = candidate, w
		}
	}
	if id != "" && wait > 0 {
		failpoint.Stage("post-roll")
	}
	return id, wait
}

// complete ends the window of an incident: its packets are on the disk, and the recorder is described as it is now.
func (e *Engine) complete(ctx context.Context, id string, closed map[string]time.Time) {
	before := e.get(id)
	e.spool.Await(ctx, before.To)
	if closing := e.config().Closing; closing != nil && ctx.Err() == nil && !closed[id].Equal(before.To) { // a retry is no other end
		closing(ctx, *before)
		closed[id] = before.To
	}
	if ctx.Err() != nil {
		return
	}
	description := e.describe()
	e.changing.Lock()
	defer e.changing.Unlock()
	i := *e.get(id)
	if e.dueLater(id) || !i.To.Equal(before.To) { // a trigger joined meanwhile, perhaps one whose time is over as well
		return
	}
	if err := e.pinAgain(&i); err != nil {
		e.log.Error("an incident is not pinned; trying again", zap.String("incident", id), zap.Error(err),
			zap.String("cure", "free space on the spool's disk"))
		e.postpone(id, retryPin, false)
		return
	}
	e.followClock(&i, e.clockStep(id, time.Now()))
	for _, p := range e.spool.Pins() {
		if p.Name == id {
			i.Pinned = p.Bytes
		}
	}
	i.State, i.Recorder = StateReady, description
	failpoint.Stage("sealing")
	if err := e.journal.move(&i, StateOpen); err != nil {
		e.log.Error("the journal cannot be written; trying again", zap.String("incident", id), zap.Error(err),
			zap.String("cure", "free space on the spool's disk"))
		e.postpone(id, time.Second, true)
		return
	}
	delete(closed, id)
	e.put(&i)
	wakeUp(e.changed)
	e.log.Info("an incident is complete and waits to be stored", zap.String("incident", id), zap.Time("from", i.From),
		zap.Time("to", i.To), zap.Int("triggers", len(i.Triggers)), zap.Int64("pinned_bytes", i.Pinned))
}

// pinAgain makes good what resume could not do, such as on a full disk.
func (e *Engine) pinAgain(i *Incident) error {
	held := func(p rotate.Pin) bool { return p.Name == i.ID && !p.From.After(i.From) && !p.To.Before(i.To) }
	if slices.ContainsFunc(e.spool.Pins(), held) {
		return nil
	}
	_, err := e.spool.Pin(i.ID, i.From, i.To)
	return err
}

// clockStep is by how much the wall clock was set since the last trigger of an open incident, or since Open: due bears
// both clocks as they were then.
func (e *Engine) clockStep(id string, now time.Time) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	due := e.due[id]
	return now.Round(0).Sub(due.Round(0)) - now.Sub(due)
}

// followClock widens the window when the wall clock was set by step while it was open: the packets that came after that
// bear the other time. It does not follow a step longer than a window may be.
func (e *Engine) followClock(i *Incident, step time.Duration) {
	const slack = 3 * time.Second
	if step.Abs() <= slack || step.Abs() > e.config().MaxWindow {
		return
	}
	from, to := earlier(i.From, i.From.Add(step)), later(i.To, i.To.Add(step))
	if _, err := e.spool.Pin(i.ID, from, to); err != nil {
		e.log.Warn("the clock was set, and what came after it could not be pinned", zap.String("incident", i.ID), zap.Error(err))
		return
	}
	i.From, i.To = from.UTC(), to.UTC()
	i.Extensions = append(i.Extensions, Extension{From: i.From, To: i.To, Why: fmt.Sprintf("the clock was set by about %v while the window was open", step)})
}

func (e *Engine) dueLater(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Until(e.due[id]) > 0
}

// postpone tries again to complete an incident. Nothing joins it any more if the journal may have it as ready: that is
// what a crash would leave of it.
func (e *Engine) postpone(id string, by time.Duration, closed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	due := e.due[id]
	e.due[id] = due.Add(time.Since(due) + by) // not from now: see clockStep
	e.closed[id] = e.closed[id] || closed
}

// measure learns how fast the spool grows, to tell what a window's future costs.
func (e *Engine) measure(now time.Time) {
	written := e.spool.Stats().WrittenBytes
	e.mu.Lock()
	defer e.mu.Unlock()
	if d := now.Sub(e.sample.at).Seconds(); !e.sample.at.IsZero() && d > 0 {
		e.flow += 0.3 * (float64(written-e.sample.bytes)/d - e.flow)
	}
	e.sample = sample{now, written}
}

// forget removes the records of what was stored long ago, or, for the clock was set back, will be.
func (e *Engine) forget(now time.Time) {
	e.changing.Lock()
	defer e.changing.Unlock()
	e.mu.Lock()
	var old []*Incident
	for _, i := range e.all {
		if i.State == StateStored && now.Sub(i.repeatable()).Abs() > keepStored {
			old = append(old, i)
		}
	}
	for reason, at := range e.last {
		if now.Sub(at).Abs() > e.cfg.longestCooldown() {
			delete(e.last, reason)
		}
	}
	e.mu.Unlock()
	for _, i := range old {
		if err := e.journal.remove(i.ID, StateStored); err != nil {
			e.log.Warn("an old entry of the journal cannot be removed", zap.String("incident", i.ID), zap.Error(err))
			continue
		}
		e.mu.Lock()
		delete(e.all, i.ID)
		for _, t := range i.Triggers {
			delete(e.byID, t.ID)
		}
		e.mu.Unlock()
	}
}

// repeatable is the time of the latest of its ids, or when it was stored: for a day after it one may be sent again.
func (i *Incident) repeatable() time.Time {
	at := i.Stored.At
	for _, t := range i.Triggers {
		if named, ok := IDTime(t.ID); ok {
			at = later(at, named)
		}
	}
	return at
}

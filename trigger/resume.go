package trigger

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/rotate"
)

// adopt makes incidents of pins that the journal does not know: somebody was promised what they hold.
func (e *Engine) adopt(now time.Time) {
	for _, p := range e.spool.Pins() {
		if _, ok := IDTime(p.Name); !ok || e.all[p.Name] != nil {
			continue
		}
		if !p.From.Before(p.To) && !e.restate(&p) {
			continue
		}
		t := Trigger{ID: p.Name, Reason: "found pinned, without an entry in the journal", Source: "recovery", At: p.To, Received: now}
		i := &Incident{ID: p.Name, State: StateReady, From: p.From, To: p.To, Triggers: []Trigger{t}, Pinned: p.Bytes, Recorder: e.describe()}
		e.log.Warn("a pin has no entry in the journal; it is stored as an incident", zap.String("pin", p.Name))
		if err := e.journal.write(i); err != nil {
			e.log.Error("the journal cannot be written; the pin stays", zap.String("pin", p.Name), zap.Error(err))
			continue
		}
		e.all[i.ID] = i
	}
}

// restate gives a pin that does not say what it is to hold the longest window around its id, and gives it up if it holds
// nothing.
func (e *Engine) restate(p *rotate.Pin) (kept bool) {
	if len(p.Segments) == 0 {
		e.release(p.Name)
		return false
	}
	at, _ := IDTime(p.Name)
	p.From, p.To = at.Add(-e.cfg.MaxWindow), at.Add(e.cfg.MaxWindow)
	return true
}

// resume takes an incident of an earlier run up where it was.
func (e *Engine) resume(i *Incident, now time.Time) {
	for _, t := range i.Triggers {
		e.byID[t.ID] = i.ID
		if t.Received.After(e.last[t.Reason]) {
			e.last[t.Reason] = t.Received
		}
	}
	switch i.State {
	case StateOpen:
		if _, err := e.spool.Pin(i.ID, i.From, i.To); err != nil {
			e.log.Error("an incident could not be pinned again; it keeps what it holds, and its end tries again", zap.String("incident", i.ID), zap.Error(err))
		}
		// The wall clock may be another than the one that set To.
		e.due[i.ID] = now.Add(min(max(0, i.To.Sub(now)), e.cfg.MaxWindow))
	case StateReady:
		wakeUp(e.changed)
	case StateStored:
		e.release(i.ID)
	}
}

// release gives up the pin of an incident that is stored, if it still has one.
func (e *Engine) release(id string) {
	if !slices.ContainsFunc(e.spool.Pins(), named(id)) {
		return
	}
	if err := e.spool.Unpin(id); err != nil {
		e.log.Error("a pin that is stored could not be given up; the next start does", zap.String("incident", id), zap.Error(err))
	}
}

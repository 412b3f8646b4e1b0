package trigger

import (
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/failpoint"
	"github.com/ringside/ringside/rotate"
)

// Changed has a value when an incident has become ready since it was last read.
func (e *Engine) Changed() <-chan struct{} { return e.changed }

// Ready returns the incidents that wait to be stored, by id.
func (e *Engine) Ready() []Incident {
	var list []Incident
	for _, i := range e.Incidents() {
		if i.State == StateReady {
			list = append(list, i)
		}
	}
	slices.Reverse(list)
	return list
}

// Failed notes that an attempt to store an incident has failed, and when the next one is.
func (e *Engine) Failed(id string, err error, retry time.Time) {
	e.changing.Lock()
	defer e.changing.Unlock()
	old := e.get(id)
	if old == nil || old.State != StateReady {
		return
	}
	i := *old
	i.Attempts++
	i.Error, i.Retry = err.Error(), retry.UTC().Round(0)
	if i.Since.IsZero() {
		i.Since = time.Now().UTC().Round(0)
	}
	if err := e.journal.write(&i); err != nil { // only for the eyes: the incident itself is on the disk
		e.log.Warn("a failed attempt could not be noted in the journal", zap.String("incident", id), zap.Error(err))
	}
	e.put(&i)
}

// Stored notes that an incident's manifest is in the store, and gives up what it pinned. When it returns without an
// error, a restart knows. Again for the same incident it does nothing.
func (e *Engine) Stored(id string, s Stored) error {
	e.changing.Lock()
	defer e.changing.Unlock()
	old := e.get(id)
	if old == nil || old.State == StateStored {
		return nil
	}
	i := *old
	i.State, i.Stored, i.Error, i.Retry, i.Since = StateStored, &s, "", time.Time{}, time.Time{}
	if err := e.journal.move(&i, StateReady); err != nil {
		return fmt.Errorf("note in the journal that incident %s is stored: %w: free space on the spool's disk", id, err)
	}
	e.put(&i)
	failpoint.Stage("releasing")
	e.release(id)
	return nil
}

// Dir is the journal's directory. The outbox keeps its own files there.
func (e *Engine) Dir() string { return e.journal.dir }

func named(name string) func(rotate.Pin) bool {
	return func(p rotate.Pin) bool { return p.Name == name }
}

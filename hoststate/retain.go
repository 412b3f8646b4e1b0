package hoststate

import (
	"errors"
	"os"
	"time"

	"go.uber.org/zap"
)

// grace is how long the wall clock must have been steady before it is believed that a file is old.
const grace = 10 * time.Minute

// retain removes the oldest files that no pin needs until the timeline keeps to its bounds.
func (t *Timeline) retain(now time.Time) {
	t.mu.Lock()
	keep := t.keep
	t.mu.Unlock()
	needed := t.pinned()
	var free int64 // bytes that nothing but the timeline wants
	for _, f := range t.files {
		if !needed(f) {
			free += f.size
		}
	}
	steady := now.Sub(t.clock.steady) >= grace
	kept := t.files[:0]
	for _, f := range t.files {
		old := steady && now.Sub(f.ended) > keep.Age
		if needed(f) || !old && free <= keep.Bytes {
			kept = append(kept, f)
			continue
		}
		if err := os.Remove(f.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.log.Error("could not remove a file of the timeline", zap.String("file", f.path), zap.Error(err))
			kept = append(kept, f)
			continue
		}
		free -= f.size
	}
	t.files = kept
}

// pinned returns what says whether a pin needs a file: one whose events, or whose own time, it overlaps.
func (t *Timeline) pinned() func(file) bool {
	pins := t.cfg.Pins()
	return func(f file) bool {
		from, to := earliest(f.from, f.begun), later(f.to, f.ended)
		for _, p := range pins {
			if !p.To.Before(from) && !p.From.After(to) {
				return true
			}
		}
		return false
	}
}

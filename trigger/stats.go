package trigger

import (
	"maps"
	"time"
)

// Stats is what the engine has done since Open, and the incidents at the moment.
type Stats struct {
	Accepted  map[string]uint64  // triggers, by source
	Refused   map[Refused]uint64 // requests
	Incidents map[State]int      // at the moment
	Oldest    time.Time          // received, of those that are ready; zero if none is
	Bytes     map[State]int64    // that pins of incidents hold, as of their completion
	Pre       time.Duration      // in force
}

// Refused says where a refused request came from and why it was refused.
type Refused struct{ Source, Kind string }

// counts are guarded by Engine.mu.
type counts struct {
	newest   time.Time // of the ids given
	accepted map[string]uint64
	refused  map[Refused]uint64
}

func (c *counts) accept(source string) {
	if c.accepted == nil {
		c.accepted = map[string]uint64{}
	}
	c.accepted[source]++
}

// refuse counts a refused request.
func (e *Engine) refuse(source, reason, kind string) {
	now := time.Now()
	e.mu.Lock()
	if e.counts.refused == nil {
		e.counts.refused = map[Refused]uint64{}
	}
	e.counts.refused[Refused{source, kind}]++
	e.mu.Unlock()
	e.ledger.add(source, reason, kind, now)
}

// Suppress counts a request that was refused before it came here, such as for its rate. kind is one of the kinds of
// refusals.
func (e *Engine) Suppress(source, reason, kind string) { e.refuse(source, reason, kind) }

// Stats returns a snapshot.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := Stats{
		Accepted: maps.Clone(e.counts.accepted), Refused: maps.Clone(e.counts.refused),
		Incidents: map[State]int{StateOpen: 0, StateReady: 0, StateStored: 0}, Bytes: map[State]int64{}, Pre: e.cfg.Pre,
	}
	for _, i := range e.all {
		s.Incidents[i.State]++
		s.Bytes[i.State] += i.Pinned
		if received := i.Triggers[0].Received; i.State == StateReady && (s.Oldest.IsZero() || received.Before(s.Oldest)) {
			s.Oldest = received
		}
	}
	return s
}

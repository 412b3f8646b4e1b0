package hoststate

import (
	"path"
	"slices"
	"time"
)

// Query selects events. Zero fields select all.
type Query struct {
	From, To time.Time // [From, To), compared with Event.Time
	Kinds    []string  // globs as path.Match has them, such as conntrack.*
	Sources  []string
	Subject  string // a glob

	SeenFrom time.Time // only what reached the timeline from then on, whenever it happened

	Incident string // also those that belong to this incident, whatever their time: its snapshots
}

// Match says whether the query selects e.
func (q Query) Match(e *Event) bool {
	if len(q.Kinds) > 0 && !slices.ContainsFunc(q.Kinds, func(glob string) bool { return glob == e.Kind || match(glob, e.Kind) }) {
		return false
	}
	if len(q.Sources) > 0 && !slices.Contains(q.Sources, e.Source) || q.Subject != "" && q.Subject != e.Subject && !match(q.Subject, e.Subject) {
		return false
	}
	if e.seen().Before(q.SeenFrom) {
		return false
	}
	inside := (q.From.IsZero() || !e.Time.Before(q.From)) && (q.To.IsZero() || e.Time.Before(q.To))
	return inside || q.Incident != "" && q.Incident == e.Incident
}

func match(glob, s string) bool {
	ok, err := path.Match(glob, s)
	return ok && err == nil
}

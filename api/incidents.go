package api

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// archive is what is asked of *upload.Archive.
type archive interface {
	List(ctx context.Context, q upload.Query) iter.Seq2[upload.Bundle, error]
	Find(ctx context.Context, id string) ([]upload.Bundle, error)
}

const (
	usualLimit  = 100 // incidents in a list
	maxLimit    = 1000
	maxLookups  = 4 // requests that read the store, at once
	storeWithin = 15 * time.Second
)

// selection is what a list was asked for.
type selection struct {
	upload.Query
	limit             int
	local, suppressed bool
}

func selectionOf(rawQuery string, now time.Time) (q selection, err error) {
	values, err := parameters(rawQuery, "from", "to", "node", "reason", "limit", "local", "suppressed")
	if err != nil {
		return q, err
	}
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	q.From, err = timeOf(values, "from", "", now)
	note(err)
	q.To, err = timeOf(values, "to", "", now)
	note(err)
	q.local, err = flagOf(values, "local")
	note(err)
	q.suppressed, err = flagOf(values, "suppressed")
	note(err)
	q.Node, q.Reason, q.limit = values["node"], values["reason"], usualLimit
	if text, ok := values["limit"]; ok {
		if q.limit, err = strconv.Atoi(text); err != nil || q.limit < 1 || q.limit > maxLimit {
			note(fmt.Errorf("limit: %q is no number between 1 and %d: write ?limit=%d", text, maxLimit, usualLimit))
		}
	}
	if _, given := values["node"]; given && !upload.NamePattern.MatchString(q.Node) {
		note(fmt.Errorf("node: %q is no name of a node: write letters, digits, dots, dashes and underscores", q.Node))
	}
	return q, errors.Join(errs...)
}

// listIncidents answers with what this node and the store know.
func (s *Server) listIncidents(w http.ResponseWriter, req *http.Request) {
	q, err := selectionOf(req.URL.RawQuery, time.Now())
	if err != nil {
		fail(w, http.StatusBadRequest, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	found := map[string]*Incident{}
	for _, i := range s.localIncidents() {
		if s.selects(q, i) {
			found[i.ID] = ofNode(i)
		}
	}
	var answer Incidents
	if !q.local {
		if !s.enter(w, s.lookups, "requests that read the store") {
			return
		}
		answer.Store = s.addStored(req.Context(), q, found)
		<-s.lookups
	}
	ids := slices.Sorted(maps.Keys(found))
	slices.Reverse(ids)
	answer.More, ids = len(ids) > q.limit, ids[:min(len(ids), q.limit)]
	answer.Incidents = []Incident{}
	for _, id := range ids {
		answer.Incidents = append(answer.Incidents, *found[id])
	}
	if q.suppressed {
		answer.Suppressed = []trigger.Suppressed{}
		if s.sources.Suppressed != nil {
			answer.Suppressed = append(answer.Suppressed, s.sources.Suppressed()...)
		}
	}
	writeJSON(w, http.StatusOK, answer)
}

func (s *Server) localIncidents() []trigger.Incident {
	if s.sources.Incidents == nil {
		return nil
	}
	return s.sources.Incidents()
}

// selects does for this node's incidents what the archive does for those in the store.
func (s *Server) selects(q selection, i trigger.Incident) bool {
	at, ok := trigger.IDTime(i.ID)
	return ok && (q.Node == "" || q.Node == s.cfg.Node) &&
		(q.From.IsZero() || !at.Before(q.From)) && (q.To.IsZero() || at.Before(q.To)) &&
		(q.Reason == "" || slices.ContainsFunc(i.Triggers, func(t trigger.Trigger) bool { return t.Reason == q.Reason }))
}

// addStored adds the bundles that q selects to what was found, as far as the limit needs them. A store that cannot be
// read is part of the answer: what this node knows is worth having without it.
func (s *Server) addStored(ctx context.Context, q selection, found map[string]*Incident) *StoreState {
	store, state := s.store()
	if store == nil {
		return state
	}
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	others := 0
	last := ""
	for b, err := range s.archive(store).List(ctx, q.Query) {
		if err != nil {
			state.Error = err.Error()
			break
		}
		if b.Incident != last {
			last = b.Incident
			if others++; others > q.limit+1 {
				break
			}
		}
		if found[b.Incident] == nil {
			found[b.Incident] = ofStore(b.Incident)
		}
		found[b.Incident].add(b, false)
	}
	return state
}

// store returns the store, or nil and why there is none.
func (s *Server) store() (upload.Store, *StoreState) {
	if s.sources.Store != nil {
		if store := s.sources.Store(); store != nil {
			return store, &StoreState{URL: store.String()}
		}
	}
	return nil, &StoreState{Error: "this recorder has no store: set upload.to"}
}

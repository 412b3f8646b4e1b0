package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// getIncident answers with one incident, and the manifests of all its nodes.
func (s *Server) getIncident(w http.ResponseWriter, req *http.Request) {
	id := req.PathValue("id")
	if !checkID(w, id) {
		return
	}
	values, err := parameters(req.URL.RawQuery, "local")
	var local bool
	if err == nil {
		local, err = flagOf(values, "local")
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "%v", err)
		return
	}
	answer := s.localIncident(id)
	if local && answer == nil {
		fail(w, http.StatusNotFound, "this node knows no incident %s: leave ?local out to look into the store too", id)
		return
	}
	if !local {
		if !s.enter(w, s.lookups, "requests that read the store") {
			return
		}
		defer func() { <-s.lookups }()
		if answer = s.findStored(req.Context(), w, id, answer); answer == nil {
			return
		}
	}
	writeJSON(w, http.StatusOK, answer)
}

// localIncident returns the incident with that id, or with a trigger of that id, as this node knows it; nil if it does not.
func (s *Server) localIncident(id string) *Incident {
	for _, i := range s.localIncidents() {
		if i.ID == id || slices.ContainsFunc(i.Triggers, func(t trigger.Trigger) bool { return t.ID == id }) {
			return ofNode(i)
		}
	}
	return nil
}

// findStored adds to answer, nil if this node knows nothing, what the store has. It returns nil when it has answered
// that nobody knows the incident.
func (s *Server) findStored(ctx context.Context, w http.ResponseWriter, id string, answer *Incident) *Incident {
	if answer != nil {
		id = answer.ID
	}
	_, bundles, state := s.find(ctx, id)
	if answer == nil && len(bundles) == 0 {
		if state.Error != "" {
			setRetryAfter(w, retryAfter)
			fail(w, http.StatusServiceUnavailable, "this node does not know incident %s, and the store cannot be read: %s", id, state.Error)
		} else {
			fail(w, http.StatusNotFound, "nobody knows incident %s: GET /v1/incidents lists those there are", id)
		}
		return nil
	}
	if answer == nil {
		answer = ofStore(bundles[0].Incident)
	}
	for _, b := range bundles {
		answer.add(b, true)
	}
	answer.Store = state
	return answer
}

// find returns the store, nil if there is none, and the incident's bundles in it.
func (s *Server) find(ctx context.Context, id string) (upload.Store, []upload.Bundle, *StoreState) {
	store, state := s.store()
	if store == nil {
		return nil, nil, state
	}
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	bundles, err := s.archive(store).Find(ctx, id)
	if err != nil && !errors.Is(err, upload.ErrNotFound) {
		state.Error = err.Error()
	}
	return store, bundles, state
}

// checkID answers what is no id with 400.
func checkID(w http.ResponseWriter, id string) bool {
	if _, ok := trigger.IDTime(id); ok {
		return true
	}
	fail(w, http.StatusBadRequest, "%.80q is no id of an incident: one looks like %s", id, trigger.NewID(time.Time{}))
	return false
}

package api

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

func idsOf(list []Incident) (ids []string) {
	for _, i := range list {
		ids = append(ids, i.ID)
	}
	return ids
}

func TestListIncidents(t *testing.T) {
	f := newFake()
	f.store = newStore(t)
	h := f.handler(doorSocket)
	for query, want := range map[string][]string{
		"":                         {openID, incidentID, oldID},
		"?local":                   {openID, incidentID},
		"?local=true":              {openID, incidentID},
		"?local=0":                 {openID, incidentID, oldID},
		"?limit=2":                 {openID, incidentID},
		"?limit=1":                 {openID},
		"?node=n2":                 {incidentID},
		"?node=n2&local":           nil,
		"?node=n1":                 {openID, incidentID, oldID},
		"?reason=slow":             {openID, incidentID},
		"?reason=reset":            {incidentID, oldID},
		"?reason=none":             nil,
		"?to=2026-11-22T00:00:00Z": {oldID},
		"?from=2026-11-22T03:00:00Z&to=2026-11-22T04:00:00Z": {incidentID},
		"?from=2026-11-22T05:00:00%2B01:00":                  {openID},
	} {
		got := decode[Incidents](t, get(h, "/v1/incidents"+query), 200)
		if ids := idsOf(got.Incidents); !slices.Equal(ids, want) {
			t.Errorf("%q: %v, want %v", query, ids, want)
		}
		if more := strings.Contains(query, "limit"); got.More != more {
			t.Errorf("%q: more = %v", query, got.More)
		}
		if asked := !strings.Contains(query, "local") || strings.Contains(query, "=0"); (got.Store != nil) != asked {
			t.Errorf("%q: store %+v", query, got.Store)
		}
		if got.Suppressed != nil || got.Incidents == nil {
			t.Errorf("%q: %+v", query, got)
		}
	}
	got := decode[Incidents](t, get(h, "/v1/incidents?suppressed"), 200)
	if len(got.Suppressed) != 1 || got.Suppressed[0] != suppressed()[0] {
		t.Errorf("suppressed %+v", got.Suppressed)
	}
	open, stored, old := got.Incidents[0], got.Incidents[1], got.Incidents[2]
	if open.State != trigger.StateOpen || open.Local == nil || len(open.Bundles) != 0 || !slices.Equal(open.Reasons, []string{"slow"}) {
		t.Errorf("open: %+v", open)
	}
	if stored.State != trigger.StateStored || stored.Local == nil || !slices.Equal(stored.Reasons, []string{"reset", "slow"}) || len(stored.Bundles) != 2 {
		t.Fatalf("stored: %+v", stored)
	}
	b := stored.Bundles[0]
	if b.Node != "n1" || b.Cluster != "c" || b.Packets != 7 || !b.Complete || b.Bytes != int64(len(capture)) || len(b.SHA256) != 64 || b.Manifest != nil || !b.From.Equal(day) || b.Problem != "" {
		t.Errorf("bundle: %+v", b)
	}
	if old.State != trigger.StateStored || old.Local != nil || !old.From.Equal(day) || !old.To.Equal(day.Add(time.Minute)) {
		t.Errorf("old: %+v", old)
	}
}

func TestBadLists(t *testing.T) {
	f := newFake()
	h := f.handler(doorSocket)
	for query, want := range map[string]string{
		"limit=0": "limit: ", "limit=1001": "limit: ", "limit=x": "limit: ", "limit=99999999999999999999": "limit: ", "local=maybe": "local: ", "suppressed=2": "suppressed: ",
		"from=yesterday": "from: ", "to=5m": "to: ", "node=..": "node: ", "node=": "node: ", "node=a%2fb": "node: ", "nodes=n1": "is unknown", "limit=1&limit=2": "given twice", "%zz": "cannot be read",
		"limit=0&from=x&local=7": "from: ",
	} {
		w := get(h, "/v1/incidents?"+query)
		if d := detail(t, w); w.Code != 400 || !strings.Contains(d, want) {
			t.Errorf("%s: %d %q, want %q", query, w.Code, d, want)
		}
	}
	if d := detail(t, get(h, "/v1/incidents?limit=0&from=x&local=7")); !strings.Contains(d, "limit: ") || !strings.Contains(d, "local: ") {
		t.Errorf("not all problems at once: %q", d)
	}
}

// away is an archive that cannot be read, after some bundles.
type away struct {
	bundles []upload.Bundle
	err     error
}

func (a away) List(context.Context, upload.Query) iter.Seq2[upload.Bundle, error] {
	return func(yield func(upload.Bundle, error) bool) {
		for _, b := range a.bundles {
			if !yield(b, nil) {
				return
			}
		}
		yield(upload.Bundle{}, a.err)
	}
}

func (a away) Find(context.Context, string) ([]upload.Bundle, error) { return a.bundles, a.err }

// TestStoreAway shows what this node knows, and says what it could not look for.
func TestStoreAway(t *testing.T) {
	f := newFake()
	f.store = newStore(t)
	s := f.server(zap.NewNop())
	damaged := upload.Bundle{Place: upload.Place{Cluster: "c", Incident: oldID, Node: "n3"}, Problem: errors.New("not JSON")}
	s.archive = func(upload.Store) archive { return away{[]upload.Bundle{damaged}, errors.New("connection refused")} }
	h := s.handler(s.newGuard(doorSocket, ""))
	got := decode[Incidents](t, get(h, "/v1/incidents"), 200)
	if got.Store.Error != "connection refused" || !slices.Equal(idsOf(got.Incidents), []string{openID, incidentID, oldID}) {
		t.Errorf("%+v, %v", got.Store, idsOf(got.Incidents))
	}
	if i := got.Incidents[2]; i.State != StateDamaged || i.Bundles[0].Problem != "not JSON" || i.Reasons == nil {
		t.Errorf("damaged: %+v", i)
	}
	if one := decode[Incident](t, get(h, "/v1/incidents/"+incidentID), 200); one.Store.Error != "connection refused" || one.Local == nil {
		t.Errorf("%+v", one)
	}
	s.archive = func(upload.Store) archive { return away{nil, errors.New("connection refused")} }
	w := get(h, "/v1/incidents/"+oldID)
	if d := detail(t, w); w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(d, "connection refused") {
		t.Errorf("%d %s", w.Code, d)
	}
	if w := get(h, "/v1/incidents/"+oldID+"/files/manifest.json"); w.Code != 502 || !strings.Contains(detail(t, w), "connection refused") {
		t.Errorf("file: %d %s", w.Code, w.Body)
	}
	f.store = nil
	if got := decode[Incidents](t, get(h, "/v1/incidents"), 200); got.Store.Error == "" || len(got.Incidents) != 2 {
		t.Errorf("without a store: %+v", got)
	}
	s.sources.Incidents, s.sources.Store, s.sources.Suppressed = nil, nil, nil
	if got := decode[Incidents](t, get(h, "/v1/incidents?suppressed"), 200); len(got.Incidents) != 0 || got.Suppressed == nil {
		t.Errorf("without sources: %+v", got)
	}
}

func TestGetIncident(t *testing.T) {
	f := newFake()
	f.store = newStore(t)
	h := f.handler(doorSocket)
	for id, want := range map[string]string{incidentID: incidentID, mergedID: incidentID, oldID: oldID} {
		i := decode[Incident](t, get(h, "/v1/incidents/"+id), 200)
		if i.ID != want || i.State != trigger.StateStored || (i.Local == nil) != (id == oldID) || i.Store == nil || i.Store.Error != "" {
			t.Errorf("%s: %+v", id, i)
		}
		for _, b := range i.Bundles {
			var m upload.Manifest
			if err := json.Unmarshal(b.Manifest, &m); err != nil || m.Incident != want || m.Node != b.Node || b.Incident != "" {
				t.Errorf("%s: manifest of %s is %+v, %v", id, b.Node, m, err)
			}
		}
		if n := len(i.Bundles); n != 2 && id != oldID {
			t.Errorf("%s: %d bundles", id, n)
		}
	}
	if i := decode[Incident](t, get(h, "/v1/incidents/"+mergedID+"?local"), 200); i.ID != incidentID || i.Store != nil || len(i.Bundles) != 0 || i.Local == nil {
		t.Errorf("local: %+v", i)
	}
	nobody := trigger.NewID(day.AddDate(-1, 0, 0))
	for target, want := range map[string]int{nobody: 404, nobody + "?local": 404, oldID + "?local": 404, oldID + "?local=x": 400, oldID + "?node=n1": 400, "x": 400, strings.ToUpper(incidentID) + "x": 400} {
		if w := get(h, "/v1/incidents/"+target); w.Code != want || detail(t, w) == "" {
			t.Errorf("%s: %d, want %d: %s", target, w.Code, want, w.Body)
		}
	}
}

// TestLookupsAreBounded refuses the request after the last that may read the store.
func TestLookupsAreBounded(t *testing.T) {
	f := newFake()
	f.store = newStore(t)
	s := f.server(zap.NewNop())
	for range maxLookups {
		s.lookups <- struct{}{}
	}
	h := s.handler(s.newGuard(doorSocket, ""))
	for _, target := range []string{"/v1/incidents", "/v1/incidents/" + oldID, "/v1/incidents/" + oldID + "/files/manifest.json"} {
		if w := get(h, target); w.Code != 503 || w.Header().Get("Retry-After") != "5" {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	if w := get(h, "/v1/incidents?local"); w.Code != 200 {
		t.Errorf("what this node knows: %d", w.Code)
	}
	<-s.lookups
	for range 2 * maxLookups { // each gives its place back
		for _, target := range []string{"/v1/incidents", "/v1/incidents/" + oldID, "/v1/incidents/" + oldID + "/files/manifest.json"} {
			if w := get(h, target); w.Code != http.StatusOK {
				t.Fatalf("%s: %d %s", target, w.Code, w.Body)
			}
		}
	}
}

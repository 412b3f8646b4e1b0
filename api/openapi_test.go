package api

import (
	"bytes"
	"context"
	"errors"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.yaml.in/yaml/v3"
	"golang.org/x/time/rate"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// spec is what the test reads of openapi.yaml.
type spec struct {
	Paths      map[string]map[string]operation
	Components struct {
		Responses map[string]response
		Schemas   map[string]struct{ Properties map[string]property }
	}
}

type property struct {
	Items struct{ Properties map[string]any }
}

type operation struct {
	Summary    string
	Parameters []struct{ Name, In string }
	Responses  map[string]response
}

type response struct {
	Ref     string `yaml:"$ref"`
	Headers map[string]any
	Content map[string]any
}

func readSpec(t *testing.T) spec {
	t.Helper()
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var s spec
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&s); err != nil {
		t.Fatal(err)
	}
	for _, path := range s.Paths {
		for _, op := range path {
			for status, r := range op.Responses {
				if name, ok := strings.CutPrefix(r.Ref, "#/components/responses/"); ok {
					if r, ok = s.Components.Responses[name]; !ok {
						t.Fatalf("no response %s", name)
					}
					op.Responses[status] = r
				}
			}
		}
	}
	return s
}

// TestOpenAPI holds openapi.yaml against the handlers, both ways: every route is served and described, with the scope it
// needs, every answer that a handler gives is described, and every one that is described is given here.
func TestOpenAPI(t *testing.T) {
	s := readSpec(t)
	var served, described []string
	for _, r := range newFake().server(zap.NewNop()).routes() {
		method := strings.ToLower(r.method)
		served = append(served, method+" "+r.path)
		op := s.Paths[r.path][method]
		if r.access.scope != public && !strings.Contains(op.Summary, "Scope: "+string(r.access.scope)+".") {
			t.Errorf("%s: %q does not name the scope %s", r.path, op.Summary, r.access.scope)
		}
	}
	for path, methods := range s.Paths {
		for method := range methods {
			described = append(described, method+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	if !slices.Equal(served, described) {
		t.Fatalf("served %v, described %v", served, described)
	}
	given := map[string]bool{} // path, status and type
	store := newStore(t)
	for _, c := range answers() {
		check(t, s, c, store, given)
	}
	for path, methods := range s.Paths {
		for _, op := range methods {
			for status, r := range op.Responses {
				if r.Content == nil {
					r.Content = map[string]any{"": nil}
				}
				for kind := range r.Content {
					if key := path + " " + status + " " + kind; !given[key] {
						t.Errorf("%s is described and no handler gave it", key)
					}
				}
			}
		}
	}
}

func check(t *testing.T, s spec, c answer, store upload.Store, given map[string]bool) {
	t.Helper()
	w := c.get(t, store)
	_, query, _ := strings.Cut(c.target, "?")
	path := c.route
	kind := ""
	if text := w.Header().Get("Content-Type"); text != "" {
		var err error
		if kind, _, err = mime.ParseMediaType(text); err != nil {
			t.Errorf("%s: %v", c.target, err)
		}
	}
	var op operation
	for _, op = range s.Paths[path] { // there is one
	}
	r, described := op.Responses[strconv.Itoa(w.Code)]
	if _, ok := r.Content[kind]; !described || !ok && kind != "" || kind == "" && r.Content != nil {
		t.Errorf("%s gives %d %s, which is not described: %s", c.target, w.Code, kind, w.Body)
	}
	for name := range r.Headers {
		if w.Header().Get(name) == "" && name != "Retry-After" { // which is there if it is known
			t.Errorf("%s: %d without the header %s, which is described", c.target, w.Code, name)
		}
	}
	for _, pair := range strings.Split(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if name != "" && !slices.ContainsFunc(op.Parameters, func(p struct{ Name, In string }) bool { return p.Name == name && p.In == "query" }) {
			t.Errorf("%s: parameter %s is not described", path, name)
		}
	}
	given[path+" "+strconv.Itoa(w.Code)+" "+kind] = true
}

// TestSchemas holds the fields of the answers against those that are described.
func TestSchemas(t *testing.T) {
	schemas := readSpec(t).Components.Schemas
	for name, c := range map[string]struct {
		described any
		value     any
	}{
		"Problem":          {schemas["Problem"].Properties, problem{}},
		"Store":            {schemas["Store"].Properties, StoreState{}},
		"Incident":         {schemas["Incident"].Properties, Incident{}},
		"AlertOutcome":     {schemas["AlertOutcome"].Properties, AlertOutcome{}},
		"Observation":      {schemas["Observation"].Properties, observation{}},
		"Event":            {schemas["Event"].Properties, hoststate.Event{}},
		"Incident.bundles": {schemas["Incident"].Properties["bundles"].Items.Properties, Bundle{}},
	} {
		var want, got []string
		for _, key := range reflect.ValueOf(c.described).MapKeys() {
			want = append(want, key.String())
		}
		typ := reflect.TypeOf(c.value)
		for i := range typ.NumField() {
			tag, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			got = append(got, tag)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s has the fields %v, described are %v", name, got, want)
		}
	}
}

// answer is a request and the state it meets.
type answer struct {
	route  string
	method string
	target string
	body   string
	header []string
	door   door // doorSocket if not set
	state  func(*fake, *Server)
}

func (c answer) get(t *testing.T, store upload.Store) *httptest.ResponseRecorder {
	t.Helper()
	f := newFake()
	f.store = store
	s := f.server(zap.NewNop())
	s.tokens = testTokens(t)
	if c.state != nil {
		c.state(f, s)
	}
	if c.door == 0 {
		c.door = doorSocket
	}
	h := s.handler(s.newGuard(c.door, "127.0.0.1:9409"))
	if c.method == "SLOW" {
		req := httptest.NewRequest(http.MethodPost, c.target, slowBody{})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		return w
	}
	return send(h, c.method, c.target, c.body, c.header...)
}

type slowBody struct{}

func (slowBody) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

func answers() []answer {
	const (
		get, post                         = http.MethodGet, http.MethodPost
		ready, packets, triggers          = "/readyz", "/v1/packets", "/v1/triggers"
		alerts, observations, timeline    = "/v1/alertmanager", "/v1/observations", "/v1/timeline"
		list, one, files                  = "/v1/incidents", "/v1/incidents/{id}", "/v1/incidents/{id}/files/{name}"
		oneTarget, manifestTarget, atNode = "/v1/incidents/" + incidentID, "/v1/incidents/" + incidentID + "/files/manifest.json", "?node=n1"
	)
	notReady := func(f *fake, _ *Server) { f.report.Ready = false }
	full := func(_ *fake, s *Server) {
		for range maxStreams {
			s.streams <- struct{}{}
		}
		for range maxLookups {
			s.lookups <- struct{}{}
		}
		for range maxTimelines {
			s.timelines <- struct{}{}
		}
	}
	refusal := func(status int) func(*fake, *Server) {
		return func(f *fake, _ *Server) {
			f.engine.refusal = &trigger.Refusal{Status: status, Kind: "x", Detail: "no: wait", Retry: 1}
		}
	}
	links := func(f *fake, _ *Server) { f.store = linking{f.store, nil} }
	noStore := func(f *fake, _ *Server) { f.store = nil }
	all := []answer{
		{ready, get, ready + "?verbose", "", nil, 0, nil},
		{ready, get, ready + "?format=json", "", nil, 0, nil},
		{ready, get, ready, "", nil, 0, notReady},
		{ready, get, ready + "?format=json", "", nil, 0, notReady},
		{packets, get, packets + "?from=-1m&to=now", "", nil, 0, nil},
		{packets, get, packets + "?from=x", "", nil, 0, nil},
		{packets, get, packets, "", nil, 0, func(f *fake, _ *Server) { f.coverage.Rings = nil }},
		{packets, get, packets, "", nil, 0, func(f *fake, _ *Server) { f.openErr = errors.New("input/output error") }},
		{packets, get, packets, "", nil, 0, full},
		{triggers, post, triggers, "{", nil, 0, nil},
		{triggers, "SLOW", triggers, "", nil, 0, nil},
		{triggers, post, triggers, strings.Repeat(" ", trigger.MaxBody+1), nil, 0, nil},
		{triggers, post, triggers, "", []string{"Content-Encoding", "gzip"}, 0, nil},
		{triggers, post, triggers, "", nil, 0, refusal(429)},
		{triggers, post, triggers, "", nil, 0, refusal(503)},
		{triggers, post, triggers, "", nil, 0, refusal(507)},
		{alerts, post, alerts, alertBody("firing"), nil, 0, nil},
		{alerts, post, alerts, "{", nil, 0, nil},
		{alerts, "SLOW", alerts, "", nil, 0, nil},
		{alerts, post, alerts, strings.Repeat(" ", trigger.MaxAlertBody+1), nil, 0, nil},
		{alerts, post, alerts, "", []string{"Content-Encoding", "gzip"}, 0, nil},
		{alerts, post, alerts, alertBody("firing"), nil, 0, refusal(503)},
		{alerts, post, alerts, alertBody("firing"), nil, 0, refusal(507)},
		{observations, post, observations, "{}", nil, 0, nil},
		{observations, "SLOW", observations, "", nil, 0, nil},
		{observations, post, observations, strings.Repeat(" ", maxObservationBody+1), nil, 0, nil},
		{observations, post, observations, "", []string{"Content-Encoding", "gzip"}, 0, nil},
		{observations, post, observations, bodyOf(observations), nil, doorLoopback, func(_ *fake, s *Server) { s.observers = rate.NewLimiter(0, 0) }},
		{observations, post, observations, bodyOf(observations), nil, 0, func(_ *fake, s *Server) { s.sources.Observe = nil }},
		{timeline, get, timeline + "?from=-1d&to=now&kind=unit.*&source=units&subject=x", "", nil, 0, nil},
		{timeline, get, timeline + "?from=-5m&kind=unit.*,conntrack.burst&source=units&subject=systemd-*", "", nil, 0, nil},
		{timeline, get, timeline + "?follow", "", nil, 0, nil},
		{timeline, get, timeline, "", nil, 0, full},
		{timeline, get, timeline, "", nil, 0, func(f *fake, s *Server) {
			s.sources.Timeline = func(context.Context, hoststate.Query, func(hoststate.Event) error) error {
				return errors.New("input/output error")
			}
		}},
		{list, get, list + "?from=-1h&to=now&node=n1&reason=slow&limit=1&local&suppressed", "", nil, 0, nil},
		{list, get, list + "?limit=0", "", nil, 0, nil},
		{list, get, list, "", nil, 0, full},
		{one, get, oneTarget + "?local", "", nil, 0, nil},
		{one, get, "/v1/incidents/x", "", nil, 0, nil},
		{one, get, "/v1/incidents/" + trigger.NewID(day), "", nil, 0, nil},
		{one, get, "/v1/incidents/" + oldID, "", nil, 0, noStore},
		{files, get, manifestTarget + "?node=n1&cluster=c&stream=1", "", nil, 0, nil},
		{files, get, captureFile, "", nil, 0, nil},
		{files, get, captureFile, "", []string{"Range", "bytes=0-5"}, 0, nil},
		{files, get, manifestTarget + atNode, "", []string{"Range", "bytes=0-5"}, 0, nil},
		{files, get, captureFile, "", nil, 0, links},
		{files, get, captureFile, "", []string{"Range", "bytes=160000-"}, 0, nil},
		{files, get, manifestTarget, "", nil, 0, nil},
		{files, get, manifestTarget + "?node=n3", "", nil, 0, nil},
		{files, get, manifestTarget, "", nil, 0, noStore},
		{files, get, captureFile, "", nil, 0, full},
		{files, get, captureFile, "", []string{"If-None-Match", `"` + captureSHA256 + `"`}, 0, nil},
	}
	for _, r := range newFake().server(zap.NewNop()).routes() {
		method, target := requestOf(r)
		other := map[string]string{get: post, post: http.MethodPut}[method]
		all = append(all,
			answer{r.path, method, target, bodyOf(r.path), nil, 0, nil},
			answer{r.path, other, target, "", nil, 0, nil},
			answer{r.path, method, target, "", bearer(wrongToken), doorBeyond, nil},
			answer{r.path, method, target, "", bearer(allToken), doorBeyond, func(_ *fake, s *Server) { s.tokens.value()[3].scopes = nil }},
		)
		if r.access.scope == public {
			all = append(all, answer{r.path, method, target, "", []string{"Host", "evil.example"}, doorLoopback, nil})
		}
	}
	return all
}

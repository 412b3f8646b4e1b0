package api

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Stats is the account of a server since it began. Its values are copies.
type Stats struct {
	Requests  []RequestStats // by route and class
	Refused   []RefusedStats // by kind; triggers that the engine or its parser refused are not among them
	HandedOut uint64         // bytes of packets, redirects not counted
	Faults    []Fault        // what could not be taken over
	Expires   time.Time      // of the certificate, zero without one
}

// RequestStats counts the answers of one route.
type RequestStats struct {
	Route string // as openapi.yaml has it, "other" for what met none
	Class string // "2xx" to "5xx", or "aborted" for an answer that was broken off
	Count uint64
}

// RefusedStats counts what was not let in.
type RefusedStats struct {
	Kind  string // "host", "origin", "path", "no-token", "token", "guesses", "scope", "busy" or "rate"
	Count uint64
}

// Kinds of refusals at the door.
const (
	refusedHost    = "host"
	refusedOrigin  = "origin"
	refusedPath    = "path"
	refusedNoToken = "no-token"
	refusedToken   = "token"
	refusedGuesses = "guesses"
	refusedScope   = "scope"
	refusedBusy    = "busy"
	refusedRate    = "rate" // of observations
)

const otherRoute = "other"

type answered struct{ route, class string }

// counters is the account. The keys of its maps are those of the route table and the constants above.
type counters struct {
	handedOut atomic.Uint64

	mu       sync.Mutex // protects what follows
	requests map[answered]uint64
	kinds    map[string]uint64
}

func newCounters() *counters {
	return &counters{requests: map[answered]uint64{}, kinds: map[string]uint64{}}
}

func (c *counters) refused(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kinds[kind]++
}

func (c *counters) answered(a answered) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests[a]++
}

// Stats returns the account so far. It may be called concurrently with everything.
func (s *Server) Stats() Stats {
	st := Stats{HandedOut: s.stats.handedOut.Load(), Faults: s.faults()}
	if s.certificate != nil {
		st.Expires = s.certificate.value().Leaf.NotAfter
	}
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	for _, a := range slices.SortedFunc(maps.Keys(s.stats.requests), func(a, b answered) int {
		return cmp.Or(cmp.Compare(a.route, b.route), cmp.Compare(a.class, b.class))
	}) {
		st.Requests = append(st.Requests, RequestStats{a.route, a.class, s.stats.requests[a]})
	}
	for _, kind := range slices.Sorted(maps.Keys(s.stats.kinds)) {
		st.Refused = append(st.Refused, RefusedStats{kind, s.stats.kinds[kind]})
	}
	return st
}

type routeKey struct{}

// count accounts for every answer, also for those that are broken off.
func (s *Server) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		a := answered{route: otherRoute, class: "aborted"}
		out := &statusWriter{ResponseWriter: w}
		defer func() { s.stats.answered(a) }()
		next.ServeHTTP(out, req.WithContext(context.WithValue(req.Context(), routeKey{}, &a.route)))
		a.class = classes[min(max(out.status/100, 2), 5)]
	})
}

var classes = map[int]string{2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}

// named tells count which route was met.
func named(route string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if name, ok := req.Context().Value(routeKey{}).(*string); ok {
			*name = route
		}
		next(w, req)
	}
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int // 0 until it is written: then it is 200
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

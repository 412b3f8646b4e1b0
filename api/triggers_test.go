package api

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/trigger"
)

func TestTrigger(t *testing.T) {
	for d, c := range map[door]struct{ source, client string }{
		doorSocket:   {trigger.SourceSocket, "unknown"}, // the test has no socket
		doorLoopback: {trigger.SourceHTTP, "192.0.2.1"},
	} {
		f := newFake()
		w := send(f.handler(d), http.MethodPost, "/v1/triggers", `{"reason": "slow checkout", "pre": "5m", "labels": {"team": "shop"}}`)
		got := decode[trigger.Receipt](t, w, http.StatusAccepted)
		want := trigger.Receipt{ID: mergedID, Incident: incidentID, Merged: true, From: day, To: day.Add(time.Minute)}
		if got != want || w.Header().Get("Location") != "/v1/incidents/"+incidentID {
			t.Errorf("%+v at %s, want %+v", got, w.Header().Get("Location"), want)
		}
		if len(f.engine.requests) != 1 {
			t.Fatalf("%d requests", len(f.engine.requests))
		}
		r := f.engine.requests[0]
		if r.Reason != "slow checkout" || *r.Pre != 5*time.Minute || r.Labels["team"] != "shop" || r.Source != c.source || r.Client != c.client {
			t.Errorf("the engine got %+v", r)
		}
	}
}

// TestTriggerToken notes the token's name, never the token.
func TestTriggerToken(t *testing.T) {
	f := newFake()
	s := f.server(zap.NewNop())
	s.tokens = testTokens(t)
	h := s.handler(s.newGuard(doorLoopback, "127.0.0.1:9409"))
	if w := send(h, http.MethodPost, "/v1/triggers", "", bearer(triggerToken)...); w.Code != 202 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if got := f.engine.requests[0].Client; got != "token trigger from 192.0.2.1" {
		t.Errorf("client %q", got)
	}
}

// TestHostileTriggers: each is refused as what it is, counted, and never reaches the engine.
func TestHostileTriggers(t *testing.T) {
	for body, want := range map[string]int{
		"[]": 400, "null": 400, `"x"`: 400, "{": 400, "{}{}": 400, `{"reasn": "x"}`: 400, `{"pre": "NaN"}`: 400, `{"pre": "-5m"}`: 400, `{"post": "8760h"}`: 400,
		`{"at": "2999-01-01T00:00:00Z"}`: 400, `{"at": "0001-01-01T00:00:00Z"}`: 400, `{"reason": "a\nb"}`: 400, `{"id": "../../etc"}`: 400, "\xff": 400,
		`{"labels": {"x": "` + strings.Repeat("y", 60_000) + `"}}`: 400,
		`{"reason": "` + strings.Repeat("y", 64<<10) + `"}`:        413,
		strings.Repeat(" ", 1<<20):                                 413,
	} {
		for _, length := range []int64{int64(len(body)), -1} { // stated, and not
			f := newFake()
			req := httptest.NewRequest(http.MethodPost, "/v1/triggers", strings.NewReader(body))
			req.ContentLength, req.Host = length, "localhost"
			w := httptest.NewRecorder()
			f.handler(doorLoopback).ServeHTTP(w, req)
			if d := detail(t, w); w.Code != want || len(d) > 2000 || w.Header().Get("Connection") != "close" {
				t.Errorf("%.60q: %d %.300q, Connection %q, want %d", body, w.Code, d, w.Header().Get("Connection"), want)
			}
			if len(f.engine.requests) != 0 || !slices.Equal(f.engine.suppressed, []string{"http//invalid"}) {
				t.Errorf("%.60q: %d requests reached the engine, %v were counted", body, len(f.engine.requests), f.engine.suppressed)
			}
		}
	}
	f := newFake()
	if w := send(f.handler(doorLoopback), http.MethodPost, "/v1/triggers", "{}", "Content-Encoding", "gzip"); w.Code != 415 || len(f.engine.suppressed) != 1 {
		t.Errorf("gzip: %d, counted %v", w.Code, f.engine.suppressed)
	}
	req := httptest.NewRequest(http.MethodPost, "/v1/triggers", iotest.ErrReader(errors.New("reset")))
	w := httptest.NewRecorder()
	if f.handler(doorSocket).ServeHTTP(w, req); w.Code != 400 || !strings.Contains(detail(t, w), "broke off") {
		t.Errorf("a body that breaks off: %d %s", w.Code, w.Body)
	}
}

// TestReasonOfRefusal counts what was no request under its reason, if that is in order.
func TestReasonOfRefusal(t *testing.T) {
	f := newFake()
	send(f.handler(doorSocket), http.MethodPost, "/v1/triggers", `{"reason": "slow", "pre": "-5m"}`)
	if !slices.Equal(f.engine.suppressed, []string{"socket/slow/invalid"}) {
		t.Errorf("counted %v", f.engine.suppressed)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		kind   string
		retry  string
	}{
		{&trigger.Refusal{Status: 429, Kind: trigger.RefusedCooldown, Detail: "wait", Retry: 1500 * time.Millisecond}, 429, "cooldown", "2"},
		{&trigger.Refusal{Status: 507, Kind: trigger.RefusedPinned, Detail: "full"}, 507, "pinned", ""},
		{errors.New("no space left on device"), 503, "failed", "1"},
	} {
		f := newFake()
		f.engine.refusal = c.err
		w := send(f.handler(doorSocket), http.MethodPost, "/v1/triggers", "{}")
		if d := detail(t, w); w.Code != c.status || w.Header().Get("Retry-After") != c.retry || d != c.err.Error() || !strings.Contains(w.Body.String(), `"kind": "`+c.kind+`"`) {
			t.Errorf("%v: %d, Retry-After %q, %s", c.err, w.Code, w.Header().Get("Retry-After"), w.Body)
		}
		if len(f.engine.suppressed) != 0 {
			t.Errorf("%v: what the engine refused is counted twice: %v", c.err, f.engine.suppressed)
		}
	}
	f := newFake()
	s := f.server(zap.NewNop())
	s.sources.Trigger, s.sources.Suppress = nil, nil
	if w := send(s.handler(s.newGuard(doorSocket, "")), http.MethodPost, "/v1/triggers", "{}"); w.Code != 503 {
		t.Errorf("without an engine: %d", w.Code)
	}
}

// TestTriggerRate: those without a token share a limit, each token has its own, the socket has none.
func TestTriggerRate(t *testing.T) {
	const burst = 3
	f := newFake()
	s := f.server(zap.NewNop())
	s.tokens = testTokens(t)
	for i := range s.tokens.value() {
		s.tokens.value()[i].triggers = newLimiter(burst)
		s.tokens.value()[i].triggers.SetLimit(0) // as long as the test takes
	}
	s.anonymous = newLimiter(burst)
	s.anonymous.SetLimit(0)
	loopback, socket := s.handler(s.newGuard(doorLoopback, "127.0.0.1:9409")), s.handler(s.newGuard(doorSocket, ""))
	post := func(h http.Handler, header ...string) (accepted, refused int) {
		for range 2 * burst {
			switch w := send(h, http.MethodPost, "/v1/triggers", "", header...); {
			case w.Code == 202:
				accepted++
			case w.Code == 429 && w.Header().Get("Retry-After") == "1" && strings.Contains(detail(t, w), "triggers a second"):
				refused++
			default:
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		return accepted, refused
	}
	for _, c := range []struct {
		name              string
		h                 http.Handler
		header            []string
		accepted, refused int
	}{
		{"without a token", loopback, nil, burst, burst},
		{"with one", loopback, bearer(triggerToken), burst, burst},
		{"with another", loopback, bearer(allToken), burst, burst},
		{"at the socket", socket, nil, 2 * burst, 0},
	} {
		if a, r := post(c.h, c.header...); a != c.accepted || r != c.refused {
			t.Errorf("%s: %d accepted and %d refused, want %d and %d", c.name, a, r, c.accepted, c.refused)
		}
	}
	want := slices.Repeat([]string{"http//rate"}, 3*burst)
	if !slices.Equal(f.engine.suppressed, want) {
		t.Errorf("counted %v, want %d times %s", f.engine.suppressed, len(want), want[0])
	}
}

package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// TestObservations puts what was seen on the timeline, one object or several.
func TestObservations(t *testing.T) {
	one := `{"time": "2026-11-22T03:00:00.25Z", "service": "orders", "what": "time-out, password=hunter2", "duration": "5s",
		"local": "10.1.2.3:41822", "peer": "orders-db:5432", "trace": "4bf92f3577b34da6", "severity": "error", "labels": {"attempt": "2"}}`
	f := newFake()
	w := send(f.handler(doorLoopback), http.MethodPost, "/v1/observations", one)
	if got := decode[map[string]int](t, w, http.StatusAccepted); got["accepted"] != 1 || len(f.observed) != 1 {
		t.Fatalf("%v, the timeline got %+v", got, f.observed)
	}
	e := f.observed[0]
	if e.Kind != "observation" || e.Source != "api" || e.Subject != "orders" || !e.Time.Equal(day.Add(250*time.Millisecond)) ||
		e.Text != "time-out, password=[redacted] after 5s (10.1.2.3:41822 → orders-db:5432)" {
		t.Errorf("the timeline got %+v", e)
	}
	var data map[string]any
	if err := json.Unmarshal(e.Data, &data); err != nil || data["trace"] != "4bf92f3577b34da6" || data["duration"] != "5s" ||
		strings.Contains(string(e.Data), "hunter2") || fmt.Sprint(data["labels"]) != "map[attempt:2]" {
		t.Errorf("data %s, %v", e.Data, err)
	}

	f = newFake()
	before := time.Now()
	w = send(f.handler(doorSocket), http.MethodPost, "/v1/observations", "{\"what\": \"a\", \"peer\": \"db:5432\"}\n\n{\"what\": \"b\",\n \"time\": \"-5s\"}{\"what\": \"c\"}\n")
	if got := decode[map[string]int](t, w, http.StatusAccepted); got["accepted"] != 3 || len(f.observed) != 3 {
		t.Fatalf("%v, the timeline got %+v", got, f.observed)
	}
	if a, b := f.observed[0], f.observed[1]; a.Subject != "db:5432" || a.Text != "a (? → db:5432)" || a.Time.Before(before) || b.Text != "b" || !b.Time.Before(before) {
		t.Errorf("the timeline got %+v", f.observed)
	}
}

// TestBadObservations refuses all of a request, and names the lines.
func TestBadObservations(t *testing.T) {
	good := `{"what": "x"}` + "\n"
	long := strings.Repeat("y", 300)
	for body, want := range map[string]string{
		"":                          "the body is empty",
		" \n":                       "the body is empty",
		"\xff":                      "not valid UTF-8",
		"what happened":             "line 1 is no JSON",
		good + good + "{":           "line 3 is no JSON",
		good + "\n" + `{"what": 5}`: "line 3: what has a value of the type number: send a text",
		"[" + `{"what": "x"}` + "]": "line 1: this is no object",
		"null":                      "line 1: this is no object",
		"{}":                        "line 1: what is missing",
		`{"what": " "}`:             "line 1: what is missing",
		`{"what": null}`:            "line 1: what is missing",
		`{"what": "x", "host": "a"}` + "\n" + good + `{"message": "x"}`: `line 1: unknown field "host": the fields are time, service`,
		`{"wha": "x"}`:                                         `put your own into labels`,
		`{"what": "x", "labels": {"a": 5}}`:                    `labels has a value of the type number: send {"NAME": "VALUE"}`,
		`{"what": "x", "labels": {"a b": "x"}}`:                `label "a b"`,
		`{"what": "x", "labels": ["a"]}`:                       "labels has a value of the type array",
		`{"what": "a\nb"}`:                                     "what has a line break",
		`{"what": "` + strings.Repeat("y", 1025) + `"}`:        "what has 1025 bytes: send 1024 or fewer",
		`{"what": "x", "service": "` + long + `"}`:             "service has 300 bytes",
		`{"what": "x", "peer": "` + long + `"}`:                "peer has 300 bytes",
		`{"what": "x", "local": "a\u0000"}`:                    "local has a line break",
		`{"what": "x", "duration": "5"}`:                       `duration "5" is none`,
		`{"what": "x", "duration": "-5s"}`:                     `duration "-5s" is none`,
		`{"what": "x", "duration": "25h"}`:                     `duration "25h" is none`,
		`{"what": "x", "time": "yesterday"}`:                   `time: "yesterday" is no time`,
		`{"what": "x", "time": "2199-01-01T00:00:00Z"}`:        "ahead of this node's clock",
		`{"what": "x", "time": "9999-01-01T00:00:00Z"}`:        "out of range",
		strings.Repeat(good, maxObservations+1):                "more than 1000 observations",
		strings.Repeat(`{"what": ""}`+"\n", maxObservations+1): "line 10: what is missing",
	} {
		f := newFake()
		w := send(f.handler(doorLoopback), http.MethodPost, "/v1/observations", body)
		if d := detail(t, w); w.Code != 400 || !strings.Contains(d, want) || len(d) > 4000 || len(f.observed) != 0 {
			t.Errorf("%.60q: %d %.300q, the timeline got %d; want %q", body, w.Code, d, len(f.observed), want)
		}
	}
	f := newFake()
	if w := send(f.handler(doorLoopback), http.MethodPost, "/v1/observations", strings.Repeat(good, maxObservations)); w.Code != 202 || len(f.observed) != maxObservations {
		t.Errorf("%d observations: %d, the timeline got %d", maxObservations, w.Code, len(f.observed))
	}
}

// TestObservationRate bounds what comes over TCP, apart from triggers: those of a talkative application hold up none.
func TestObservationRate(t *testing.T) {
	f := newFake()
	s := f.server(zap.NewNop())
	s.observers = rate.NewLimiter(0, 1)
	h := s.handler(s.newGuard(doorLoopback, "127.0.0.1:9409"))
	for i, want := range []int{202, 429, 429} {
		if w := send(h, http.MethodPost, "/v1/observations", `{"what": "x"}`); w.Code != want || want == 429 && w.Header().Get("Retry-After") != "1" {
			t.Errorf("request %d: %d with %v, want %d", i, w.Code, w.Header(), want)
		}
	}
	if w := send(h, http.MethodPost, "/v1/triggers", ""); w.Code != 202 {
		t.Errorf("a trigger beside them: %d", w.Code)
	}
	if w := send(s.handler(s.newGuard(doorSocket, "")), http.MethodPost, "/v1/observations", `{"what": "x"}`); w.Code != 202 {
		t.Errorf("over the socket: %d", w.Code)
	}
	if got := s.Stats().Refused; len(got) != 1 || got[0] != (RefusedStats{"rate", 2}) {
		t.Errorf("Stats().Refused = %v", got)
	}
}

// FuzzObservations: whatever is sent, it is refused in few words, or each event is one that the timeline can keep.
func FuzzObservations(f *testing.F) {
	for _, text := range []string{`{"what": "x"}`, "{}\n{}", `{"what":"x","time":"-1h","labels":{"a":"b"},"duration":"5s"}`, "[", "null", `{"what":"x"}{"what":5}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		events, err := parseObservations(body, day)
		if err != nil {
			if text := err.Error(); text == "" || len(text) > 64<<10 || events != nil {
				t.Fatalf("%d events with %.200q", len(events), err)
			}
			return
		}
		if len(events) == 0 || len(events) > maxObservations {
			t.Fatalf("%d events", len(events))
		}
		for _, e := range events {
			if _, err := json.Marshal(e); err != nil || e.Kind != "observation" || e.Text == "" || e.Time.After(day.Add(maxObservationAhead)) {
				t.Fatalf("event %+v: %v", e, err)
			}
		}
	})
}

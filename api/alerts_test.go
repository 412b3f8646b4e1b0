package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/trigger"
)

// alertBody is a notification of one alert that began a minute ago, as Alertmanager 0.25 posts it.
func alertBody(status string) string {
	return notification(alertOf(status, "Slow", time.Now().Add(-time.Minute)))
}

func notification(alerts ...string) string {
	return `{"receiver":"ringside","status":"firing","alerts":[` + strings.Join(alerts, ",") + `],"groupLabels":{},"commonLabels":{},"commonAnnotations":{},
		"externalURL":"http://am:9093","version":"4","groupKey":"{}:{}","truncatedAlerts":0}`
}

func alertOf(status, name string, begun time.Time) string {
	ends := "0001-01-01T00:00:00Z"
	if status == "resolved" {
		ends = begun.Add(30 * time.Second).Format(time.RFC3339Nano)
	}
	return fmt.Sprintf(`{"status":%q,"labels":{"alertname":%q,"severity":"page"},"annotations":{"summary":"x"},"startsAt":%q,"endsAt":%q,
		"generatorURL":"http://p:9090/graph","fingerprint":"e9c1f0d1b4c0d6a1"}`, status, name, begun.Format(time.RFC3339Nano), ends)
}

type alertAnswer struct{ Alerts []AlertOutcome }

// TestAlerts passes on what fires, and notes what is resolved.
func TestAlerts(t *testing.T) {
	f := newFake()
	f.report.Spool.Oldest = time.Now().Add(-time.Hour)
	begun := time.Now().Add(-time.Minute).UTC()
	body := notification(alertOf("firing", "Slow", begun), alertOf("resolved", "Down", begun), alertOf("firing", "Ancient", begun.Add(-25*time.Hour)))
	w := send(f.handler(doorLoopback), http.MethodPost, "/v1/alertmanager", body)
	got := decode[alertAnswer](t, w, http.StatusOK)
	want := []AlertOutcome{
		{Alert: "Slow", Fingerprint: "e9c1f0d1b4c0d6a1", Outcome: alertAccepted, ID: mergedID, Incident: incidentID},
		{Alert: "Down", Fingerprint: "e9c1f0d1b4c0d6a1", Outcome: alertResolved},
		{Alert: "Ancient", Fingerprint: "e9c1f0d1b4c0d6a1", Outcome: alertOld},
	}
	if !reflect.DeepEqual(got.Alerts, want) {
		t.Errorf("got  %+v\nwant %+v", got.Alerts, want)
	}
	if len(f.engine.requests) != 1 {
		t.Fatalf("the engine got %+v", f.engine.requests)
	}
	r := f.engine.requests[0]
	if r.Reason != "Slow" || !r.At.Equal(begun) || r.Source != trigger.SourceAlert || r.Client != "192.0.2.1" || r.Labels["severity"] != "page" || r.Labels["starts_at"] != "" {
		t.Errorf("the engine got %+v", r)
	}
	if len(f.observed) != 1 {
		t.Fatalf("the timeline got %+v", f.observed)
	}
	if e := f.observed[0]; e.Kind != "alert.resolved" || e.Subject != "Down" || !e.Time.Equal(begun.Add(30*time.Second)) || !strings.Contains(string(e.Data), "e9c1f0d1b4c0d6a1") {
		t.Errorf("the timeline got %+v with %s", e, e.Data)
	}
}

// TestAlertRefusals: Alertmanager is told to come again where that helps, and only there. It does so after 5xx alone.
func TestAlertRefusals(t *testing.T) {
	for _, c := range []struct {
		kind          string
		status, want  int
		outcome, note string
	}{
		{trigger.RefusedCooldown, 429, 200, alertSuppressed, ""},
		{trigger.RefusedHourly, 429, 200, alertSuppressed, ""},
		{trigger.RefusedDaily, 429, 200, alertSuppressed, ""},
		{trigger.RefusedCrowded, 429, 200, alertSuppressed, ""},
		{trigger.RefusedInvalid, 400, 200, alertRefused, ""},
		{trigger.RefusedRate, 429, 503, "", "0 of 2 alerts were looked at; send all of them again: why"},
		{trigger.RefusedFailed, 503, 503, "", "0 of 2 alerts were looked at; send all of them again: why"},
		{trigger.RefusedFailed, 507, 507, "", "0 of 2 alerts were looked at; send all of them again: why"},
		{trigger.RefusedPinned, 507, 507, "", "0 of 2 alerts were looked at; send all of them again: why"},
	} {
		f := newFake()
		f.engine.refusal = &trigger.Refusal{Status: c.status, Kind: c.kind, Detail: "why", Retry: 2 * time.Second}
		begun := time.Now().Add(-time.Minute)
		w := send(f.handler(doorSocket), http.MethodPost, "/v1/alertmanager", notification(alertOf("firing", "Slow", begun), alertOf("resolved", "Down", begun)))
		if c.want != 200 {
			if w.Code != c.want || detail(t, w) != c.note || w.Header().Get("Retry-After") != "2" || len(f.observed) != 0 {
				t.Errorf("%s: %d %s with %v, the timeline got %+v; want %d %q and nothing", c.kind, w.Code, w.Body, w.Header(), f.observed, c.want, c.note)
			}
			continue
		}
		got := decode[alertAnswer](t, w, http.StatusOK).Alerts
		if len(got) != 2 || got[0].Outcome != c.outcome || got[0].Why != "why" || got[1].Outcome != alertResolved || len(f.observed) != 1 {
			t.Errorf("%s: %+v, the timeline got %+v", c.kind, got, f.observed)
		}
	}
}

// TestHostileAlerts: what is no notification is refused as that, counted, and reaches neither engine nor timeline.
func TestHostileAlerts(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 100_000)
	for body, want := range map[string]int{
		"": 400, "{": 400, "null": 400, "[]": 400, "5": 400, "{}": 400, `{"alerts": null}`: 400, `{"alerts": {}}`: 400, `{"alerts": [5]}`: 400, "\xff": 400,
		`{"alerts": [{"labels": ["a"]}]}`: 400, `{"alerts": [{"labels": {"a": 5}}]}`: 400, `{"alerts": [{"startsAt": "yesterday"}]}`: 400, deep: 400,
		`{"alerts": [` + strings.Repeat("{},", maxObservations) + "{}]}": 400,
		`{"alerts": [], "x": "` + strings.Repeat("y", 1<<20) + `"}`:      413,
	} {
		f := newFake()
		w := send(f.handler(doorLoopback), http.MethodPost, "/v1/alertmanager", body)
		if d := detail(t, w); w.Code != want || len(d) > 500 || w.Header().Get("Connection") != "close" {
			t.Errorf("%.60q: %d %.300q, Connection %q, want %d", body, w.Code, d, w.Header().Get("Connection"), want)
		}
		if len(f.engine.requests) != 0 || len(f.observed) != 0 || len(f.engine.suppressed) != 1 || f.engine.suppressed[0] != "alertmanager//invalid" {
			t.Errorf("%.60q: the engine got %v, the timeline %v, %v were counted", body, f.engine.requests, f.observed, f.engine.suppressed)
		}
	}
	for _, alert := range []string{
		`{}`, `{"status": "firing", "startsAt": "2999-01-01T00:00:00Z"}`, `{"status": "resolved", "endsAt": "0000-01-01T00:00:00+23:59"}`,
		`{"status": "resolved", "endsAt": "9999-12-31T23:59:59-23:59"}`, `{"status": "firing", "startsAt": "0000-01-01T00:00:00+23:59", "labels": {"a": "\u0000\ud800"}}`,
	} {
		f := newFake()
		if w := send(f.handler(doorLoopback), http.MethodPost, "/v1/alertmanager", notification(alert)); w.Code != 200 {
			t.Errorf("%s: %d %s", alert, w.Code, w.Body)
		}
		for _, e := range f.observed {
			if _, err := json.Marshal(e); err != nil {
				t.Errorf("%s: the timeline got %+v: %v", alert, e, err)
			}
		}
	}
}

// TestAlertRate has Alertmanager come again, for it drops what is answered with 429, and counts what it held back.
func TestAlertRate(t *testing.T) {
	f := newFake()
	srv := f.server(zap.NewNop())
	srv.anonymous = rate.NewLimiter(0, 10)
	h := srv.handler(srv.newGuard(doorLoopback, "127.0.0.1:9409"))
	codes := map[int]int{}
	for range 30 {
		codes[send(h, http.MethodPost, "/v1/alertmanager", notification()).Code]++
	}
	if codes[200] != 10 || codes[503] != 20 {
		t.Errorf("answers %v, want 10 times 200 and then 503", codes)
	}
	if n := len(f.engine.suppressed); n != 20 || f.engine.suppressed[0] != "alertmanager//rate" {
		t.Errorf("counted %v, want 20 times the rate", f.engine.suppressed)
	}
}

// TestAnchor keeps what is left of the time of an alert: now, if the spool does not reach back to its begin.
func TestAnchor(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		oldest, begun time.Time
		moved         bool
	}{
		"within":    {now.Add(-time.Hour), now.Add(-time.Minute), false},
		"before":    {now.Add(-time.Minute), now.Add(-time.Hour), true},
		"empty":     {time.Time{}, now.Add(-time.Minute), true},
		"to come":   {now.Add(-time.Hour), now.Add(time.Hour), true},
		"yesterday": {now.Add(-48 * time.Hour), now.Add(-23 * time.Hour), false},
	} {
		f := newFake()
		f.report.Spool.Oldest = c.oldest
		if w := send(f.handler(doorSocket), http.MethodPost, "/v1/alertmanager", notification(alertOf("firing", "Slow", c.begun))); w.Code != 200 || len(f.engine.requests) != 1 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
			continue
		}
		r := f.engine.requests[0]
		if _, moved := r.Labels["starts_at"]; moved != c.moved || !moved && !r.At.Equal(c.begun) || moved && r.At.Before(now) {
			t.Errorf("%s: at %v with %v, want it moved: %v", name, r.At, r.Labels, c.moved)
		}
		if at, ok := trigger.IDTime(r.ID); !ok || !at.Equal(c.begun.UTC().Truncate(time.Microsecond)) {
			t.Errorf("%s: the id %s is not of %v", name, r.ID, c.begun)
		}
	}
}

// TestNoTimeline says that there is none.
func TestNoTimeline(t *testing.T) {
	f := newFake()
	sources := f.sources()
	sources.Observe, sources.Timeline, sources.Follow = nil, nil, nil
	s := newServer(Config{Socket: "/run/r.sock"}, sources, zap.NewNop())
	h := s.handler(s.newGuard(doorSocket, ""))
	for _, r := range []struct{ method, target string }{
		{"POST", "/v1/alertmanager"}, {"POST", "/v1/observations"}, {"GET", "/v1/timeline"}, {"GET", "/v1/timeline?follow"},
	} {
		if w := send(h, r.method, r.target, bodyOf(r.target)); w.Code != 503 || !strings.Contains(detail(t, w), "ringside run") {
			t.Errorf("%s: %d %s", r.target, w.Code, w.Body)
		}
	}
}

// TestWatchers shows what watches the host, and what cannot; a node is ready all the same.
func TestWatchers(t *testing.T) {
	f := newFake()
	f.report.Watchers = []hoststate.WatcherStatus{
		{Name: "conntrack", State: hoststate.StateOn, Since: day, Events: 7, Blind: []string{"entries older than the recorder end unseen: set net.netfilter.nf_conntrack_events=1"}},
		{Name: "units", State: hoststate.StateOff, Since: day, Why: "no D-Bus here: mount /run/dbus into the container"},
	}
	w := get(f.handler(doorSocket), "/readyz?verbose")
	for _, want := range []string{
		"WATCHER    STATE    SINCE                 EVENTS  WHY\n",
		"conntrack  running  2026-11-22T03:00:00Z  7       -\n",
		"           blind                                  entries older than the recorder end unseen: set net.netfilter.nf_conntrack_events=1\n",
		"units      off      2026-11-22T03:00:00Z  0       no D-Bus here: mount /run/dbus into the container\n",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%d\n%s\nwithout\n%s", w.Code, w.Body, want)
		}
	}
	if r := decode[Report](t, get(f.handler(doorSocket), "/readyz?format=json"), http.StatusOK); !reflect.DeepEqual(r.Watchers, f.report.Watchers) {
		t.Errorf("as JSON: %+v", r.Watchers)
	}
	if w := get(f.handler(doorBeyond), "/readyz?verbose"); w.Code != 200 || strings.Contains(w.Body.String(), "WATCHER") {
		t.Errorf("shown beyond loopback: %d %s", w.Code, w.Body)
	}
}

// TestDetection shows how packets are looked at, to those who may see it.
func TestDetection(t *testing.T) {
	f := newFake()
	f.report.Detection = &Detection{State: hoststate.StateOn, Packets: 900, Skipped: 7, Findings: 2, Conversations: 41, CoveredTo: day}
	const want = "DETECTION  PACKETS  SKIPPED  FINDINGS  CONNECTIONS  COVERED TO            WHY\n" +
		"running    900      7        2         41           2026-11-22T03:00:00Z  -\n"
	if w := get(f.handler(doorSocket), "/readyz?verbose"); !strings.Contains(w.Body.String(), want) {
		t.Errorf("%d\n%s\nwithout\n%s", w.Code, w.Body, want)
	}
	if r := decode[Report](t, get(f.handler(doorSocket), "/readyz?format=json"), http.StatusOK); !reflect.DeepEqual(r.Detection, f.report.Detection) {
		t.Errorf("as JSON: %+v", r.Detection)
	}
	if w := get(f.handler(doorBeyond), "/readyz?verbose"); w.Code != 200 || strings.Contains(w.Body.String(), "DETECTION") {
		t.Errorf("shown beyond loopback: %d %s", w.Code, w.Body)
	}
}

package trigger

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"
)

// notificationFile is what Alertmanager 0.25 posted.
const notificationFile = "testdata/alertmanager.json"

func TestParseAlerts(t *testing.T) {
	text, err := os.ReadFile(notificationFile)
	if err != nil {
		t.Fatal(err)
	}
	alerts, err := ParseAlerts(text)
	if err != nil || len(alerts) != 2 {
		t.Fatalf("%+v, %v", alerts, err)
	}
	a := alerts[0]
	if a.Status != "firing" || a.Name() != "SlowCheckout" || a.Fingerprint == "" || a.StartsAt.IsZero() || a.StartsAt.Nanosecond() == 0 || !a.EndsAt.IsZero() || a.Labels["severity"] != "page" {
		t.Errorf("%+v", a)
	}
	if b := alerts[1]; b.Status != "resolved" || !b.EndsAt.After(b.StartsAt) || b.Fingerprint == a.Fingerprint {
		t.Errorf("%+v", b)
	}
}

// TestAlertRequest: whatever an alert says of itself, its request is in order, and its id tells it from others.
func TestAlertRequest(t *testing.T) {
	now := time.Now()
	begun := now.Add(-time.Minute)
	many := map[string]string{"alertname": "Slow", "instance": "10.0.0.1:9100", "severity": "page"}
	for i := range 100 {
		many[fmt.Sprintf("a%02d", i)] = "x"
	}
	for name, a := range map[string]Alert{
		"plain":     {Labels: map[string]string{"alertname": "Slow", "pod": "a-1"}, StartsAt: begun, Fingerprint: "1"},
		"nameless":  {StartsAt: begun, Fingerprint: "1"},
		"long":      {Labels: map[string]string{"alertname": strings.Repeat("ü", 300), "x": strings.Repeat("ü\n", 3000), strings.Repeat("y", 100): "z", "a b": "c"}, StartsAt: begun},
		"many":      {Labels: many, StartsAt: begun},
		"blank":     {Labels: map[string]string{"alertname": " \n", "x": ""}, StartsAt: begun},
		"yesterday": {StartsAt: now.Add(-24*time.Hour + 2*time.Minute)},
		"to come":   {StartsAt: now.Add(time.Hour)},
	} {
		if a.Old(now) {
			t.Errorf("%s is old", name)
		}
		r := a.Request(now, now.Add(-time.Hour))
		if err := r.Check(now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !(Alert{StartsAt: now.Add(-24 * time.Hour)}).Old(now) || !(Alert{}).Old(now) {
		t.Error("what began a day ago is not old")
	}
	r := Alert{Labels: many, StartsAt: begun}.Request(now, begun)
	if !r.At.Equal(begun) || len(r.Labels) != maxLabels-ownLabels || r.Labels["instance"] == "" || r.Labels["severity"] == "" || r.Labels["a99"] != "" {
		t.Errorf("%+v", r)
	}
	moved := Alert{Labels: many, StartsAt: begun}.Request(now, begun.Add(1))
	if !moved.At.Equal(now) || moved.Labels["starts_at"] != begun.UTC().Format(time.RFC3339Nano) || moved.ID != r.ID {
		t.Errorf("%+v", moved)
	}
	ids := map[string]bool{}
	for _, a := range []Alert{
		{Fingerprint: "1", StartsAt: begun}, {Fingerprint: "2", StartsAt: begun}, {Fingerprint: "1", StartsAt: begun.Add(time.Second)},
		{StartsAt: begun}, {Labels: map[string]string{"a": "b"}, StartsAt: begun}, {Labels: map[string]string{"a": "c"}, StartsAt: begun},
	} {
		ids[a.Request(now, begun).ID] = true
		if again := a.Request(now.Add(time.Hour), time.Time{}); !ids[again.ID] {
			t.Errorf("%+v has another id an hour later: %s", a, again.ID)
		}
	}
	if len(ids) != 6 {
		t.Errorf("six alerts have the ids %v", ids)
	}
}

// TestAlertsRepeat: Alertmanager repeats what fires, for hours and over a restart: it is one incident.
func TestAlertsRepeat(t *testing.T) {
	within(t, Config{}, func(b *bench) {
		a := Alert{Status: "firing", Fingerprint: "1", StartsAt: time.Now().Add(-time.Minute), Labels: map[string]string{"alertname": "Slow"}}
		first, err := b.Accept(b.Context(), a.Request(time.Now(), b.spool.oldest))
		if err != nil || first.Known || !first.From.Equal(a.StartsAt.Add(-2*time.Minute).UTC()) {
			b.Fatalf("%+v, %v", first, err)
		}
		for i := range 30 {
			if i == 10 {
				b.stop()
				b.start(Config{})
			}
			again, err := b.Accept(b.Context(), a.Request(time.Now(), b.spool.oldest))
			if err != nil || again.ID != first.ID || !again.Known {
				b.Fatalf("after %v: %+v, %v", time.Since(a.StartsAt), again, err)
			}
			if i == 5 {
				if err := b.Stored(first.ID, Stored{At: time.Now()}); err != nil {
					b.Fatal(err)
				}
			}
			time.Sleep(45 * time.Minute)
		}
		if n := len(b.Incidents()); n != 1 || !maps.Equal(b.Stats().Refused, map[Refused]uint64{}) {
			b.Errorf("%d incidents, refused %v", n, b.Stats().Refused)
		}
		time.Sleep(2 * time.Hour)
		if !a.Old(time.Now()) {
			b.Error("a day later it is not old")
		}
	})
}

// FuzzAlerts: whatever is posted, it is refused in few words, or each of its alerts makes a request that is in order.
func FuzzAlerts(f *testing.F) {
	text, err := os.ReadFile(notificationFile)
	if err != nil {
		f.Fatal(err)
	}
	for _, body := range []string{string(text), "{}", `{"alerts":[{}]}`, `{"alerts":[{"labels":{"a":"\u0000"},"startsAt":"2026-11-22T03:00:00Z"}]}`, "[]", "null"} {
		f.Add([]byte(body))
	}
	now := time.Date(2026, 11, 22, 3, 1, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, body []byte) {
		alerts, err := ParseAlerts(body)
		if err != nil {
			if text := err.Error(); len(text) > 1000 || !printable(text) || alerts != nil {
				t.Fatalf("%d alerts with %.200q", len(alerts), text)
			}
			return
		}
		for _, a := range alerts {
			if a.Old(now) || a.StartsAt.After(now.Add(maxIDOffset)) {
				continue
			}
			if err := a.Request(now, now.Add(-time.Hour)).Check(now); err != nil {
				t.Fatalf("%+v: %v", a, err)
			}
		}
	})
}

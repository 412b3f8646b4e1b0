package trigger

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of what Alertmanager posts. A group of alerts that is larger is cut by max_alerts of its receiver.
const (
	MaxAlertBody = 1 << 20 // bytes
	maxAlerts    = 1000
)

// Alert is one alert of a notification by Alertmanager.
type Alert struct {
	Status      string            `json:"status"` // "firing" or "resolved"
	Labels      map[string]string `json:"labels"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"` // of a resolved one; zero otherwise
	Fingerprint string            `json:"fingerprint"`
}

// ParseAlerts reads what Alertmanager posts to a webhook (version 4). Unknown fields are ignored, here and in the alerts:
// later versions have more. The error is a *Refusal.
func ParseAlerts(body []byte) ([]Alert, error) {
	var notification struct{ Alerts *[]Alert }
	switch err := json.Unmarshal(body, &notification); {
	case len(body) > MaxAlertBody:
		return nil, invalid("the notification has %d bytes: %d are taken, set max_alerts of the receiver", len(body), MaxAlertBody)
	case err != nil || !utf8.Valid(body):
		return nil, invalid("this is no notification of Alertmanager: %s: post what its webhook_config posts (version 4)", oneLine(fmt.Sprint(err), 120))
	case notification.Alerts == nil:
		return nil, invalid("this is no notification of Alertmanager, for it has no alerts: post what its webhook_config posts (version 4)")
	case len(*notification.Alerts) > maxAlerts:
		return nil, invalid("the notification has %d alerts: %d are taken, set max_alerts of the receiver", len(*notification.Alerts), maxAlerts)
	}
	return *notification.Alerts, nil
}

// Name is the alert's name, in one line.
func (a Alert) Name() string {
	if name := oneLine(a.Labels["alertname"], maxReasonBytes); name != "" {
		return name
	}
	return "an alert without a name"
}

// Old says that an alert began too long ago to be told from one that was a trigger already: Alertmanager repeats alerts for as
// long as they fire, and the engine remembers a day.
func (a Alert) Old(now time.Time) bool { return now.Sub(a.StartsAt) > maxIDOffset-time.Minute }

// Request asks for the window around the moment at which the alert began. Where the spool does not reach back to it (oldest
// is where it begins, zero if it is empty), or the moment is yet to come, the window is around now, and the label starts_at
// names the moment. The id follows from fingerprint and begin: repeated notifications are one trigger, and several nodes have one incident.
func (a Alert) Request(now, oldest time.Time) Request {
	r := Request{Reason: a.Name(), At: a.StartsAt, Labels: a.labels(), Source: SourceAlert}
	r.ID = madeID(a.StartsAt, a.identity())
	if oldest.IsZero() || r.At.Before(oldest) || r.At.After(now) {
		r.At = now
		r.Labels["starts_at"] = a.StartsAt.UTC().Format(time.RFC3339Nano)
	}
	return r
}

// identity is what tells the alert from others that began at the same time.
func (a Alert) identity() string {
	if a.Fingerprint != "" {
		return a.Fingerprint
	}
	text, _ := json.Marshal(a.Labels) // sorted; a map of strings cannot fail
	return string(text)
}

// firstLabels are kept where an alert has more labels than a trigger may have.
var firstLabels = []string{"alertname", "severity", "cluster", "namespace", "service", "job", "node", "pod", "instance"}

// labels are the alert's as a trigger may have them: long values are cut, names that no label may have and what is too
// much are left out.
func (a Alert) labels() map[string]string {
	names := slices.SortedFunc(maps.Keys(a.Labels), func(x, y string) int {
		if d := rank(x) - rank(y); d != 0 {
			return d
		}
		return strings.Compare(x, y)
	})
	labels := map[string]string{}
	for _, name := range names {
		if labelPattern.MatchString(name) && len(labels) < maxLabels-ownLabels {
			labels[name] = oneLine(a.Labels[name], maxLabel)
		}
	}
	return labels
}

func rank(name string) int {
	if i := slices.Index(firstLabels, name); i >= 0 {
		return i
	}
	return len(firstLabels)
}

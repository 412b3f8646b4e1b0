package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/trigger"
)

// AlertOutcome is what became of one alert of a notification.
type AlertOutcome struct {
	Alert       string `json:"alert"` // its name
	Fingerprint string `json:"fingerprint"`
	Outcome     string `json:"outcome"`            // one of the below
	ID          string `json:"id,omitempty"`       // of the trigger
	Incident    string `json:"incident,omitempty"` // which that belongs to
	Why         string `json:"why,omitempty"`      // it was suppressed or refused
}

// Outcomes of alerts.
const (
	alertAccepted   = "accepted"   // a trigger now
	alertKnown      = "known"      // one already
	alertSuppressed = "suppressed" // refused by a cool-down or a budget
	alertRefused    = "refused"    // not such that it could be a trigger
	alertOld        = "old"        // it began too long ago to tell whether it was one
	alertResolved   = "resolved"   // on the timeline
)

// postAlerts makes a trigger of each alert that fires. It answers 200 if nothing would be better by another attempt, and 503
// or 507 if that is worth one, for Alertmanager tries again after these alone: what was accepted is then known.
func (s *Server) postAlerts(w http.ResponseWriter, req *http.Request) {
	alerts, p := s.readAlerts(w, req)
	if p != nil {
		if s.sources.Suppress != nil {
			s.sources.Suppress(trigger.SourceAlert, "", p.Kind)
		}
		w.Header().Set("Connection", "close")
		p.write(w)
		return
	}
	if s.sources.Trigger == nil || s.sources.Observe == nil {
		fail(w, http.StatusServiceUnavailable, "this recorder takes no alerts: start it with ringside run")
		return
	}
	now := time.Now()
	oldest := s.sources.Report().Spool.Oldest
	outcomes := []AlertOutcome{}
	var resolved []hoststate.Event
	for _, a := range alerts {
		if a.Status == "resolved" {
			resolved = append(resolved, resolvedEvent(a, now))
			outcomes = append(outcomes, AlertOutcome{Alert: a.Name(), Fingerprint: a.Fingerprint, Outcome: alertResolved})
			continue
		}
		o, later := s.acceptAlert(req, a, now, oldest)
		if later != nil {
			setRetryAfter(w, later.Retry)
			problem{Status: later.Status, Kind: later.Kind, Detail: fmt.Sprintf("%d of %d alerts were looked at; send all of them again: %s",
				len(outcomes), len(alerts), later.Detail)}.write(w)
			return
		}
		outcomes = append(outcomes, o)
	}
	s.sources.Observe(resolved...)
	writeJSON(w, http.StatusOK, map[string][]AlertOutcome{"alerts": outcomes})
}

// readAlerts reads the notification in the body, or says why it is none. One that comes too soon is worth another attempt.
func (s *Server) readAlerts(w http.ResponseWriter, req *http.Request) ([]trigger.Alert, *problem) {
	if c := clientOf(req); c.door != doorSocket && !s.triggersOf(c).Allow() {
		setRetryAfter(w, time.Second)
		return nil, &problem{Status: http.StatusServiceUnavailable, Kind: trigger.RefusedRate,
			Detail: fmt.Sprintf("more than %v triggers a second: raise group_interval of the receiver, or trigger.http_rate", s.cfg.TriggerRate)}
	}
	body, p := readBody(w, req, trigger.MaxAlertBody, "a notification", "set max_alerts of the receiver")
	if p != nil {
		p.Kind = trigger.RefusedInvalid
		return nil, p
	}
	alerts, err := trigger.ParseAlerts(body)
	if err != nil {
		refusal := refusalOf(err)
		return nil, &problem{Status: refusal.Status, Kind: refusal.Kind, Detail: refusal.Detail}
	}
	return alerts, nil
}

// acceptAlert has one alert accepted or refused. later is a refusal that may not be one the next time.
func (s *Server) acceptAlert(req *http.Request, a trigger.Alert, now, oldest time.Time) (o AlertOutcome, later *trigger.Refusal) {
	o = AlertOutcome{Alert: a.Name(), Fingerprint: a.Fingerprint}
	if a.Old(now) {
		o.Outcome = alertOld
		return o, nil
	}
	r := a.Request(now, oldest)
	r.Client = clientOf(req).who
	receipt, err := s.sources.Trigger(req.Context(), r)
	if err == nil {
		o.Outcome, o.ID, o.Incident = alertAccepted, receipt.ID, receipt.Incident
		if receipt.Known {
			o.Outcome = alertKnown
		}
		return o, nil
	}
	refusal := *refusalOf(err)
	o.Why = refusal.Detail
	switch {
	case refusal.Kind == trigger.RefusedRate:
		refusal.Status = http.StatusServiceUnavailable
		return o, &refusal
	case refusal.Status >= 500:
		return o, &refusal
	case refusal.Status == http.StatusTooManyRequests:
		o.Outcome = alertSuppressed
	default:
		o.Outcome = alertRefused
	}
	return o, nil
}

// resolvedEvent is what the timeline says of an alert that is over.
func resolvedEvent(a trigger.Alert, now time.Time) hoststate.Event {
	e := hoststate.Event{Time: a.EndsAt, Kind: "alert.resolved", Source: trigger.SourceAlert, Subject: a.Name()}
	if e.Time.Year() < firstYear || e.Time.After(now) {
		e.Time = now
	}
	e.Text = fmt.Sprintf("the alert %s is resolved; it began at %s", e.Subject, stamp(a.StartsAt))
	e.Data, _ = json.Marshal(a) // of times that JSON had
	return e
}

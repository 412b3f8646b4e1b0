package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/trigger"
)

// Bounds of observations.
const (
	maxObservations     = 1000    // of a request
	maxObservationBody  = 1 << 20 // bytes
	maxWhat             = 1024    // bytes
	maxField            = 256     // bytes of the others
	maxObservationAhead = time.Minute
	maxObserved         = 24 * time.Hour // of a duration
	maxProblems         = 10             // that a refusal names
)

// observation is what an application or a person saw, as it is sent. Its event has these fields as its data.
type observation struct {
	Time     string            `json:"time,omitempty"` // RFC 3339, now, or -5m; default now
	Service  string            `json:"service,omitempty"`
	What     string            `json:"what"`
	Duration string            `json:"duration,omitempty"` // 5s, 250ms
	Local    string            `json:"local,omitempty"`    // address and port of the connection on this side
	Peer     string            `json:"peer,omitempty"`     // and on the other, or its name
	Trace    string            `json:"trace,omitempty"`
	Severity string            `json:"severity,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
}

const observationFields = "time, service, what, duration, local, peer, trace, severity, labels"

// postObservations takes what was seen, all of it or nothing, and answers 202 when the timeline has it.
func (s *Server) postObservations(w http.ResponseWriter, req *http.Request) {
	if c := clientOf(req); c.door != doorSocket && !s.observers.Allow() {
		s.stats.refused(refusedRate)
		setRetryAfter(w, time.Second)
		problem{Status: http.StatusTooManyRequests, Kind: refusedRate, Detail: fmt.Sprintf("more than %v requests with observations a second: "+
			"send several in one, a line each, or raise trigger.http_rate", s.cfg.TriggerRate)}.write(w)
		return
	}
	body, p := readBody(w, req, maxObservationBody, "a request with observations", "send them in several")
	if p != nil {
		w.Header().Set("Connection", "close")
		p.write(w)
		return
	}
	events, err := parseObservations(body, time.Now())
	switch {
	case err != nil:
		fail(w, http.StatusBadRequest, "%v", err)
	case s.sources.Observe == nil:
		fail(w, http.StatusServiceUnavailable, "%v", errNoTimeline)
	default:
		s.sources.Observe(events...)
		writeJSON(w, http.StatusAccepted, map[string]int{"accepted": len(events)})
	}
}

// parseObservations reads JSON objects that follow each other, each on a line or on several. The error names the lines of
// all that are wrong.
func parseObservations(body []byte, now time.Time) (events []hoststate.Event, err error) {
	if !utf8.Valid(body) {
		return nil, errors.New("the body is not valid UTF-8: send JSON in UTF-8")
	}
	var wrong []string
	in := json.NewDecoder(bytes.NewReader(body))
	line, counted := 1, 0
	for len(wrong) < maxProblems {
		rest := bytes.TrimLeft(body[in.InputOffset():], " \t\r\n")
		begin := len(body) - len(rest)
		line += bytes.Count(body[counted:begin], []byte("\n"))
		counted = begin
		var value json.RawMessage
		if err := in.Decode(&value); err == io.EOF {
			break
		} else if err != nil { // nothing behind it can be read
			wrong = append(wrong, fmt.Sprintf("line %d is no JSON: %v: send one object a line", line, err))
			break
		}
		if len(events) == maxObservations {
			return nil, fmt.Errorf("there are more than %d observations: send them in several requests", maxObservations)
		}
		e, err := parseObservation(value, now)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("line %d: %v", line, err))
		}
		events = append(events, e)
	}
	switch {
	case wrong != nil:
		return nil, errors.New(strings.Join(wrong, "; "))
	case events == nil:
		return nil, errors.New(`the body is empty: send {"what": "what was seen"}`)
	}
	return events, nil
}

// parseObservation makes an event of one JSON value.
func parseObservation(value json.RawMessage, now time.Time) (e hoststate.Event, err error) {
	var o observation
	if value[0] != '{' {
		return e, errors.New(`this is no object: send {"what": "what was seen"}`)
	}
	in := json.NewDecoder(bytes.NewReader(value))
	in.DisallowUnknownFields()
	if err := in.Decode(&o); err != nil {
		return e, fieldError(err)
	}
	if err := o.check(now); err != nil {
		return e, err
	}
	return o.event(now)
}

// fieldError says in the words of the API what encoding/json found.
func fieldError(err error) error {
	var typed *json.UnmarshalTypeError
	if errors.As(err, &typed) {
		cure := "send a text, in quotation marks"
		if typed.Field == "labels" {
			cure = `send {"NAME": "VALUE"}`
		}
		return fmt.Errorf("%s has a value of the type %s: %s", typed.Field, typed.Value, cure)
	}
	return fmt.Errorf("%s: the fields are %s, put your own into labels", strings.TrimPrefix(err.Error(), "json: "), observationFields)
}

// check holds the values against their bounds.
func (o *observation) check(now time.Time) error {
	if strings.TrimSpace(o.What) == "" {
		return errors.New(`what is missing: say what was seen, such as "time-out after 5 s"`)
	}
	for _, f := range []struct {
		name, value string
		most        int
	}{
		{"what", o.What, maxWhat}, {"service", o.Service, maxField}, {"local", o.Local, maxField}, {"peer", o.Peer, maxField}, {"trace", o.Trace, maxField},
		{"severity", o.Severity, maxField},
	} {
		if len(f.value) > f.most {
			return fmt.Errorf("%s has %d bytes: send %d or fewer", f.name, len(f.value), f.most)
		}
		if strings.ContainsFunc(f.value, func(c rune) bool { return !unicode.IsPrint(c) }) {
			return fmt.Errorf("%s has a line break or another character that cannot be printed: remove it", f.name)
		}
	}
	if d, err := time.ParseDuration(o.Duration); o.Duration != "" && (err != nil || d < 0 || d > maxObserved) {
		return fmt.Errorf("duration %.40q is none up to %v: write a number and a unit, such as 5s or 250ms", o.Duration, maxObserved)
	}
	return trigger.Request{Labels: o.Labels}.Check(now)
}

// event is what the timeline gets, in the same words as from a log of observations.
func (o *observation) event(now time.Time) (e hoststate.Event, err error) {
	e = hoststate.Event{Time: now, Kind: "observation", Source: "api", Subject: o.Service}
	if o.Time != "" {
		if e.Time, err = ParseTime(o.Time, now); err != nil {
			return e, fmt.Errorf("time: %w", err)
		}
		if e.Time.After(now.Add(maxObservationAhead)) {
			return e, fmt.Errorf("time %.40q is ahead of this node's clock: send the time at which it was seen, or none", o.Time)
		}
	}
	o.Time = "" // the event has it
	if e.Subject == "" {
		e.Subject = o.Peer
	}
	o.What = hoststate.Redact(o.What)
	e.Text = o.What
	if o.Duration != "" {
		e.Text += " after " + o.Duration
	}
	if o.Local != "" || o.Peer != "" {
		e.Text += fmt.Sprintf(" (%s → %s)", orUnknown(o.Local), orUnknown(o.Peer))
	}
	e.Data, err = json.Marshal(o)
	return e, err
}

func orUnknown(s string) string {
	if s == "" {
		return "?"
	}
	return s
}

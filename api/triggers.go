package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/ringside/ringside/trigger"
)

// postTrigger passes a trigger on, and answers 202 when it is kept.
func (s *Server) postTrigger(w http.ResponseWriter, req *http.Request) {
	r, p := s.readTrigger(w, req)
	if p != nil {
		s.suppress(req, r.Reason, p.Kind)
		if p.Status != http.StatusTooManyRequests { // what was not read of the body would be taken for the next request
			w.Header().Set("Connection", "close")
		}
		p.write(w)
		return
	}
	if s.sources.Trigger == nil {
		fail(w, http.StatusServiceUnavailable, "this recorder takes no triggers: start it with ringside run")
		return
	}
	receipt, err := s.sources.Trigger(req.Context(), r)
	if err != nil {
		refusal := refusalOf(err)
		setRetryAfter(w, refusal.Retry)
		problem{Status: refusal.Status, Kind: refusal.Kind, Detail: refusal.Detail}.write(w)
		return
	}
	w.Header().Set("Location", "/v1/incidents/"+receipt.Incident)
	writeJSON(w, http.StatusAccepted, receipt)
}

// readTrigger reads the request in the body, or says why it is none. Its rate is looked at before its body is.
func (s *Server) readTrigger(w http.ResponseWriter, req *http.Request) (trigger.Request, *problem) {
	var none trigger.Request
	if c := clientOf(req); c.door != doorSocket && !s.triggersOf(c).Allow() {
		setRetryAfter(w, time.Second)
		return none, &problem{Status: http.StatusTooManyRequests, Kind: trigger.RefusedRate,
			Detail: fmt.Sprintf("more than %v triggers a second: send fewer, or raise trigger.http_rate", s.cfg.TriggerRate)}
	}
	body, p := readBody(w, req, trigger.MaxBody, "a trigger", "shorten its labels")
	if p != nil {
		p.Kind = trigger.RefusedInvalid
		return none, p
	}
	r, err := trigger.Parse(body, time.Now())
	if err != nil {
		refusal := refusalOf(err)
		return r, &problem{Status: refusal.Status, Kind: refusal.Kind, Detail: refusal.Detail}
	}
	r.Source, r.Client = sourceOf(req), clientOf(req).who
	return r, nil
}

// readBody reads a body of that many bytes at most, for at most as long as the server gives a request. what it is and the cure
// are for the message. Content-Type is not looked at: clients that are told nothing else send that of a form, and pages of
// other sites are refused anyway.
func readBody(w http.ResponseWriter, req *http.Request, most int64, what, cure string) ([]byte, *problem) {
	if req.Header.Get("Content-Encoding") != "" {
		return nil, newProblem(http.StatusUnsupportedMediaType, "the body is encoded: send plain JSON, without Content-Encoding")
	}
	large := newProblem(http.StatusRequestEntityTooLarge, "%s has at most %d bytes: %s", what, most, cure)
	if req.ContentLength > most {
		return nil, large
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, most))
	var limit *http.MaxBytesError
	switch {
	case errors.As(err, &limit):
		return nil, large
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, newProblem(http.StatusRequestTimeout, "the body did not come within %v: send it at once", readHeaderTimeout)
	case err != nil:
		return nil, newProblem(http.StatusBadRequest, "the body broke off: send it again")
	}
	return body, nil
}

// triggersOf is the limiter for the client's triggers: its token's own, or that of all who have none.
func (s *Server) triggersOf(c client) interface{ Allow() bool } {
	if c.token != nil {
		return c.token.triggers
	}
	return s.anonymous
}

// suppress counts a trigger that the engine never sees.
func (s *Server) suppress(req *http.Request, reason, kind string) {
	if s.sources.Suppress != nil {
		s.sources.Suppress(sourceOf(req), reason, kind)
	}
}

func sourceOf(req *http.Request) string {
	if clientOf(req).door == doorSocket {
		return trigger.SourceSocket
	}
	return trigger.SourceHTTP
}

// refusalOf takes other errors for a passing failure.
func refusalOf(err error) *trigger.Refusal {
	var refusal *trigger.Refusal
	if errors.As(err, &refusal) {
		return refusal
	}
	return &trigger.Refusal{Status: http.StatusServiceUnavailable, Kind: trigger.RefusedFailed, Detail: err.Error(), Retry: time.Second}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	out.Encode(v) // an error means that the client is gone
}

package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/hoststate"
)

const (
	maxTimelines = 8 // streams of events at once
	eventsType   = "application/x-ndjson"
)

var errNoTimeline = errors.New("this recorder keeps no timeline: start it with ringside run")

// getTimeline answers with the events that the query selects, a line each, in the order in which they were seen; with follow
// it goes on with those that come, until the client or the server ends.
func (s *Server) getTimeline(w http.ResponseWriter, req *http.Request) {
	q, follow, err := timelineQuery(req.URL.RawQuery, time.Now())
	if err != nil {
		fail(w, http.StatusBadRequest, "%v", err)
		return
	}
	read := s.sources.Timeline
	if follow {
		read = s.sources.Follow
	}
	if read == nil {
		fail(w, http.StatusServiceUnavailable, "%v", errNoTimeline)
		return
	}
	if !s.enter(w, s.timelines, "streams of events") {
		return
	}
	defer func() { <-s.timelines }()
	ctx, cancel := context.WithTimeout(req.Context(), maxStream)
	if follow {
		cancel()
		ctx, cancel = context.WithCancel(req.Context())
		defer context.AfterFunc(s.stopping, cancel)()
	}
	defer cancel()
	w.Header().Set("Content-Type", eventsType)
	if req.Method == http.MethodHead {
		return
	}
	s.streamEvents(ctx, w, follow, func(each func(hoststate.Event) error) error { return read(ctx, q, each) })
}

// streamEvents writes what read hands over. What cannot be completed ends with its connection, unless nothing was sent.
func (s *Server) streamEvents(ctx context.Context, w http.ResponseWriter, follow bool, read func(func(hoststate.Event) error) error) {
	patient := newPatientWriter(ctx, w)
	out := bufio.NewWriterSize(patient, 32<<10)
	flush := func() error { return errors.Join(out.Flush(), patient.control.Flush()) }
	if follow {
		_ = flush() // the headers, for a client that waits for them
	}
	err := read(func(e hoststate.Event) error {
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("event %d: %w", e.Seq, err)
		}
		out.Write(append(line, '\n')) // an error stays, and flush returns it
		if follow {
			return flush()
		}
		return patient.err
	})
	if err == nil {
		err = flush()
	}
	switch {
	case err == nil || follow && s.stopping.Err() != nil:
		return
	case patient.err == nil && ctx.Err() == nil:
		s.log.Error("the timeline could not be read", zap.Error(err))
		if !follow && patient.sent == 0 {
			fail(w, http.StatusInternalServerError, "the timeline could not be read: %v", err)
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// timelineQuery reads a query. kind and source may be lists with commas.
func timelineQuery(rawQuery string, now time.Time) (q hoststate.Query, follow bool, err error) {
	values, err := parameters(rawQuery, "from", "to", "kind", "source", "subject", "follow")
	if err != nil {
		return q, false, err
	}
	if follow, err = flagOf(values, "follow"); err != nil {
		return q, false, err
	}
	if q.From, err = timeOf(values, "from", "-1h", now); err != nil {
		return q, false, err
	}
	if q.To, err = timeOf(values, "to", "", now); err != nil {
		return q, false, err
	}
	if follow && !q.To.IsZero() {
		return q, false, errors.New("to ends what follow would wait for: leave one of them out")
	}
	if !q.To.IsZero() && !q.From.Before(q.To) {
		return q, false, fmt.Errorf("from (%s) is not before to (%s): exchange them", nano(q.From), nano(q.To))
	}
	q.Kinds, q.Sources, q.Subject = listOf(values["kind"]), listOf(values["source"]), values["subject"]
	for _, glob := range append(q.Kinds, q.Subject) {
		if _, err := path.Match(glob, ""); err != nil {
			return q, false, fmt.Errorf("%.80q is no pattern: write a name, with * for any letters", glob)
		}
	}
	return q, follow, nil
}

func listOf(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

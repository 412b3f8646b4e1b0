package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/rotate"
)

// Window is a stretch of the spool, as *rotate.Window has it. It is used by one goroutine.
type Window interface {
	Coverage() rotate.Coverage
	io.WriterTo
	io.Closer
}

const (
	maxStreams  = 4                // at once; each reads the disk that the recorder writes to
	maxStream   = 30 * time.Minute // for one stream
	retryAfter  = 5                // seconds, when all streams are taken
	packetsType = "application/vnd.tcpdump.pcap"
)

// packets serves windows of the spool as pcapng.
type packets struct {
	open    func(ctx context.Context, from, to time.Time) (Window, error)
	report  func() Report
	log     *zap.Logger
	streams chan struct{} // holds one entry for each stream under way
}

func newPackets(s Sources, log *zap.Logger) *packets {
	return &packets{open: s.Window, report: s.Report, log: log, streams: make(chan struct{}, maxStreams)}
}

// serve answers with the packets between from and to, and states in its headers what is missing of them.
func (p *packets) serve(w http.ResponseWriter, req *http.Request) {
	from, to, err := span(req.URL.RawQuery, time.Now())
	if err != nil {
		fail(w, http.StatusBadRequest, "%v", err)
		return
	}
	select {
	case p.streams <- struct{}{}:
		defer func() { <-p.streams }()
	default:
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
		fail(w, http.StatusServiceUnavailable, "%d packet streams are under way, which is all there may be: try again in %d seconds", maxStreams, retryAfter)
		return
	}
	ctx, cancel := context.WithTimeout(req.Context(), maxStream)
	defer cancel()
	window, err := p.open(ctx, from, to)
	if err != nil {
		if ctx.Err() == nil { // otherwise nobody listens
			p.log.Error("a window could not be opened", zap.Time("from", from), zap.Time("to", to), zap.Error(err))
			fail(w, http.StatusInternalServerError, "the window could not be opened: %v", err)
		}
		return
	}
	defer window.Close()
	p.stream(ctx, w, req, window)
}

func (p *packets) stream(ctx context.Context, w http.ResponseWriter, req *http.Request, window Window) {
	c := window.Coverage()
	if !covered(c) {
		problem{Status: http.StatusNotFound, Detail: notCovered(c, p.report().Spool), Coverage: c}.write(w)
		return
	}
	describe(w.Header(), c)
	if req.Method == http.MethodHead {
		return
	}
	out := &patientWriter{ctx: ctx, w: w, control: http.NewResponseController(w)}
	n, err := window.WriteTo(out)
	log := p.log.With(zap.String("client", peer(req.Context())), zap.Time("from", c.From), zap.Time("to", c.To), zap.Int64("bytes", n))
	switch {
	case err == nil:
		conclude(w.Header(), window.Coverage())
		log.Info("packets were handed out")
	case out.err != nil:
		log.Info("packets were handed out in part: the client went away or read too slowly", zap.Error(err))
		panic(http.ErrAbortHandler) // the connection ends, so that nobody takes a part for the whole
	default:
		log.Error("packets were handed out in part: the spool could not be read", zap.Error(err))
		panic(http.ErrAbortHandler)
	}
}

// patientWriter gives the client replyTimeout for every piece, and an end to the whole with ctx.
type patientWriter struct {
	ctx     context.Context
	w       io.Writer
	control *http.ResponseController
	err     error // of the client's side
}

func (p *patientWriter) Write(b []byte) (int, error) {
	if p.err = p.ctx.Err(); p.err != nil {
		return 0, p.err
	}
	if err := p.control.SetWriteDeadline(time.Now().Add(replyTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		p.err = err
		return 0, err
	}
	var n int
	n, p.err = p.w.Write(b)
	return n, p.err
}

// span reads from and to, which default to a minute ago and now. Other parameters are refused: a misspelt one would
// silently give another window.
func span(rawQuery string, now time.Time) (from, to time.Time, err error) {
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return from, to, fmt.Errorf("the query cannot be read: %w: write ?from=-5m&to=now", err)
	}
	values := map[string]string{"from": "-1m", "to": "now"}
	for key, given := range query {
		if _, ok := values[key]; !ok || len(given) != 1 {
			return from, to, fmt.Errorf("parameter %q is unknown or given twice: the parameters are from and to", key)
		}
		values[key] = strings.ReplaceAll(given[0], " ", "+") // the sign of an offset, which a query turns into a space
	}
	if from, err = ParseTime(values["from"], now); err != nil {
		return from, to, fmt.Errorf("from: %w", err)
	}
	if to, err = ParseTime(values["to"], now); err != nil {
		return from, to, fmt.Errorf("to: %w", err)
	}
	if !from.Before(to) {
		return from, to, fmt.Errorf("from (%s) is not before to (%s): exchange them",
			nano(from), nano(to))
	}
	return from, to, nil
}

package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	retryAfter  = 5 * time.Second  // when all places are taken
	packetsType = "application/vnd.tcpdump.pcap"
)

// getPackets answers with the packets between from and to, and states in its headers what is missing of them.
func (s *Server) getPackets(w http.ResponseWriter, req *http.Request) {
	from, to, err := span(req.URL.RawQuery, time.Now())
	if err != nil {
		fail(w, http.StatusBadRequest, "%v", err)
		return
	}
	if !s.enter(w, s.streams, "packet streams") {
		return
	}
	defer func() { <-s.streams }()
	ctx, cancel := context.WithTimeout(req.Context(), maxStream)
	defer cancel()
	window, err := s.sources.Window(ctx, from, to)
	if err != nil {
		if ctx.Err() == nil { // otherwise nobody listens
			s.log.Error("a window could not be opened", zap.Time("from", from), zap.Time("to", to), zap.Error(err))
			fail(w, http.StatusInternalServerError, "the window could not be opened: %v", err)
		}
		return
	}
	defer window.Close()
	s.streamWindow(ctx, w, req, window)
}

// enter takes a place among what may be under way at once, or refuses. The caller gives it back.
func (s *Server) enter(w http.ResponseWriter, places chan struct{}, what string) bool {
	select {
	case places <- struct{}{}:
		return true
	default:
	}
	s.stats.refused(refusedBusy)
	setRetryAfter(w, retryAfter)
	problem{Status: http.StatusServiceUnavailable, Kind: refusedBusy,
		Detail: fmt.Sprintf("%d %s are under way, which is all there may be: try again in %v", cap(places), what, retryAfter)}.write(w)
	return false
}

func (s *Server) streamWindow(ctx context.Context, w http.ResponseWriter, req *http.Request, window Window) {
	c := window.Coverage()
	if !covered(c) {
		problem{Status: http.StatusNotFound, Detail: notCovered(c, s.sources.Report().Spool), Coverage: c}.write(w)
		return
	}
	describe(w.Header(), c)
	if req.Method == http.MethodHead {
		return
	}
	out := newPatientWriter(ctx, w)
	n, err := window.WriteTo(out)
	if err == nil {
		conclude(w.Header(), window.Coverage())
	}
	s.handedOut(req, n, out.err, err, zap.String("what", "window"), zap.Time("from", c.From), zap.Time("to", c.To))
}

// handedOut writes the line of the audit log about packets that were handed out, whole or in part. gone is an error of
// the client's side, err any. After one the connection ends, so that nobody takes a part for the whole.
func (s *Server) handedOut(req *http.Request, n int64, gone, err error, what ...zap.Field) {
	s.stats.handedOut.Add(uint64(n))
	log := s.audit.With(zap.String("client", clientOf(req).who)).With(what...).With(zap.Int64("bytes", n))
	switch {
	case err == nil:
		log.Info("packets were handed out")
		return
	case gone != nil:
		log.Info("packets were handed out in part: the client went away or read too slowly", zap.Error(err))
	default:
		log.Error("packets were handed out in part: they could not be read", zap.Error(err))
	}
	panic(http.ErrAbortHandler)
}

// patientWriter gives the client replyTimeout for every piece, and an end to the whole with ctx.
type patientWriter struct {
	ctx     context.Context
	w       io.Writer
	control *http.ResponseController
	sent    int64 // bytes
	err     error // of the client's side
}

func newPatientWriter(ctx context.Context, w http.ResponseWriter) *patientWriter {
	return &patientWriter{ctx: ctx, w: w, control: http.NewResponseController(w)}
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
	p.sent += int64(n)
	return n, p.err
}

// span reads from and to, which default to a minute ago and now.
func span(rawQuery string, now time.Time) (from, to time.Time, err error) {
	values, err := parameters(rawQuery, "from", "to")
	if err != nil {
		return from, to, err
	}
	if from, err = timeOf(values, "from", "-1m", now); err != nil {
		return from, to, err
	}
	if to, err = timeOf(values, "to", "now", now); err != nil {
		return from, to, err
	}
	if !from.Before(to) {
		return from, to, fmt.Errorf("from (%s) is not before to (%s): exchange them", nano(from), nano(to))
	}
	return from, to, nil
}

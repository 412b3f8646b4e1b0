package upload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/rotate"
)

// Reporter says what the packets and the host's events of an incident show.
type Reporter interface {
	// Report reads the subject and says what it shows, before ctx is done. The bundle does not depend on it: an error, a
	// panic or a delay is noted in the manifest, and the bundle is stored without a report. One report is made at a time.
	Report(ctx context.Context, s Subject) (Reported, error)
}

// Subject is what a report is about. It can be read until Report returns.
type Subject struct {
	Manifest *Manifest // as it is without a report; to be left as it is
	Capture  io.Reader // the very bytes of the capture that the bundle has, decompressed; its size is the object's PlainBytes

	// Events calls each with the events of the bundle's timeline, in the order in which they were seen, until it returns an
	// error. It may be called several times; without a timeline there are none.
	Events func(each func(hoststate.Event) error) error
}

// Reported is a report in both its forms, and the part of it that the manifest repeats.
type Reported struct {
	JSON, Page []byte // the page is HTML
	Verdict    Verdict
}

// Bounds of making a report. They are generous: what they are for is that nothing waits for ever.
const (
	reportPatience = 2 * time.Minute // beside the time for its bytes
	reportRate     = 4 << 20         // bytes a second, at least
	reportGrace    = 2 * time.Second // to end after its context has
	maxReport      = 32 << 20        // bytes of either form
)

// report makes the report of what was stored and stores it beside that. Only an error of the store is one.
func (a attempt) report(ctx context.Context, reader *rotate.Reader, m *Manifest) error {
	if a.reporter == nil {
		return nil
	}
	began := time.Now()
	r, err := a.reported(ctx, reader, m)
	if ctx.Err() != nil {
		return ctx.Err() // it is the attempt that ends
	}
	if err != nil {
		m.ReportError = fmt.Sprintf("%.1000s", err.Error())
		a.log.Warn("an incident is stored without a report", zap.String("incident", m.Incident), zap.Error(err),
			zap.String("cure", "ringside incidents get, and then ringside analyze on what it fetched"))
		return nil
	}
	a.log.Info("a report is made", zap.String("incident", m.Incident), zap.String("class", r.Verdict.Class),
		zap.Duration("took", time.Since(began).Round(time.Millisecond)))
	name := newAttempt()
	for _, f := range []struct {
		ObjectFacts
		data []byte
	}{
		{ObjectFacts{Name: "report-" + name + ".json", Kind: KindReport, Type: TypeReport, Compression: a.compress}, r.JSON},
		// As it is: a browser shows it from where it is stored, and a store does not know of zstd.
		{ObjectFacts{Name: "report-" + name + ".html", Kind: KindPage, Type: TypePage, Compression: CompressionNone}, r.Page},
	} {
		o, err := a.put(ctx, f.ObjectFacts, int64(len(f.data)), func(w io.Writer) error {
			_, err := io.Copy(w, bytes.NewReader(f.data))
			return err
		})
		if err != nil {
			return err
		}
		m.Objects = append(m.Objects, o)
	}
	m.Verdict = &r.Verdict
	return nil
}

// reported lets the reporter work, for a bounded time, and never two at a time: one that does not end costs a goroutine,
// and no more.
func (a attempt) reported(ctx context.Context, reader *rotate.Reader, m *Manifest) (Reported, error) {
	select {
	case a.reporting <- struct{}{}:
	default:
		return Reported{}, errors.New("the report of an earlier incident does not end; restart the recorder, and report this as a defect")
	}
	limit := a.patience + time.Duration(m.Objects[0].PlainBytes/reportRate)*time.Second
	if end, ok := ctx.Deadline(); ok { // the recorder stops: what is left is for the store, too
		limit = min(limit, time.Until(end)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	type result struct {
		Reported
		err error
	}
	done := make(chan result, 1)
	facts := *m // the manifest goes on without a reporter that is late
	go func() {
		defer func() { <-a.reporting }()
		r, err := a.observed(ctx, reader, &facts)
		done <- result{r, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		r.err = ctx.Err()
		select {
		case r = <-done: // it heeds the end of its time, or had come to its own
		case <-time.After(reportGrace):
		}
	}
	if r.err != nil && ctx.Err() != nil { // whatever it says
		r.err = fmt.Errorf("it is not done after %v", limit.Round(time.Second))
	}
	return r.Reported, r.err
}

// observed runs the reporter over the window, read once more, and makes sure that it is the capture that was stored.
func (a attempt) observed(ctx context.Context, reader *rotate.Reader, m *Manifest) (r Reported, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("the reporter panicked", zap.String("incident", m.Incident), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			r, err = Reported{}, fmt.Errorf("a defect of Ringside, report it: panic: %v", p)
		}
	}()
	window, err := reader.Window(ctx, a.incident.From, a.incident.To)
	if err != nil {
		return r, err
	}
	again := newSum(nil)
	capture, stop := piped(func(w io.Writer) error {
		_, err := window.WriteTo(io.MultiWriter(w, again))
		return err
	})
	defer window.Close() // after it is no longer read
	defer stop()
	over := context.AfterFunc(ctx, stop) // a reader that waits for bytes wakes up
	defer over()
	r, err = a.reporter.Report(ctx, Subject{Manifest: m, Capture: capture, Events: func(each func(hoststate.Event) error) error {
		return a.eachEvent(ctx, each)
	}})
	if err == nil {
		_, err = io.Copy(io.Discard, capture) // what it had no need of
	}
	switch {
	case err != nil:
		return Reported{}, err
	case again.hex() != m.Objects[0].PlainSHA256:
		return Reported{}, errors.New("the packets changed on the disk after they were stored: the spool is damaged")
	case r.Verdict.Class == "" || len(r.JSON) == 0 || len(r.Page) == 0:
		return Reported{}, errors.New("a defect of Ringside, report it: the report is empty")
	case len(r.JSON) > maxReport || len(r.Page) > maxReport:
		return Reported{}, fmt.Errorf("it has %d bytes, and %d as a page: at most %d are stored", len(r.JSON), len(r.Page), maxReport)
	}
	return r, nil
}

// eachEvent reads the lines of the timeline that the bundle has.
func (a attempt) eachEvent(ctx context.Context, each func(hoststate.Event) error) error {
	if a.timeline == nil {
		return nil
	}
	i := a.incident
	lines, stop := piped(func(w io.Writer) error {
		_, err := a.timeline.Copy(ctx, hoststate.Query{From: i.From, To: i.To, Incident: i.ID}, w)
		return err
	})
	defer stop()
	return hoststate.ReadFrom(lines, hoststate.Query{}, each)
}

// errUnread ends what writes to a pipe that is not read any more.
var errUnread = errors.New("nobody reads any more")

// piped returns what produce writes as a stream, which ends with its error. stop ends both, and returns when produce has.
func piped(produce func(io.Writer) error) (r io.Reader, stop func()) {
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		pw.CloseWithError(produce(pw))
	}()
	return pr, func() {
		pr.CloseWithError(errUnread)
		<-done
	}
}

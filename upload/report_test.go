package upload_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/upload"
)

// reporterFunc is a reporter.
type reporterFunc func(ctx context.Context, s upload.Subject) (upload.Reported, error)

func (f reporterFunc) Report(ctx context.Context, s upload.Subject) (upload.Reported, error) {
	return f(ctx, s)
}

// someReport is what a reporter says that found something.
var someReport = upload.Reported{
	JSON: []byte(`{"version": 1}`), Page: []byte("<!doctype html><title>report</title>"),
	Verdict: upload.Verdict{Class: "server-restart", Confidence: 0.9, Sentence: "It restarted.", Impact: upload.Impact{Flows: 3, Services: []string{"redis"}, Seconds: 1.5}},
}

// Patience of tests: one in which the reporter's time must not end, and one in which it must.
const (
	patient   = 30 * time.Second
	impatient = 200 * time.Millisecond
)

// reported brings incidents of ten packets into the store, with what each one's reporter says.
func reported(t *testing.T, compression string, patience time.Duration, wrap func(upload.Store) upload.Store, timeline upload.Timeline, reporters ...reporterFunc) (n *node, bundles []upload.Bundle) {
	t.Helper()
	away := make(chan struct{})
	n = newNode(t, func(c *upload.Config) { c.Compression = compression }, func(s upload.Store) upload.Store {
		return &faulty{Store: s, put: []func(io.Reader) error{func(io.Reader) error { <-away; return errAway }}}
	})
	t.Cleanup(func() { close(away) }) // the node's own outbox stands aside until then
	n.record(10)
	store := n.store
	if wrap != nil {
		store = wrap(store)
	}
	o := upload.NewOutbox(n.cfg, store, n.engine, n.spool, timeline, &n.told, zap.NewNop())
	o.SetPatience(patience)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, r := range reporters {
		o.ReportWith(r)
		id := n.fire("slow")
		for end := time.Now().Add(30 * time.Second); len(n.engine.Ready()) == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s does not get ready", id)
			}
		}
		for tries := 0; len(n.engine.Ready()) > 0 && tries < 3; tries++ { // each ends with an attempt that fails
			if err := o.Run(over, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		bundles = append(bundles, n.bundle(id))
	}
	return n, bundles
}

// written is a timeline of some lines.
type written string

func (w written) Copy(_ context.Context, _ hoststate.Query, out io.Writer) (hoststate.Summary, error) {
	_, err := io.WriteString(out, string(w))
	return hoststate.Summary{Events: uint64(strings.Count(string(w), "\n")), Complete: true}, err
}

// TestReportInBundle has the reporter see the very bytes that are stored, and its report beside them.
func TestReportInBundle(t *testing.T) {
	t.Parallel()
	timeline := written(`{"seq":1,"time":"2026-11-22T19:00:00Z","kind":"observation","text":"one"}` + "\n" + `{"seq":2,"time":"2026-11-22T19:00:01Z","kind":"observation","text":"two"}` + "\n")
	for _, compression := range []string{"", upload.CompressionGzip, upload.CompressionNone} {
		var seen []byte
		var events []string
		n, bundles := reported(t, compression, patient, nil, timeline, func(ctx context.Context, s upload.Subject) (r upload.Reported, err error) {
			for range 2 { // as often as it likes
				events = nil
				err = errors.Join(err, s.Events(func(e hoststate.Event) error { events = append(events, e.Text); return nil }))
			}
			stop := errors.New("enough")
			if got := s.Events(func(hoststate.Event) error { return stop }); !errors.Is(got, stop) {
				t.Errorf("an error of each becomes %v", got)
			}
			b, readErr := io.ReadAll(s.Capture)
			seen = b
			if len(s.Manifest.Objects) != 2 || s.Manifest.Window.Coverage.Packets != 10 || int64(len(b)) != s.Manifest.Objects[0].PlainBytes {
				t.Errorf("the subject is %+v", s.Manifest)
			}
			return someReport, errors.Join(err, readErr)
		})
		b := bundles[0]
		m := b.Manifest
		if m.ReportError != "" || m.Verdict == nil || m.Verdict.Sentence != "It restarted." || m.Verdict.Impact.Flows != 3 || !slices.Equal(events, []string{"one", "two"}) {
			t.Fatalf("%q: %+v, %q, events %q", compression, m.Verdict, m.ReportError, events)
		}
		dir := t.TempDir()
		if _, err := upload.NewArchive(n.store).Download(t.Context(), b, dir, upload.DownloadOptions{}); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string][]byte{upload.CaptureName: seen, upload.ReportName: someReport.JSON, upload.PageName: someReport.Page} {
			if got, err := os.ReadFile(filepath.Join(dir, b.Incident, b.Node, name)); err != nil || !bytes.Equal(got, want) || len(got) == 0 {
				t.Errorf("%q: %s has %d bytes, %v; want %d", compression, name, len(got), err, len(want))
			}
		}
		report, page := m.Objects[2], m.Objects[3]
		if report.Kind != upload.KindReport || report.Type != "application/json" || report.Compression != m.Objects[0].Compression || !strings.Contains(report.Name, ".json") {
			t.Errorf("%+v", report)
		}
		if page.Kind != upload.KindPage || page.Type != "text/html; charset=utf-8" || page.Compression != upload.CompressionNone || !strings.HasSuffix(page.Name, ".html") {
			t.Errorf("%+v: a browser must be able to show it", page)
		}
	}
}

// TestReportFails: whatever a reporter does, the packets are stored, and the manifest says why there is no report.
func TestReportFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		report reporterFunc
		want   string
	}{
		"error": {func(context.Context, upload.Subject) (upload.Reported, error) {
			return someReport, errors.New("it is odd")
		}, "it is odd"},
		"long error": {func(context.Context, upload.Subject) (upload.Reported, error) {
			return someReport, errors.New(strings.Repeat("x", 1<<20))
		}, "xxx"},
		"panic": {func(context.Context, upload.Subject) (upload.Reported, error) { panic("index out of range") }, "panic: index out of range"},
		"empty": {func(context.Context, upload.Subject) (upload.Reported, error) { return upload.Reported{}, nil }, "the report is empty"},
		"too large": {func(context.Context, upload.Subject) (upload.Reported, error) {
			r := someReport
			r.Page = make([]byte, 64<<20)
			return r, nil
		}, "at most"},
		"waits": {func(ctx context.Context, _ upload.Subject) (upload.Reported, error) {
			<-ctx.Done()
			return upload.Reported{}, ctx.Err()
		}, "not done after"},
		"fails half way": {func(_ context.Context, s upload.Subject) (upload.Reported, error) {
			_, err := s.Capture.Read(make([]byte, 10))
			return upload.Reported{}, errors.Join(err, errors.New("a strange packet"))
		}, "a strange packet"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			patience := patient
			if name == "waits" {
				patience = impatient
			}
			n, bundles := reported(t, "", patience, nil, written("{}\n"), test.report)
			m := bundles[0].Manifest
			if got := n.packets(bundles[0]); got != 10 || !strings.Contains(m.ReportError, test.want) || len(m.ReportError) > 1000 {
				t.Errorf("%d packets, %q", got, m.ReportError)
			}
			if len(m.Objects) != 2 || m.Verdict != nil {
				t.Errorf("it has a report: %+v, %+v", m.Objects, m.Verdict)
			}
		})
	}
}

// TestReportIgnoresWhatItNeedsNot: the reporter need not read anything.
func TestReportIgnoresWhatItNeedsNot(t *testing.T) {
	t.Parallel()
	_, bundles := reported(t, "", patient, nil, nil, func(_ context.Context, s upload.Subject) (upload.Reported, error) {
		return someReport, s.Events(func(hoststate.Event) error { return errors.New("there is no timeline") })
	})
	if m := bundles[0].Manifest; m.ReportError != "" || m.Verdict == nil || len(m.Objects) != 3 {
		t.Errorf("%q, %+v", m.ReportError, m.Objects)
	}
}

// TestReportNeverEnds: one that heeds nothing costs the bundles their reports, and nothing else.
func TestReportNeverEnds(t *testing.T) {
	t.Parallel()
	end, ended := make(chan struct{}), make(chan struct{})
	n, bundles := reported(t, "", impatient, nil, written("{}\n"),
		func(context.Context, upload.Subject) (upload.Reported, error) {
			defer close(ended)
			<-end
			return someReport, nil
		},
		func(context.Context, upload.Subject) (upload.Reported, error) {
			t.Error("two at a time")
			return someReport, nil
		})
	close(end)
	<-ended
	for i, want := range []string{"not done after 0s", "an earlier incident does not end"} {
		m := bundles[i].Manifest
		if got := n.packets(bundles[i]); got != 10 || !strings.Contains(m.ReportError, want) || m.Verdict != nil {
			t.Errorf("%d packets, %q, %+v", got, m.ReportError, m.Verdict)
		}
	}
}

// TestReportStoreFails: an error of the store is one of the attempt, and the next one makes the report anew.
func TestReportStoreFails(t *testing.T) {
	t.Parallel()
	calls := 0
	report := func(context.Context, upload.Subject) (upload.Reported, error) {
		calls++
		return someReport, nil
	}
	pass, fail := func(io.Reader) error { return nil }, func(io.Reader) error { return errAway }
	_, bundles := reported(t, "", patient, func(s upload.Store) upload.Store {
		return &faulty{Store: s, put: []func(io.Reader) error{pass, fail, pass, pass, fail}} // capture and report, capture, report and page
	}, nil, report)
	if m := bundles[0].Manifest; calls != 3 || m.Verdict == nil || len(m.Objects) != 3 {
		t.Errorf("%d calls, %+v", calls, m.Objects)
	}
}

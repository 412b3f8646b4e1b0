package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringside/ringside/evidence"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

func noEvents(func(hoststate.Event) error) error { return nil }

// subject is one of a capture that is written while it is read.
func subject(t *testing.T, write func(io.Writer) error) upload.Subject {
	t.Helper()
	r, w := io.Pipe()
	go func() { w.CloseWithError(write(w)) }()
	t.Cleanup(func() { r.Close() })
	at := recorded
	return upload.Subject{Capture: r, Events: noEvents, Manifest: &upload.Manifest{
		Incident: idAt(0), Cluster: "c", Node: "n", Objects: []upload.ObjectFacts{{}},
		Triggers: []trigger.Trigger{{ID: idAt(0), Reason: "slow", Source: trigger.SourceSocket, At: at}},
		Timeline: &hoststate.Summary{Events: 7, Complete: true},
	}}
}

// TestBundleReport has the incident's facts, the file's name as get has it, and a timeline that could not be read.
func TestBundleReport(t *testing.T) {
	s := subject(t, func(w io.Writer) error { _, err := w.Write(sharedCapture(t, "a02-flush-masqrf-loose1")); return err })
	s.Events = func(each func(hoststate.Event) error) error {
		return errors.Join(each(hoststate.Event{Kind: "observation", Text: "x", Time: recorded}), errors.New("the disk failed"))
	}
	r, err := bundleReporter{}.Report(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	var report evidence.Report
	if err := json.Unmarshal(r.JSON, &report); err != nil {
		t.Fatal(err)
	}
	i, c := report.Incident, report.Coverage
	if i == nil || i.ID != idAt(0) || i.Node != "n" || i.Trigger != "socket: slow" || !c.Known || c.Timeline == nil || c.Timeline.Complete || c.Timeline.Events != 7 {
		t.Errorf("incident %+v, coverage %+v, timeline %+v", i, c, c.Timeline)
	}
	if v := report.Verdict; string(v.Class) != r.Verdict.Class || v.Sentence != r.Verdict.Sentence || v.Impact.Flows != r.Verdict.Impact.Flows || r.Verdict.Impact.Flows == 0 {
		t.Errorf("the manifest says %+v, the report %+v", r.Verdict, v)
	}
	if f := report.Findings; len(f) == 0 || len(f[0].Citations) == 0 || f[0].Citations[0].File != upload.CaptureName {
		t.Errorf("findings %+v", f)
	}
	if !strings.Contains(string(r.Page), "<!doctype html>") {
		t.Error("the page is none")
	}
}

// TestBundleReportEnds with its context, also in the middle of a capture that never does.
func TestBundleReportEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := subject(t, func(w io.Writer) error {
		err := writeConversations(w, 100_000, 100)
		cancel()
		return errors.Join(err, writeConversations(w, 1<<40, 100))
	})
	if _, err := (bundleReporter{}).Report(ctx, s); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
}

// TestBundleReportMemory bounds what the recorder needs beside itself, for more conversations than are followed.
func TestBundleReportMemory(t *testing.T) {
	const most = 48 << 20
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var peak uint64
	done := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	s := subject(t, func(w io.Writer) error { return writeConversations(w, 400_000, 30_000) })
	r, err := bundleReporter{}.Report(t.Context(), s)
	close(done)
	all.Wait()
	if err != nil {
		t.Fatal(err)
	}
	used := peak - before.HeapAlloc
	t.Logf("at most %d KiB of heap, report %d KiB, page %d KiB", used>>10, len(r.JSON)>>10, len(r.Page)>>10)
	if used > most {
		t.Errorf("%d KiB of heap, want at most %d", used>>10, most>>10)
	}
}

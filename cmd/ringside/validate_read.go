package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/ringside/ringside/config"
	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/input"
	"github.com/ringside/ringside/evidence"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/upload"
)

// validation collects recordings.
type validation struct {
	asked      evidence.Asked
	names      []detect.Service
	recordings []evidence.Recording
	progress   *progress
}

// Bounds of waiting for the last second of a recorder that runs: rings are flushed once a second.
const (
	flushPatience = 5 * time.Second
	flushPause    = 200 * time.Millisecond
)

// window looks at a spool.
func (f *validateFlags) window(ctx context.Context, v *validation, cfg *config.Config) (source string, err error) {
	dir := f.spool
	if dir == "" {
		dir = cfg.Rotate.Dir
	}
	w, err := spoolWindow(ctx, dir, v.asked.From, v.asked.To)
	if err != nil {
		return "", err
	}
	defer w.Close()
	r := evidence.Recording{Node: evidence.Node{Cluster: cfg.Upload.Cluster, Name: cfg.Node}}
	facts := evidence.Facts{Program: "ringside " + version, Coverage: evidence.Coverage{Known: true, Missing: w.Coverage().Missing}}
	if err := spoolEvents(ctx, filepath.Join(dir, timelineDir), v.asked, &facts, &r); err != nil {
		return "", err
	}
	read, write := io.Pipe()
	wrote := make(chan error, 1)
	go func() {
		_, err := w.WriteTo(write)
		write.CloseWithError(err)
		wrote <- err
	}()
	r.Report, err = v.analyze(ctx, input.Source{Name: "spool.pcapng", In: read}, facts, "the spool", w.Coverage().Packets)
	read.CloseWithError(errors.Join(err, io.ErrClosedPipe))
	if failed := <-wrote; err == nil {
		err = failed
	}
	r.Coverage = w.Coverage() // exact, now that it was read
	v.recordings = append(v.recordings, r)
	return dir, err
}

// spoolWindow opens the window, and gives a recorder that runs the time to write its last second.
func spoolWindow(ctx context.Context, dir string, from, to time.Time) (*rotate.Window, error) {
	for {
		r, err := rotate.OpenReader(dir)
		if err != nil {
			return nil, fmt.Errorf("%w, or validate bundles with --store", err)
		}
		w, err := r.Window(ctx, from, to)
		if err != nil {
			return nil, err
		}
		if !endMissing(w.Coverage()) || time.Since(to) > flushPatience || ctx.Err() != nil {
			return w, ctx.Err()
		}
		w.Close()
		time.Sleep(flushPause)
	}
}

// endMissing says whether the end of the window is not on the disk.
func endMissing(c rotate.Coverage) bool {
	for _, m := range c.Missing {
		if m.Reason == rotate.MissingAfter {
			return true
		}
	}
	return false
}

// spoolEvents reads the timeline beside a spool. That there is none is no error.
func spoolEvents(ctx context.Context, dir string, asked evidence.Asked, facts *evidence.Facts, r *evidence.Recording) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	timeline, q := hoststate.OpenReader(dir), hoststate.Query{From: asked.From, To: asked.To}
	// Whether a recorder is writing it cannot be told from here: its last event counts as its end, or now if that was a moment ago.
	summary, err := timeline.Copy(ctx, q, io.Discard, time.Since(asked.To) < flushPatience)
	if err != nil {
		return err
	}
	var held heldEvents
	if err := timeline.Read(ctx, q, held.add); err != nil {
		return err
	}
	r.Timeline = &summary
	facts.Coverage.Timeline = &evidence.TimelineFacts{Events: summary.Events, Complete: summary.Complete}
	held.into(facts)
	return nil
}

// analyze looks at one capture.
func (v *validation) analyze(ctx context.Context, s input.Source, facts evidence.Facts, what string, packets uint64) (*evidence.Report, error) {
	v.progress.what = fmt.Sprintf("%s: %d packets", what, packets)
	return evidence.Analyze(ctx, evidence.Options{
		Sources: []input.Source{s}, Detect: detect.Config{Services: v.names}, Facts: facts, From: v.asked.From, To: v.asked.To,
		Progress: func(done, total int64) { v.progress.show("read", done, max(done, total)) },
	})
}

// aroundIDs is how far from its id, which is of when it was triggered, an incident's window may lie.
const aroundIDs = 24 * time.Hour

// bundles looks at the bundles of a store whose windows reach into the time, one after the other: what two have in common
// is looked at in each. Their reports are not believed, but made anew, because this program may know more than theirs.
func (f *validateFlags) bundles(ctx context.Context, v *validation) (source string, err error) {
	a, err := f.open(ctx)
	if err != nil {
		return "", err
	}
	if f.node != "" && f.cluster != "" {
		v.asked.Nodes = []evidence.Node{{Cluster: f.cluster, Name: f.node}}
	}
	dir, err := os.MkdirTemp("", "ringside-validate-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	q := upload.Query{From: v.asked.From.Add(-aroundIDs), To: v.asked.To.Add(aroundIDs), Cluster: f.cluster, Node: f.node}
	for b, err := range a.List(ctx, q) {
		if err != nil {
			return "", err
		}
		if b.Manifest == nil {
			if errors.Is(b.Problem, upload.ErrUnfinished) {
				continue // nothing that is said of it is true yet
			}
			return "", fmt.Errorf("%s: %w: ringside incidents verify says more", b.Prefix(), b.Problem)
		}
		w := b.Manifest.Window.Asked
		if !w.From.Before(v.asked.To) || !w.To.After(v.asked.From) {
			continue
		}
		if err := v.bundle(ctx, a, b, dir); err != nil {
			return "", err
		}
	}
	return a.String(), nil
}

// bundle downloads one, verified, looks at it, and removes it.
func (v *validation) bundle(ctx context.Context, a *upload.Archive, b upload.Bundle, dir string) error {
	v.progress.what = b.Incident + " " + b.Node
	files, err := a.Download(ctx, b, dir, upload.DownloadOptions{Kinds: []string{upload.KindCapture, upload.KindTimeline}, Progress: v.progress.show})
	if err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Join(dir, b.Incident))
	list := []fetched{{b, files}}
	captures := captures(list)
	if len(captures) == 0 {
		return fmt.Errorf("%s has no capture: ringside incidents show says what it has", b.Prefix())
	}
	facts := bundleFacts(b.Manifest)
	var held heldEvents
	for _, o := range files {
		if o.Kind != upload.KindTimeline {
			continue
		}
		in, err := os.Open(o.Path)
		if err != nil {
			return err
		}
		err = hoststate.ReadFrom(in, hoststate.Query{}, held.add)
		if err = errors.Join(err, in.Close()); err != nil {
			return err
		}
	}
	held.into(&facts)
	name := filepath.Join(b.Incident, b.Node, filepath.Base(captures[0].Path))
	report, err := v.analyze(ctx, input.Source{Name: name, Path: captures[0].Path}, facts, v.progress.what, b.Manifest.Window.Coverage.Packets)
	if err != nil {
		return err
	}
	v.recordings = append(v.recordings, evidence.Recording{
		Node: evidence.Node{Cluster: b.Cluster, Name: b.Node}, Incident: b.Incident, Coverage: b.Manifest.Window.Coverage,
		Timeline: b.Manifest.Timeline, Report: report,
	})
	return nil
}

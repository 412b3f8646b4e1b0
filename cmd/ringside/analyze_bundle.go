package main

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/input"
	"github.com/ringside/ringside/evidence"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/upload"
)

// addFiles adds captures and, of directories, the bundles in them. The error names every one that is neither.
func addFiles(o *evidence.Options, args []string) error {
	var errs []error
	bundles := 0
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil || !info.IsDir() {
			o.Sources = append(o.Sources, input.Source{Path: arg}) // what is not there is told with all the others
			continue
		}
		if bundles++; bundles > 1 {
			errs = append(errs, fmt.Errorf("%s: a report is of one bundle: analyse them one by one, or give the captures without their directories", arg))
			continue
		}
		if err := addBundle(o, arg); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// addBundle adds the objects of a bundle that was fetched into a directory, or lies in a directory store.
func addBundle(o *evidence.Options, dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, upload.ManifestName))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: has no %s, so it is no bundle: name the captures in it, or fetch the bundle with ringside incidents get", dir, upload.ManifestName)
	}
	if err != nil {
		return err
	}
	var m upload.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("%s: %s is no manifest: %w; fetch the bundle again with ringside incidents get", dir, upload.ManifestName, err)
	}
	program := o.Facts.Program
	o.Facts = bundleFacts(&m)
	o.Facts.Program = program
	o.Detect.Services = recordedServices(m.Recorder.Services)
	captures, timelines := 0, 0
	for _, object := range m.Objects {
		switch object.Kind {
		case upload.KindCapture:
			captures++
			o.Sources = append(o.Sources, input.Source{Path: objectPath(dir, object.Name, upload.CaptureName)})
		case upload.KindTimeline:
			timelines++
			if err := addTimeline(o, objectPath(dir, object.Name, upload.TimelineName)); err != nil {
				return err
			}
		}
	}
	if captures == 0 {
		return fmt.Errorf("%s: its %s names no capture: fetch the bundle again with ringside incidents get", dir, upload.ManifestName)
	}
	return nil
}

// recordedServices are the names that the recorder gave servers, and so its report.
func recordedServices(facts []upload.ServiceFact) []detect.Service {
	var list []filter.Service
	for _, f := range facts {
		if s, ok := serviceOf(f); ok {
			list = append(list, s)
		}
	}
	return detectServices(list)
}

// objectPath is where an object lies: as it is stored, or as incidents get names it. A manifest is not trusted to name
// files elsewhere.
func objectPath(dir, stored, fetched string) string {
	plain := strings.TrimSuffix(strings.TrimSuffix(stored, ".zst"), ".gz")
	for _, name := range []string{stored, plain} {
		path := filepath.Join(dir, filepath.Base(name))
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return filepath.Join(dir, fetched)
}

// addTimeline adds the host's events from a file.
func addTimeline(o *evidence.Options, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("the timeline: %w", err)
	}
	defer file.Close()
	plain, done, err := unpacked(file, path)
	if err != nil {
		return fmt.Errorf("the timeline %s: %w", path, err)
	}
	defer done()
	var held heldEvents
	facts := evidence.TimelineFacts{Complete: true}
	err = hoststate.ReadFrom(plain, hoststate.Query{}, func(e hoststate.Event) error {
		facts.Events++
		facts.Complete = facts.Complete && e.Kind != "timeline.gap"
		return held.add(e)
	})
	if err != nil {
		return fmt.Errorf("the timeline %s: %w", path, err)
	}
	if o.Facts.Coverage.Timeline == nil { // no manifest says more
		if facts.Events == 0 {
			return fmt.Errorf("the timeline %s: has no events: name a timeline.jsonl, or what ringside timeline --json printed", path)
		}
		o.Facts.Coverage.Timeline = &facts
	}
	held.into(&o.Facts)
	return nil
}

// unpacked is the plain text of a file, by the end of its name, as Ringside gives them.
func unpacked(r io.Reader, path string) (plain io.Reader, done func(), err error) {
	switch filepath.Ext(path) {
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	case ".gz":
		z, err := gzip.NewReader(r)
		return z, func() {}, err
	}
	return r, func() {}, nil
}

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ringside/ringside/lab/traffic"
)

// collect has the recorder make a bundle of everything since a time, and reads it.
func (l *Lab) collect(ctx context.Context, scenario Scenario, seen *Seen, since time.Time) error {
	const least = time.Second // that a window has on each side; and it ends so long ago, which is on the disk by now
	pre, post := max(l.fault.At.Sub(since), least), max(time.Since(l.fault.At)-least, least)
	incident, err := l.Recorder.trigger(ctx, l.fault, scenario.Name, pre.Truncate(time.Millisecond), post.Truncate(time.Millisecond))
	if err != nil {
		return err
	}
	l.say("waiting for the bundle of incident %s", incident)
	folder, err := l.Recorder.bundle(ctx, incident)
	if err != nil {
		return err
	}
	bundle, err := readBundle(folder)
	if err != nil {
		return fmt.Errorf("read the bundle: %w", err)
	}
	seen.Bundle = &bundle
	return nil
}

// flows is every connection of the clients so far.
func (l *Lab) flows() (list []traffic.Flow) {
	for _, p := range l.Pools {
		list = append(list, p.Flows()...)
	}
	return list
}

// keep copies what may be looked at later into a folder.
func (l *Lab) keep(folder string, seen *Seen, r *Result) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("keep: %w", err)
	}
	result, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	outcomes, err := json.MarshalIndent(seen.Outcomes, "", "  ")
	if err != nil {
		return err
	}
	store := filepath.Join(folder, "incidents")
	err = errors.Join(
		os.RemoveAll(store), os.CopyFS(store, os.DirFS(l.Node.Path(incidents))), // of an earlier run
		os.WriteFile(filepath.Join(folder, "result.json"), result, 0o644),
		os.WriteFile(filepath.Join(folder, "flows.json"), outcomes, 0o644),
		os.WriteFile(filepath.Join(folder, "config.yaml"), []byte(l.yaml()), 0o644),
		os.WriteFile(filepath.Join(folder, "log.json"), l.Recorder.log.bytes(), 0o644))
	if err != nil {
		return fmt.Errorf("keep: %w", err)
	}
	return nil
}

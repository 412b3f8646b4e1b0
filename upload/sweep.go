package upload

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Remove removes a bundle: its manifest first, so that nobody takes the rest for a bundle, then all other objects in its
// folder and what was left half. What is gone already is no error.
func (a *Archive) Remove(ctx context.Context, p Place) error {
	prefix := p.Prefix()
	if err := a.store.Delete(ctx, prefix+ManifestName); err != nil {
		return err
	}
	var errs []error
	for o, err := range a.store.List(ctx, prefix) {
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := a.store.Delete(ctx, o.Key); err != nil {
			errs = append(errs, err)
		}
	}
	for u, err := range a.store.Unfinished(ctx, prefix) {
		if err == nil {
			err = a.store.Abort(ctx, u)
		}
		if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrUnsupported) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// SweepOptions say what is swept.
type SweepOptions struct {
	Before  time.Time // only folders in which nothing is younger, and what was begun before it
	DryRun  bool      // remove nothing
	Foreign func(key string)
}

// Swept is something that was removed, or would be.
type Swept struct {
	Key   string
	Bytes int64 // 0 if unknown
	Why   string
	Err   error // why it could not be removed
}

// Sweep removes what attempts to store bundles have left behind: objects in bundles' folders that no manifest names,
// and uploads that were never completed. It walks the whole store. It leaves alone whatever is no bundle's, a folder
// whose manifest cannot be read, and a folder with anything in it that is not older than Before, for an attempt may be
// under way. An error ends it.
func (a *Archive) Sweep(ctx context.Context, o SweepOptions) iter.Seq2[Swept, error] {
	return func(yield func(Swept, error) bool) {
		s := sweep{archive: a, SweepOptions: o, yield: yield, busy: map[Place]bool{}}
		if err := s.run(ctx); err != nil && !s.stopped {
			yield(Swept{}, err)
		}
	}
}

type sweep struct {
	SweepOptions
	archive *Archive
	yield   func(Swept, error) bool
	stopped bool
	busy    map[Place]bool // an upload to the folder is younger than Before
}

func (s *sweep) run(ctx context.Context) error {
	if err := s.unfinished(ctx); err != nil || s.stopped {
		return err
	}
	var at Place
	var objects []Object
	for o, err := range s.archive.store.List(ctx, "") {
		if err != nil {
			return err
		}
		p, name, ok := bundleKey(o.Key)
		if !ok || !objectName.MatchString(name) {
			if s.Foreign != nil {
				s.Foreign(o.Key)
			}
			continue
		}
		if p != at { // keys come in order: those of a folder together
			s.folder(ctx, at, objects)
			at, objects = p, nil
		}
		if s.stopped {
			return nil
		}
		objects = append(objects, o)
	}
	s.folder(ctx, at, objects)
	return nil
}

// unfinished aborts uploads that are old, and remembers where others are under way.
func (s *sweep) unfinished(ctx context.Context) error {
	var old []Unfinished
	for u, err := range s.archive.store.Unfinished(ctx, "") {
		if errors.Is(err, ErrUnsupported) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("find unfinished uploads: %w", err)
		}
		p, _, ok := bundleKey(u.Key)
		switch {
		case !ok:
			if s.Foreign != nil {
				s.Foreign(u.Key)
			}
		case u.Begun.Before(s.Before):
			old = append(old, u)
		default:
			s.busy[p] = true
		}
	}
	for _, u := range old {
		s.remove(Swept{Key: u.Key, Why: "upload begun " + u.Begun.UTC().Format(time.RFC3339) + " and never completed"},
			func() error { return s.archive.store.Abort(ctx, u) })
	}
	return nil
}

// folder sweeps the objects of one folder.
func (s *sweep) folder(ctx context.Context, p Place, objects []Object) {
	young := func(o Object) bool { return !o.Modified.Before(s.Before) }
	if len(objects) == 0 || s.stopped || s.busy[p] || slices.ContainsFunc(objects, young) {
		return
	}
	// Read now, not when it was listed: between this and the removal no time passes in which an attempt of that age
	// could still win.
	b := s.archive.read(ctx, folder{Place: p, manifest: true})
	if b.Problem != nil && !errors.Is(b.Problem, ErrUnfinished) {
		if !s.yield(Swept{Key: p.Prefix(), Why: "left alone", Err: b.Problem}, nil) {
			s.stopped = true
		}
		return
	}
	for _, o := range objects {
		name := strings.TrimPrefix(o.Key, p.Prefix())
		why := "the folder has no manifest"
		if b.Manifest != nil {
			if name == ManifestName || slices.ContainsFunc(b.Manifest.Objects, func(f ObjectFacts) bool { return f.Name == name }) {
				continue
			}
			why = "its manifest does not name it"
		}
		s.remove(Swept{Key: o.Key, Bytes: o.Size, Why: why}, func() error { return s.archive.store.Delete(ctx, o.Key) })
	}
}

func (s *sweep) remove(what Swept, do func() error) {
	if s.stopped {
		return
	}
	if !s.DryRun {
		what.Err = do()
	}
	s.stopped = !s.yield(what, nil)
}

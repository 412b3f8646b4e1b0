package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringside/ringside/upload"
)

// fetcher downloads the bundles of one incident.
type fetcher struct {
	archive     *upload.Archive
	id          string
	bundles     []upload.Bundle
	out, errOut io.Writer
	json        bool
	kinds       []string // of objects; none: all
}

func newFetcher(a *upload.Archive, id string, list []upload.Bundle, cmd *cobra.Command) fetcher {
	return fetcher{archive: a, id: id, bundles: list, out: cmd.OutOrStdout(), errOut: cmd.ErrOrStderr()}
}

// fetched is a bundle with what was downloaded of it.
type fetched struct {
	upload.Bundle
	files []upload.Fetched
}

// distinct refuses bundles that would get the same folder.
func (f *fetcher) distinct() error {
	type folder struct{ incident, node string }
	seen := map[folder]bool{}
	for _, b := range f.bundles {
		at := folder{b.Incident, b.Node}
		if seen[at] {
			return fmt.Errorf("nodes of this name are in several clusters: add --cluster; there are %s", nodeNames(f.bundles))
		}
		seen[at] = true
	}
	return nil
}

// fetch downloads all bundles to dir/INCIDENT/NODE. What is damaged does not keep it from the rest.
func (f *fetcher) fetch(ctx context.Context, dir string, raw bool) (list []fetched, err error) {
	var errs []error
	for _, b := range f.bundles {
		p := newProgress(f.errOut, b.Node)
		files, err := f.archive.Download(ctx, b, dir, upload.DownloadOptions{Raw: raw, Kinds: f.kinds, Progress: p.show})
		p.end()
		if ctx.Err() != nil {
			return list, errors.New("interrupted: the same command continues it")
		}
		errs = append(errs, err)
		if b.Manifest != nil {
			list = append(list, fetched{b, files})
		}
	}
	return list, errors.Join(errs...)
}

// captureFile is a downloaded capture.
type captureFile struct {
	fetched
	Path string
}

func captures(list []fetched) (files []captureFile) {
	for _, b := range list {
		for _, o := range b.files {
			if o.Kind == upload.KindCapture {
				files = append(files, captureFile{b, o.Path})
			}
		}
	}
	return files
}

// fetchReport is the answer of `incidents get --json`.
type fetchReport struct {
	ID      string   `json:"id"`
	Files   []string `json:"files"` // that are there and verified
	Problem string   `json:"problem,omitempty"`
}

// report tells which files there are now.
func (f *fetcher) report(dir string, list []fetched, more []string, err error) error {
	r := fetchReport{ID: f.id, Files: []string{}}
	for _, b := range list {
		r.Files = append(r.Files, filepath.Join(dir, b.Incident, b.Node, upload.ManifestName))
		for _, o := range b.files {
			r.Files = append(r.Files, o.Path)
		}
	}
	for _, path := range more {
		if _, err := os.Stat(path); err == nil {
			r.Files = append(r.Files, path)
		}
	}
	if err != nil {
		r.Problem = err.Error()
	}
	if f.json {
		return writeJSON(f.out, r)
	}
	for _, path := range r.Files {
		fmt.Fprintln(f.out, path)
	}
	return nil
}

// progress shows on a terminal how far a transfer is; elsewhere it is silent.
type progress struct {
	out   io.Writer // nil for none
	what  string
	shown time.Time
	any   bool
}

func newProgress(out io.Writer, what string) *progress {
	if f, ok := out.(*os.File); !ok || !isTerminal(f) {
		out = nil
	}
	return &progress{out: out, what: what}
}

func (p *progress) show(object string, done, total int64) {
	if p.out == nil || done < total && time.Since(p.shown) < 100*time.Millisecond {
		return
	}
	p.shown, p.any = time.Now(), true
	fmt.Fprintf(p.out, "\r\x1b[K%s  %s  %s of %s", p.what, object, size(done), size(total))
}

// end clears the line.
func (p *progress) end() {
	if p.any {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

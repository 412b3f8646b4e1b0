package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrDamaged is wrapped by the error of an object that is not what its manifest says.
var ErrDamaged = errors.New("damaged")

// Endings of names that a download uses, and that no object may have.
const (
	suffixPart = ".part" // of an object that is not complete, or not verified
	suffixBad  = ".bad"  // of one that is damaged
)

// DownloadOptions say how a bundle is downloaded.
type DownloadOptions struct {
	Raw      bool                                   // keep objects as they are stored, under their names there
	Kinds    []string                               // only objects of these kinds; none: all
	Progress func(object string, done, total int64) // stored bytes of one object; may be nil
}

// Fetched is an object that was downloaded and verified.
type Fetched struct {
	ObjectFacts
	Path string // of the file: decompressed, unless DownloadOptions.Raw
}

// Download brings a bundle to dir/INCIDENT/NODE: manifest.json and the objects, decompressed (the only capture as
// capture.pcapng, and so on). Objects that are there already are kept if their hashes are right, and what an earlier download left
// half is continued; all others are replaced. An error of an object names it and wraps ErrDamaged if it is not what the
// manifest says; what could be fetched of it then is in NAME.bad. The other objects are fetched nevertheless, and are
// returned together with the errors. Only one download of a bundle to one directory can run at a time.
func (a *Archive) Download(ctx context.Context, b Bundle, dir string, o DownloadOptions) ([]Fetched, error) {
	if b.Manifest == nil {
		return nil, fmt.Errorf("%s: %w", b.Prefix(), b.Problem)
	}
	dir = filepath.Join(dir, b.Incident, b.Node)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a directory for the bundle: %w", err)
	}
	if err := replace(filepath.Join(dir, ManifestName), b.Raw); err != nil {
		return nil, fmt.Errorf("write the manifest: %w", err)
	}
	sizes, err := a.sizes(ctx, b.Prefix())
	if err != nil {
		return nil, err
	}
	var files []Fetched
	var errs []error
	names := b.Manifest.plainNames()
	for i, facts := range b.Manifest.Objects {
		if len(o.Kinds) > 0 && !slices.Contains(o.Kinds, facts.Kind) {
			continue
		}
		d := download{archive: a, key: b.Prefix() + facts.Name, facts: facts, size: sizes[facts.Name], options: o}
		d.part, d.final = filepath.Join(dir, facts.Name+suffixPart), filepath.Join(dir, names[i])
		if o.Raw {
			d.final = filepath.Join(dir, facts.Name)
		}
		if err := d.run(ctx); err != nil {
			errs = append(errs, err)
			continue
		}
		files = append(files, Fetched{facts, d.final})
	}
	return files, errors.Join(errs...)
}

// sizes lists the objects of a bundle's folder by name.
func (a *Archive) sizes(ctx context.Context, prefix string) (map[string]*int64, error) {
	sizes := map[string]*int64{}
	for o, err := range a.store.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		sizes[strings.TrimPrefix(o.Key, prefix)] = &o.Size
	}
	return sizes, nil
}

// plainNames are the names of the objects' files when they are decompressed.
func (m *Manifest) plainNames() []string {
	count := map[string]int{} // by kind
	taken := map[string]bool{ManifestName: true}
	for _, o := range m.Objects {
		count[o.Kind]++
	}
	names := make([]string, len(m.Objects))
	for i, o := range m.Objects {
		names[i] = strings.TrimSuffix(strings.TrimSuffix(o.Name, ".zst"), ".gz")
		if name := onlyName[o.Kind]; name != "" && count[o.Kind] == 1 {
			names[i] = name
		}
		if taken[names[i]] {
			names[i] = o.Name // unique, and no shorter name is the same: parseManifest has seen to the first
		}
		for taken[names[i]] {
			names[i] += "_"
		}
		taken[names[i]] = true
	}
	return names
}

// Names of downloaded objects, where there is one of their kind.
const (
	CaptureName  = "capture.pcapng"
	TimelineName = "timeline.jsonl"
	ReportName   = "report.json"
	PageName     = "report.html"
)

var onlyName = map[string]string{KindCapture: CaptureName, KindTimeline: TimelineName, KindReport: ReportName, KindPage: PageName}

// download is that of one object.
type download struct {
	archive     *Archive
	key         string
	facts       ObjectFacts
	size        *int64 // in the store, nil if it is not there
	part, final string // paths
	options     DownloadOptions
}

func (d *download) run(ctx context.Context) error {
	if d.complete() {
		d.progress(d.facts.Bytes)
		return nil
	}
	if d.size == nil {
		return damaged(d.key, "is not in the store, though the manifest names it")
	}
	f, err := os.OpenFile(d.part, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("download %s: %w", d.key, err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("download %s: another download writes to %s: wait for it, or choose another directory", d.key, d.part)
	}
	for try := 1; ; try++ {
		resumed, err := d.transfer(ctx, f)
		if err != nil {
			return fmt.Errorf("download %s: %w", d.key, err)
		}
		if err = d.finish(f); !errors.Is(err, ErrDamaged) {
			return err
		}
		if !resumed || try == 2 {
			return errors.Join(err, os.Rename(d.part, strings.TrimSuffix(d.part, suffixPart)+suffixBad))
		}
		if err := f.Truncate(0); err != nil { // what was there before may be of another object
			return err
		}
	}
}

// complete says whether the file is there and what it has to be.
func (d *download) complete() bool {
	want, size := d.facts.PlainSHA256, d.facts.PlainBytes
	if d.options.Raw {
		want, size = d.facts.SHA256, d.facts.Bytes
	}
	f, err := os.OpenFile(d.final, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() != size {
		return false
	}
	sum := newSum(nil)
	_, err = io.Copy(sum, f)
	return err == nil && sum.hex() == want
}

// transfer appends to f what it lacks of the object. resumed says whether the bytes are of more than one request.
func (d *download) transfer(ctx context.Context, f *os.File) (resumed bool, err error) {
	end := min(*d.size, d.facts.Bytes)
	at, err := f.Seek(0, io.SeekEnd)
	if err == nil && at > end {
		at, err = 0, f.Truncate(0)
	}
	if err == nil {
		_, err = f.Seek(at, io.SeekStart)
	}
	if err != nil {
		return false, err
	}
	r := d.archive.open(ctx, d.key, at, end)
	defer r.Close()
	r.progress = d.progress
	_, err = io.Copy(f, r)
	return r.resumed, err
}

func (d *download) progress(done int64) {
	if d.options.Progress != nil {
		d.options.Progress(d.facts.Name, done, d.facts.Bytes)
	}
}

// finish verifies the stored bytes in f and the decompressed ones, and gives the file its name.
func (d *download) finish(f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var plain io.Writer = io.Discard
	if !d.options.Raw && d.facts.Compression != CompressionNone {
		hidden := filepath.Join(filepath.Dir(d.final), "."+filepath.Base(d.final)) // no object has such a name
		out, err := os.OpenFile(hidden, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return err
		}
		defer os.Remove(hidden)
		defer out.Close()
		if err := d.facts.verify(d.key, *d.size, f, out); err != nil {
			return err
		}
		if err := errors.Join(out.Close(), os.Rename(hidden, d.final)); err != nil {
			return err
		}
		return os.Remove(d.part)
	}
	if err := d.facts.verify(d.key, *d.size, f, plain); err != nil {
		return err
	}
	return os.Rename(d.part, d.final)
}

// replace writes a small file at once.
func replace(path string, data []byte) error {
	if err := os.WriteFile(path+suffixPart, data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+suffixPart, path)
}

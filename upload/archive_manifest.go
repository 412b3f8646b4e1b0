package upload

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/ringside/ringside/trigger"
)

const (
	manifestsAtOnce = 8
	maxManifest     = 16 << 20 // bytes: a window of an hour in segments of a second, and a thousand notes, have 2 MiB
	maxObject       = 5 << 40  // bytes: the largest object S3 takes
	maxPlain        = 1 << 50  // bytes of an object, decompressed
)

// load reads the manifests of the folders, several at once, and yields their bundles in the folders' order. It says
// whether to go on.
func (a *Archive) load(ctx context.Context, folders []folder, q Query, yield func(Bundle, error) bool) bool {
	ctx, cancel := context.WithCancel(ctx)
	results := make([]chan loaded, len(folders))
	begun := 0
	defer func() {
		cancel()
		for _, c := range results[:begun] {
			<-c
		}
	}()
	failed := 0
	for i := range folders {
		for ; begun < min(len(folders), i+manifestsAtOnce); begun++ {
			c := make(chan loaded, 1)
			results[begun] = c
			go func(f folder) {
				c <- a.read(ctx, f)
				close(c)
			}(folders[begun])
		}
		r := <-results[i]
		if r.failure == nil {
			failed = 0
		} else if failed++; failed == manifestsAtOnce || ctx.Err() != nil { // not this object, the store
			yield(Bundle{}, r.failure)
			return false
		}
		if q.matches(r.Manifest) && !yield(r.Bundle, nil) {
			return false
		}
	}
	return true
}

// loaded is a bundle and, if reading its manifest failed for a reason that others may share, that reason.
type loaded struct {
	Bundle
	failure error
}

// read reads the manifest of a folder.
func (a *Archive) read(ctx context.Context, f folder) (r loaded) {
	r.Place = f.Place
	if !f.manifest {
		r.Problem = ErrUnfinished
		return r
	}
	raw, err := a.manifest(ctx, f.Place)
	switch {
	case errors.Is(err, ErrNotFound):
		r.Problem = ErrUnfinished // removed since it was listed
	case err != nil:
		r.Problem = fmt.Errorf("the manifest cannot be read: %w", err)
		if !errors.Is(err, ErrDenied) {
			r.failure = r.Problem
		}
	default:
		r.Raw = raw
		r.Manifest, r.Problem = parseManifest(raw, f.Place)
	}
	return r
}

// manifest reads a manifest, once more if the answer breaks off.
func (a *Archive) manifest(ctx context.Context, p Place) (raw []byte, err error) {
	for range 2 {
		var r io.ReadCloser
		if r, _, err = a.store.Get(ctx, p.Prefix()+ManifestName, 0); err != nil {
			return nil, err
		}
		raw, err = io.ReadAll(io.LimitReader(r, maxManifest+1))
		r.Close()
		if err == nil {
			return raw, nil
		}
	}
	return nil, err
}

var (
	objectName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,249}$`)
	hexSHA256  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// parseManifest reads the manifest that lies at p, and refuses what must not be acted upon: names that lead out of the
// folder, or a manifest that belongs elsewhere.
func parseManifest(raw []byte, p Place) (*Manifest, error) {
	if len(raw) > maxManifest {
		return nil, fmt.Errorf("the manifest has more than %d bytes", maxManifest)
	}
	in := json.NewDecoder(bytes.NewReader(raw))
	m := &Manifest{}
	if err := in.Decode(m); err != nil {
		return nil, fmt.Errorf("the manifest is no JSON of a manifest: %w", err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the manifest has something behind its JSON")
	}
	if m.Version != ManifestVersion {
		return nil, fmt.Errorf("the manifest has version %d, and this program knows %d: use the ringside that wrote it, or a newer one",
			m.Version, ManifestVersion)
	}
	if at := (Place{m.Cluster, m.Incident, m.Node}); at != p {
		return nil, fmt.Errorf("the manifest is that of incident %q on node %q of cluster %q: it was not stored here",
			at.Incident, at.Node, at.Cluster)
	}
	if err := m.checkTriggers(); err != nil {
		return nil, err
	}
	seen := map[string]bool{ManifestName: true}
	for i, o := range m.Objects {
		if err := o.check(); err != nil {
			return nil, fmt.Errorf("object %d in the manifest, %q: %w", i+1, o.Name, err)
		}
		if seen[o.Name] {
			return nil, fmt.Errorf("object %d in the manifest, %q: the name is taken", i+1, o.Name)
		}
		seen[o.Name] = true
	}
	return m, nil
}

func (m *Manifest) checkTriggers() error {
	if len(m.Triggers) == 0 {
		return errors.New("the manifest names no trigger")
	}
	for i, t := range m.Triggers {
		if _, ok := trigger.IDTime(t.ID); !ok {
			return fmt.Errorf("trigger %d in the manifest: %q is no id", i+1, t.ID)
		}
	}
	if p := m.Previous; p != nil {
		if _, ok := trigger.IDTime(p.Incident); !ok || !hexSHA256.MatchString(p.SHA256) {
			return fmt.Errorf("the previous manifest in the manifest, %q: no id, or no SHA-256", p.Incident)
		}
	}
	return nil
}

// check says what makes the object unfit to be fetched.
func (o *ObjectFacts) check() error {
	switch {
	case !objectName.MatchString(o.Name) || strings.HasSuffix(o.Name, suffixPart) || strings.HasSuffix(o.Name, suffixBad):
		return errors.New("no name of an object")
	case o.Bytes < 0 || o.Bytes > maxObject || o.PlainBytes < 0 || o.PlainBytes > maxPlain:
		return fmt.Errorf("%d bytes, %d decompressed: no size of an object", o.Bytes, o.PlainBytes)
	case !hexSHA256.MatchString(o.SHA256) || !hexSHA256.MatchString(o.PlainSHA256):
		return errors.New("no SHA-256 in 64 hexadecimal digits")
	}
	switch o.Compression {
	case CompressionZstd, CompressionGzip, CompressionNone:
		return nil
	}
	return fmt.Errorf("compressed by %q, which this program does not know", o.Compression)
}

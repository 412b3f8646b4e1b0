package upload

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/failpoint"
	"github.com/ringside/ringside/trigger"
)

// MaxAttempt is how long after its objects a manifest may still be written: one that was composed is believed for so long
// to describe what is in the store. Sweeping what is younger may take away the objects of a manifest that is on its way.
const MaxAttempt = 12 * time.Hour

// composition is a manifest on its way. It is kept in the journal's directory before it is sent, so that however often
// that is tried, it is the same, and the next one can name its hash although a writer may not read the store.
type composition struct {
	Store    string    `json:"store"` // see identity
	At       time.Time `json:"at"`
	Key      string    `json:"key"`
	Manifest []byte    `json:"manifest"`
	path     string
}

func (o *Outbox) composition(id string) string {
	return filepath.Join(o.incidents.Dir(), id+".manifest.json")
}

// identity tells stores apart, those too whose URL is the same because a bucket of that name is on two servers.
func identity(cfg Config, store Store) string {
	if cfg.S3.Endpoint == "" {
		return store.String()
	}
	return store.String() + " at " + cfg.S3.Endpoint
}

// composed returns what an earlier attempt composed for the same store, nil if there is nothing that still holds.
func (o *Outbox) composed(cfg Config, store Store, place Place) (*composition, error) {
	c := &composition{path: o.composition(place.Incident)}
	b, err := os.ReadFile(c.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	err = json.Unmarshal(b, c)
	moved := o.clashes[place.Incident] && c.Key != place.Prefix()+ManifestName
	if err != nil || moved || c.Store != identity(cfg, store) || time.Since(c.At).Abs() > MaxAttempt {
		delete(o.clashes, place.Incident)
		return nil, os.Remove(c.path)
	}
	return c, nil
}

// compose completes m with the link to the manifest before it, and keeps it.
func (o *Outbox) compose(m *Manifest, store string) (*composition, error) {
	previous, err := o.previous(store)
	if err != nil {
		return nil, err
	}
	m.Previous = previous
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", m.Incident, err)
	}
	c := &composition{Store: store, At: m.Created, Key: Place{m.Cluster, m.Incident, m.Node}.Prefix() + ManifestName,
		Manifest: append(text, '\n'), path: o.composition(m.Incident)}
	b, err := json.Marshal(c)
	if err == nil {
		err = trigger.Publish(c.path, b)
	}
	if err != nil {
		return nil, fmt.Errorf("outbox: keep the manifest of %s: %w: free space on the spool's disk", m.Incident, err)
	}
	return c, nil
}

// roomFor makes sure that a manifest can be kept before the packets are sent: else they would be sent once an attempt.
func (o *Outbox) roomFor(id string) error {
	probe := o.composition(id) + ".tmp" // what a crash leaves of it is removed as the journal's own
	err := os.WriteFile(probe, make([]byte, 64<<10), 0o640)
	_ = os.Remove(probe)
	if err != nil {
		return fmt.Errorf("outbox: keep the manifest of %s: %w: free space on the spool's disk", id, err)
	}
	return nil
}

// commit makes the bundle one: manifest, link for the next, journal, in this order. Each step can be repeated.
func (o *Outbox) commit(ctx context.Context, store Store, i trigger.Incident, c *composition) error {
	failpoint.Stage("before-manifest")
	err := store.PutNew(ctx, c.Key, c.Manifest, PutOptions{Size: int64(len(c.Manifest)), Type: "application/json"})
	manifest := c.Manifest
	if errors.Is(err, ErrExists) { // such as when the answer to an earlier attempt was lost
		manifest, err = o.existing(ctx, store, c, i.ID)
	}
	if err != nil {
		return err
	}
	failpoint.Stage("after-manifest")
	var m Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return fmt.Errorf("outbox: manifest of %s: %w", i.ID, err)
	}
	sum := sha256.Sum256(manifest)
	s := trigger.Stored{At: time.Now().UTC().Round(0), Manifest: c.Key, SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(manifest))}
	for _, object := range m.Objects {
		s.Bytes += object.Bytes
	}
	if err := o.link(c.Store, Previous{i.ID, s.SHA256}); err != nil {
		return err
	}
	if err := o.incidents.Stored(i.ID, s); err != nil {
		return err
	}
	if err := os.Remove(c.path); err != nil {
		o.log.Warn("a manifest that is stored could not be removed from the outbox", zap.Error(err))
	}
	o.mu.Lock()
	delete(o.told, i.ID)
	o.mu.Unlock()
	o.tell.Stored(&m, s, store.String())
	o.log.Info("an incident is stored", zap.String("incident", i.ID), zap.String("store", store.String()), zap.String("manifest", c.Key),
		zap.Int64("bytes", s.Bytes), zap.Uint64("packets", m.Window.Coverage.Packets), zap.Bool("complete", m.Window.Complete))
	return nil
}

// existing returns the manifest that is in the store already: as a rule the one that was composed, sometimes an earlier
// one, given up for its age, that had won after all. A writer that may not read takes it for the former. One of other
// triggers is another recorder's, and an error.
func (o *Outbox) existing(ctx context.Context, store Store, c *composition, id string) ([]byte, error) {
	r, _, err := store.Get(ctx, c.Key, 0)
	if errors.Is(err, ErrDenied) || errors.Is(err, ErrNotFound) {
		return c.Manifest, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxManifest))
	if err != nil || bytes.Equal(text, c.Manifest) {
		return text, err
	}
	var ours, theirs Manifest
	err = errors.Join(json.Unmarshal(c.Manifest, &ours), json.Unmarshal(text, &theirs))
	if err != nil || !reflect.DeepEqual(ours.Triggers, theirs.Triggers) {
		o.clashes[id] = true
		return nil, fmt.Errorf("%s is in %s already and is not of this recorder: give each node its own name (node)", c.Key, store)
	}
	return text, nil
}

// chain is the last manifest that this node stored, by the identity of the store.
type chain map[string]Previous

func (o *Outbox) chainFile() string { return filepath.Join(o.incidents.Dir(), "chain.json") }

func (o *Outbox) readChain() (chain, error) {
	c := chain{}
	b, err := os.ReadFile(o.chainFile())
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	if err := json.Unmarshal(b, &c); err != nil { // no reason to hold up bundles
		o.log.Error("the hash of the last manifest cannot be read; a new chain of manifests begins, and the file is set aside",
			zap.String("file", o.chainFile()), zap.Error(err))
		return chain{}, os.Rename(o.chainFile(), o.chainFile()+".damaged")
	}
	return c, nil
}

func (o *Outbox) previous(store string) (*Previous, error) {
	c, err := o.readChain()
	if p, ok := c[store]; ok {
		return &p, err
	}
	return nil, err
}

func (o *Outbox) link(store string, p Previous) error {
	c, err := o.readChain()
	if err != nil {
		return err
	}
	c[store] = p
	b, err := json.Marshal(c)
	if err == nil {
		err = trigger.Publish(o.chainFile(), b)
	}
	if err != nil {
		return fmt.Errorf("outbox: keep the hash of the last manifest: %w: free space on the spool's disk", err)
	}
	return nil
}

// tidy removes the manifests of incidents that a crash kept from being removed when they were stored.
func (o *Outbox) tidy() {
	paths, _ := filepath.Glob(o.composition("*")) // the pattern is a good one
	for _, i := range o.incidents.Ready() {
		paths = slices.DeleteFunc(paths, func(path string) bool { return path == o.composition(i.ID) })
	}
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			o.log.Warn("a manifest that is stored could not be removed from the outbox", zap.Error(err))
		}
	}
}

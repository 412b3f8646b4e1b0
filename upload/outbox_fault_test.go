package upload_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// away is a store of which no manifest comes back: what was composed stays.
func away(s upload.Store, times int) upload.Store {
	return &faulty{Store: s, putNew: slices.Repeat([]func(func() error) error{func(func() error) error { return errAway }}, times)}
}

// awaitFile waits until there is a file.
func awaitFile(t *testing.T, path string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not come", path)
		}
	}
}

func (n *node) composition(id string) string {
	return filepath.Join(n.engine.Dir(), id+".manifest.json")
}

// sameName is a store with the URL of another, as a bucket of one name has on two servers.
type sameName struct {
	upload.Store
	name string
}

func (s sameName) String() string { return s.name }

// TestOutboxAnotherServer: a manifest that was composed for a bucket is not sent to one of the same name elsewhere.
func TestOutboxAnotherServer(t *testing.T) {
	t.Parallel()
	const name = "s3://bucket/prefix"
	n := newNode(t, func(c *upload.Config) { c.S3.Endpoint = "https://one.example" }, func(s upload.Store) upload.Store {
		return sameName{away(s, 1<<20), name}
	})
	n.record(100)
	id := n.fire("slow")
	awaitFile(t, n.composition(id))
	cfg := n.cfg
	cfg.To += "-2"
	other, err := upload.OpenStore(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.S3.Endpoint = "https://two.example"
	n.outbox.Reconfigure(cfg, sameName{other, name})
	n.await(id)
	n.store = other
	if got := n.packets(n.bundle(id)); got != 100 {
		t.Errorf("%d packets on the other server", got)
	}
}

// TestOutboxComposedAnew: where an earlier manifest had won after all, the chain goes on from that one.
func TestOutboxComposedAnew(t *testing.T) {
	t.Parallel()
	var n *node
	old := func() { // as after a day without an answer
		paths, _ := filepath.Glob(filepath.Join(n.engine.Dir(), "*.manifest.json"))
		for _, path := range paths {
			age(t, path)
		}
	}
	ready := make(chan struct{})
	n = newNode(t, nil, func(s upload.Store) upload.Store {
		return &faulty{Store: s, putNew: []func(func() error) error{func(put func() error) error {
			<-ready
			defer old()
			return errors.Join(put(), errAway) // stored, and the answer was lost
		}}}
	})
	close(ready)
	n.record(100)
	first := n.fire("first")
	n.await(first)
	second := n.fire("second")
	n.await(second)
	var c upload.Chain
	for _, id := range []string{first, second} {
		c.Add(n.bundle(id))
	}
	if errs := c.Check(); len(errs) > 0 {
		t.Errorf("the chain: %v", errs)
	}
}

// age makes a composition one of yesterday.
func age(t *testing.T, path string) {
	b, err := os.ReadFile(path)
	var c map[string]any
	if err = errors.Join(err, json.Unmarshal(b, &c)); err != nil {
		t.Error(err)
		return
	}
	c["at"] = time.Now().Add(-24 * time.Hour)
	b, err = json.Marshal(c)
	if err = errors.Join(err, trigger.Publish(path, b)); err != nil {
		t.Error(err)
	}
}

// TestOutboxTwoNodesOfOneName: a bundle that another recorder stored under the same id and node is not taken for one's own.
func TestOutboxTwoNodesOfOneName(t *testing.T) {
	t.Parallel()
	one := newNode(t, nil, nil)
	two := newNode(t, nil, func(upload.Store) upload.Store { return one.store })
	id := trigger.NewID(time.Now())
	fire := func(n *node) {
		pre, post := 10*time.Second, time.Duration(0)
		if _, err := n.engine.Accept(t.Context(), trigger.Request{ID: id, Reason: "slow", Pre: &pre, Post: &post, At: time.Unix(0, n.covered)}); err != nil {
			t.Fatal(err)
		}
	}
	one.record(10)
	two.record(20)
	fire(one)
	one.await(id)
	fire(two)
	for two.outbox.Stats().Failures == 0 {
		time.Sleep(time.Millisecond)
	}
	if i := two.engine.Incidents()[0]; i.State != trigger.StateReady || len(two.pins()) != 1 || !strings.Contains(two.outbox.Stats().Failing, "own name") {
		t.Fatalf("%+v, pins %v, failing %q", i, two.pins(), two.outbox.Stats().Failing)
	}
	other := two.fire("another") // is not kept waiting
	two.await(other)
	cfg := two.cfg
	cfg.Node = "m"
	two.outbox.Reconfigure(cfg, one.store)
	two.await(id)
	archive := upload.NewArchive(one.store)
	all, err := archive.Find(t.Context(), id)
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	for _, b := range all {
		if err := archive.Verify(t.Context(), b, nil); err != nil {
			t.Error(err)
		}
	}
}

// TestOutboxDamagedChain: what says which manifest was the last holds no bundle up.
func TestOutboxDamagedChain(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil, nil)
	if err := os.WriteFile(filepath.Join(n.engine.Dir(), "chain.json"), []byte("\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.record(10)
	id := n.fire("slow")
	n.await(id)
	if b := n.bundle(id); b.Manifest.Previous != nil {
		t.Errorf("previous %+v", b.Manifest.Previous)
	}
	if n.logs.FilterMessageSnippet("chain of manifests").Len() != 1 {
		t.Error("the loss was not logged")
	}
}

// counting counts the captures that it is given.
type counting struct {
	upload.Store
	puts chan string
}

func (c counting) Put(ctx context.Context, key string, r io.Reader, o upload.PutOptions) error {
	c.puts <- key
	return c.Store.Put(ctx, key, r, o)
}

// TestOutboxFullDisk: while no manifest can be kept on the node, nothing is sent to the store again and again.
func TestOutboxFullDisk(t *testing.T) {
	t.Parallel()
	puts := make(chan string, 1000)
	n := newNode(t, nil, func(s upload.Store) upload.Store { return counting{s, puts} })
	n.record(10)
	id := trigger.NewID(time.Now())
	temp := n.composition(id) + ".tmp"
	if err := os.MkdirAll(filepath.Join(temp, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	pre, post := 10*time.Second, time.Duration(0)
	if _, err := n.engine.Accept(t.Context(), trigger.Request{ID: id, Reason: "slow", Pre: &pre, Post: &post, At: time.Unix(0, n.covered)}); err != nil {
		t.Fatal(err)
	}
	for n.outbox.Stats().Failures < 5 {
		time.Sleep(time.Millisecond)
	}
	if err := os.RemoveAll(temp); err != nil {
		t.Fatal(err)
	}
	n.await(id)
	n.bundle(id)
	if len(puts) != 1 {
		t.Errorf("the capture was sent %d times", len(puts))
	}
}

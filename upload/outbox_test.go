package upload_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// node is a recorder without packets of its own: a spool, an engine and an outbox, fed by the test.
type node struct {
	t       *testing.T
	spool   *rotate.Spool
	engine  *trigger.Engine
	outbox  *upload.Outbox
	cfg     upload.Config
	store   upload.Store
	told    teller
	logs    *observer.ObservedLogs
	table   *pcapng.Table
	covered int64
	sent    uint64
	stop    func()

	timeline upload.Timeline // nil: bundles have packets only
}

type teller struct {
	mu      sync.Mutex
	stored  []string
	failing []string
}

func (l *teller) Stored(m *upload.Manifest, _ trigger.Stored, _ string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored = append(l.stored, m.Incident)
}

func (l *teller) Failing(i trigger.Incident, _, _, _ string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failing = append(l.failing, i.ID)
}

// newNode starts a node whose outbox writes to what wrap makes of a directory store.
func newNode(t *testing.T, change func(*upload.Config), wrap func(upload.Store) upload.Store) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{t: t, cfg: upload.Config{To: "file://" + filepath.Join(dir, "store"), Cluster: "c", Node: "n"}}
	if change != nil {
		change(&n.cfg)
	}
	var err error
	if n.store, err = upload.OpenStore(t.Context(), n.cfg, nil); err != nil {
		t.Fatal(err)
	}
	if n.spool, err = rotate.Open(rotate.Config{Dir: filepath.Join(dir, "spool"), Keep: rotate.Keep{Bytes: 64 << 20, Free: 1e-9}}, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	cfg := trigger.Config{Dir: filepath.Join(dir, "spool", "incidents"), Cooldown: time.Nanosecond, Rate: 1000}
	if n.engine, err = trigger.Open(cfg, n.spool, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	n.logs = logs
	store := n.store
	if wrap != nil {
		store = wrap(store)
	}
	n.outbox = upload.NewOutbox(n.cfg, store, n.engine, n.spool, n.timeline, &n.told, zap.New(core))
	n.outbox.SetPause(func(int) time.Duration { return time.Millisecond })
	n.table = new(pcapng.Table)
	n.table.Add(pcapng.Interface{Name: "eth0", Index: 2})
	n.covered = time.Now().Add(-time.Minute).UnixNano()
	n.run()
	return n
}

func (n *node) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	spool, end := context.WithCancel(context.Background())
	all.Go(func() { _ = n.spool.Run(spool) })
	var others sync.WaitGroup
	others.Go(func() { _ = n.engine.Run(ctx) })
	others.Go(func() { _ = n.outbox.Run(ctx, 0) })
	n.stop = sync.OnceFunc(func() {
		cancel()
		others.Wait()
		end()
		all.Wait()
		if err := n.spool.Close(); err != nil {
			n.t.Error(err)
		}
	})
	n.t.Cleanup(n.stop)
}

// record puts packets of 200 bytes that end now into the spool.
func (n *node) record(packets int) {
	n.t.Helper()
	c, err := n.spool.Get(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	now := time.Now().UnixNano()
	c.Reset(n.table, "eth0", n.covered)
	for i := range packets {
		frame := make([]byte, 200)
		copy(frame, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x88\xb5")
		binary.BigEndian.PutUint64(frame[14:], n.sent)
		c.Packet(0, now-int64(packets-i), uint32(len(frame)), pcapng.Inbound, nil, frame)
		n.sent++
	}
	n.covered = now
	c.Summary.To = now
	n.spool.Put(c)
	for n.spool.Stats().Newest.Before(time.Unix(0, now)) { // Await alone knows of nothing before the spool's Run has begun
		n.spool.Await(n.t.Context(), time.Unix(0, now))
	}
}

// fire asks for an incident of the last ten seconds.
func (n *node) fire(reason string) string {
	n.t.Helper()
	pre, post := 10*time.Second, time.Duration(0)
	r, err := n.engine.Accept(n.t.Context(), trigger.Request{Reason: reason, Pre: &pre, Post: &post, At: time.Unix(0, n.covered)})
	if err != nil {
		n.t.Fatal(err)
	}
	return r.ID
}

// await waits until the incidents are stored.
func (n *node) await(ids ...string) {
	n.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		left := slices.Clone(ids)
		for _, i := range n.engine.Incidents() {
			if i.State == trigger.StateStored {
				left = slices.DeleteFunc(left, func(id string) bool { return id == i.ID })
			}
		}
		if len(left) == 0 {
			return
		}
		select {
		case <-deadline:
			n.t.Fatalf("not stored: %v of %+v", left, n.engine.Incidents())
		case <-time.After(5 * time.Millisecond): // the engine has no signal for that but the outbox's
		}
	}
}

// bundle returns the one bundle of an incident, verified.
func (n *node) bundle(id string) upload.Bundle {
	n.t.Helper()
	archive := upload.NewArchive(n.store)
	all, err := archive.Find(n.t.Context(), id)
	if err != nil || len(all) != 1 || all[0].Problem != nil {
		n.t.Fatalf("%s: %+v, %v", id, all, err)
	}
	if err := archive.Verify(n.t.Context(), all[0], nil); err != nil {
		n.t.Fatal(err)
	}
	return all[0]
}

// packets counts the packets of a bundle's capture.
func (n *node) packets(b upload.Bundle) (count uint64) {
	n.t.Helper()
	o := b.Manifest.Objects[0]
	r, _, err := n.store.Get(n.t.Context(), b.Prefix()+o.Name, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	defer r.Close()
	var plain io.Reader = r
	switch o.Compression {
	case upload.CompressionZstd:
		plain, err = zstd.NewReader(r)
		defer plain.(*zstd.Decoder).Close()
	case upload.CompressionGzip:
		plain, err = gzip.NewReader(r)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	for w := pcapng.NewWalker(plain); ; {
		block, err := w.Next()
		if err == io.EOF {
			return count
		}
		if err != nil {
			n.t.Fatal(err)
		}
		if block.Type == pcapng.TypePacket {
			count++
		}
	}
}

func (n *node) pins() (names []string) {
	for _, p := range n.spool.Pins() {
		names = append(names, p.Name)
	}
	return names
}

func TestOutbox(t *testing.T) {
	for _, compression := range []string{"", upload.CompressionGzip, upload.CompressionNone} {
		t.Run("compression "+compression, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, func(c *upload.Config) { c.Compression = compression }, nil)
			n.record(1000)
			first := n.fire("first")
			n.await(first)
			n.record(500)
			second := n.fire("second")
			n.await(second)
			a, b := n.bundle(first), n.bundle(second)
			if got := [2]uint64{n.packets(a), n.packets(b)}; got != [2]uint64{1000, 1500} {
				t.Errorf("packets %v, want 1000 and 1500", got)
			}
			if m := b.Manifest; m.Window.Coverage.Packets != 1500 || !m.Window.Complete || m.Cluster != "c" || m.Node != "n" || m.Triggers[0].Reason != "second" {
				t.Errorf("manifest %+v", m)
			}
			if p := b.Manifest.Previous; a.Manifest.Previous != nil || p == nil || p.Incident != first || p.SHA256 != n.engine.Incidents()[1].Stored.SHA256 {
				t.Errorf("chain: %+v after %+v", p, a.Manifest.Previous)
			}
			n.stop()
			if pins := n.pins(); len(pins) > 0 || !slices.Equal(n.told.stored, []string{first, second}) {
				t.Errorf("pins %v, told %v", pins, n.told.stored)
			}
		})
	}
}

// faulty fails as told: a function per call, in order; then it is the store.
type faulty struct {
	upload.Store
	mu     sync.Mutex
	put    []func(io.Reader) error
	putNew []func(put func() error) error
}

func pop[T any](mu *sync.Mutex, list *[]T) (f T, ok bool) {
	mu.Lock()
	defer mu.Unlock()
	if len(*list) == 0 {
		return f, false
	}
	f = (*list)[0]
	*list = (*list)[1:]
	return f, true
}

func (f *faulty) Put(ctx context.Context, key string, r io.Reader, o upload.PutOptions) error {
	if fail, ok := pop(&f.mu, &f.put); ok {
		if err := fail(r); err != nil {
			return err
		}
	}
	return f.Store.Put(ctx, key, r, o)
}

func (f *faulty) PutNew(ctx context.Context, key string, data []byte, o upload.PutOptions) error {
	put := func() error { return f.Store.PutNew(ctx, key, data, o) }
	if fail, ok := pop(&f.mu, &f.putNew); ok {
		return fail(put)
	}
	return put()
}

var errAway = errors.New("the store is away")

func TestOutboxTriesAgain(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil, func(s upload.Store) upload.Store {
		return &faulty{Store: s,
			put: []func(io.Reader) error{
				func(io.Reader) error { return errAway },
				func(r io.Reader) error { _, _ = io.CopyN(io.Discard, r, 1000); return errAway },
			},
			putNew: []func(func() error) error{
				func(func() error) error { return errAway },
				func(put func() error) error { return errors.Join(put(), errAway) }, // stored, and the answer was lost
			},
		}
	})
	n.record(1000)
	id := n.fire("slow")
	n.await(id)
	if got := n.packets(n.bundle(id)); got != 1000 {
		t.Errorf("%d packets", got)
	}
	n.stop()
	s := n.outbox.Stats()
	if s.Attempts != 5 || s.Failures != 4 || s.Bundles != 1 || s.Failing != "" {
		t.Errorf("stats %+v", s)
	}
	var objects []string
	for o, err := range n.store.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o.Key)
	}
	if len(objects) != 2 { // the third attempt composed the manifest; the later ones only sent it
		t.Errorf("the store has %v", objects)
	}
	if failures := n.logs.FilterMessageSnippet("could not be stored").Len(); failures != 1 {
		t.Errorf("%d lines of the failures, want 1 a minute", failures)
	}
	if n.logs.FilterMessageSnippet("takes bundles again").Len() != 1 {
		t.Errorf("the recovery was not logged")
	}
}

func TestOutboxAnotherStore(t *testing.T) {
	t.Parallel()
	composed := make(chan struct{})
	n := newNode(t, nil, func(s upload.Store) upload.Store {
		return &faulty{Store: s, putNew: slices.Repeat([]func(func() error) error{func(func() error) error {
			select {
			case composed <- struct{}{}:
			default:
			}
			return errAway
		}}, 100)}
	})
	n.record(100)
	id := n.fire("slow")
	<-composed
	cfg := n.cfg
	cfg.To += "-2"
	other, err := upload.OpenStore(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	n.outbox.Reconfigure(cfg, other)
	n.await(id)
	n.store = other
	if got := n.packets(n.bundle(id)); got != 100 {
		t.Errorf("%d packets in the other store", got)
	}
}

func TestOutboxOneThatCannotBeRead(t *testing.T) {
	t.Parallel()
	block := make(chan struct{})
	n := newNode(t, nil, func(s upload.Store) upload.Store {
		return &faulty{Store: s, put: []func(io.Reader) error{func(io.Reader) error { <-block; return errAway }}}
	})
	n.record(100)
	bad := n.fire("bad")
	for n.engine.Stats().Incidents[trigger.StateOpen] > 0 { // else the next would join it
		time.Sleep(time.Millisecond)
	}
	good := n.fire("good")
	if err := n.spool.Unpin(bad); err != nil {
		t.Fatal(err)
	}
	close(block)
	n.await(good)
	if i := n.engine.Ready(); len(i) != 1 || i[0].ID != bad {
		t.Errorf("ready: %+v", i)
	}
}

func TestOutboxTellsOfFailing(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *upload.Config) { c.Notify.After = time.Nanosecond }, func(s upload.Store) upload.Store {
		away := func(io.Reader) error { return errAway }
		return &faulty{Store: s, put: []func(io.Reader) error{away, away, away}}
	})
	n.record(1)
	id := n.fire("slow")
	n.await(id)
	n.stop()
	if !slices.Equal(n.told.failing, []string{id}) || !slices.Equal(n.told.stored, []string{id}) {
		t.Errorf("told %+v, want %s once failing and once stored", &n.told.failing, id)
	}
}

// TestOutboxDrain runs an outbox that is to stop at once: what is ready is stored as far as there is time.
func TestOutboxDrain(t *testing.T) {
	t.Parallel()
	away := make(chan struct{})
	n := newNode(t, nil, func(s upload.Store) upload.Store {
		return &faulty{Store: s, put: []func(io.Reader) error{func(io.Reader) error { <-away; return errAway }}}
	})
	n.record(10)
	ids := []string{n.fire("first"), n.fire("second")}
	for n.engine.Stats().Incidents[trigger.StateOpen] > 0 {
		time.Sleep(time.Millisecond)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	drained := upload.NewOutbox(n.cfg, n.store, n.engine, n.spool, n.timeline, &n.told, zap.NewNop())
	if err := drained.Run(over, time.Minute); err != nil {
		t.Error(err)
	}
	for _, id := range ids {
		n.bundle(id)
	}
	close(away) // the other outbox finds nothing left
}

func TestManifestIsStrictJSON(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil, nil)
	n.record(3)
	id := n.fire("strict")
	n.await(id)
	b := n.bundle(id)
	in := json.NewDecoder(bytes.NewReader(b.Raw))
	in.DisallowUnknownFields()
	var m upload.Manifest
	if err := in.Decode(&m); err != nil || fmt.Sprint(m.Objects) != fmt.Sprint(b.Manifest.Objects) {
		t.Errorf("%v: %+v", err, m)
	}
	composed := filepath.Join(n.engine.Dir(), id+".manifest.json") // removed after the incident is stored
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		_, err := os.Stat(composed)
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the composed manifest is left: %v", err)
		}
	}
}

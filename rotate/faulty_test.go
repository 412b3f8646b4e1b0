package rotate

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// faulty is a disk whose operations fail or stall as a test says. A hook that is nil lets the operation through.
type faulty struct {
	disk
	mu    sync.Mutex
	hooks hooks
}

type hooks struct {
	create, allocate, sync, publish, rename, link func() error
	write                                         func(b []byte, off int64) (int, error) // n < 0: let it through
	space                                         func() (free, total int64)
	removed                                       func(path string)
}

func (d *faulty) set(h hooks) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hooks = h
}

func (d *faulty) get() hooks {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hooks
}

func call(f func() error) error {
	if f == nil {
		return nil
	}
	return f()
}

func (d *faulty) Create(path string) (file, error) {
	if err := call(d.get().create); err != nil {
		return nil, err
	}
	f, err := d.disk.Create(path)
	return &faultyFile{f, d}, err
}

func (d *faulty) Publish(path string, b []byte) error {
	if err := call(d.get().publish); err != nil {
		return err
	}
	return d.disk.Publish(path, b)
}

func (d *faulty) Rename(from, to string) error {
	if err := call(d.get().rename); err != nil {
		return err
	}
	return d.disk.Rename(from, to)
}

func (d *faulty) Link(from, to string) error {
	if err := call(d.get().link); err != nil {
		return err
	}
	return d.disk.Link(from, to)
}

func (d *faulty) Remove(path string) error {
	if f := d.get().removed; f != nil {
		f(path)
	}
	return d.disk.Remove(path)
}

func (d *faulty) Space(dir string) (int64, int64, error) {
	if f := d.get().space; f != nil {
		free, total := f()
		return free, total, nil
	}
	return d.disk.Space(dir)
}

type faultyFile struct {
	file
	d *faulty
}

func (f *faultyFile) WriteAt(b []byte, off int64) (int, error) {
	if hook := f.d.get().write; hook != nil {
		n, err := hook(b, off)
		if err == nil && n < 0 {
			return f.file.WriteAt(b, off)
		}
		if n > 0 {
			_, _ = f.file.WriteAt(b[:n], off)
		}
		return max(n, 0), err
	}
	return f.file.WriteAt(b, off)
}

func (f *faultyFile) Allocate(off, n int64) error {
	if err := call(f.d.get().allocate); err != nil {
		return err
	}
	return f.file.Allocate(off, n)
}

func (f *faultyFile) Sync() error {
	if err := call(f.d.get().sync); err != nil {
		return err
	}
	return f.file.Sync()
}

// steppable is a clock that a test sets; it goes on with the bubble's time.
type steppable struct{ step, boot atomic.Int64 }

func (c *steppable) now() (wall, boot int64) {
	now := time.Now().UnixNano()
	return now + c.step.Load(), now + c.boot.Load()
}

// newSteppable returns a clock that says second.
func newSteppable() *steppable {
	c := &steppable{}
	c.step.Store(second - time.Now().UnixNano())
	return c
}

// faultyRecording records to a faulty disk, in a bubble, with a clock that can be stepped.
func faultyRecording(t *testing.T, cfg Config) (*recording, *faulty, *steppable, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.WarnLevel)
	s := &Spool{}
	d, c := &faulty{disk: osDisk{&s.direct}}, newSteppable()
	must(t, s.start(cfg, zap.New(core), d, c))
	return run(t, s), d, c, logs
}

// send puts chunks of 10 packets, one a second of the ring's time, and waits until each is written or lost.
func (r *recording) send(chunks int) {
	r.t.Helper()
	for range chunks {
		to, ok := r.to["eth0"]
		if !ok {
			to = second
		}
		r.chunk("eth0", to+1e9, 10, 100)
		synctest.Wait()
	}
}

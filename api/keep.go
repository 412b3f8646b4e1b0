package api

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Fault is something that could not be taken over: what was in force before still is.
type Fault struct {
	What  string    `json:"what"` // "tokens" or "certificate"
	Since time.Time `json:"since"`
	Text  string    `json:"text"` // why, and the cure
}

// kept is what was read from files, and is read again when they change. What cannot be read leaves what was in force.
// All methods may be called concurrently.
type kept[T any] struct {
	what  string
	files []string
	read  func() (T, error)
	same  func(a, b T) bool
	log   *zap.Logger

	reading sync.Mutex // held by reload
	now     atomic.Pointer[T]
	wrong   atomic.Pointer[Fault]
}

// keep reads for the first time: then an error is the caller's.
func keep[T any](k *kept[T]) (*kept[T], error) {
	v, err := k.read()
	if err != nil {
		return nil, err
	}
	k.now.Store(&v)
	return k, nil
}

func (k *kept[T]) value() T { return *k.now.Load() }

// faults is empty while the newest files are in force.
func (k *kept[T]) faults() []Fault {
	if f := k.wrong.Load(); f != nil {
		return []Fault{*f}
	}
	return nil
}

// reload reads again, and logs what changed by that: once for each new value and each new fault.
func (k *kept[T]) reload() {
	k.reading.Lock()
	defer k.reading.Unlock()
	v, err := k.read()
	before := k.wrong.Load()
	switch {
	case err != nil && (before == nil || before.Text != err.Error()):
		k.wrong.Store(&Fault{k.what, time.Now(), err.Error()})
		k.log.Error(k.what+": the new file cannot be used, what was in force before still is", zap.Error(err))
	case err != nil:
	case before == nil && k.same(k.value(), v):
	default:
		k.now.Store(&v)
		k.wrong.Store(nil)
		k.log.Info(k.what+": the new file is in force", zap.Strings("files", k.files))
	}
}

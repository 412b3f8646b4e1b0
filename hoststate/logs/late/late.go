package late

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// Settle is how much later the file is written. A timeline writes four times a second.
const Settle = 2 * time.Second

// File is such a file. It belongs to one goroutine.
type File struct {
	path    string // "" keeps nothing
	waiting []byte
	since   time.Time
	written []byte
	err     error
}

// Open returns the file of this name in dir, and what it says; nil if it does not say anything. With "" for dir nothing is
// ever kept.
func Open(dir, name string) (*File, []byte) {
	if dir == "" {
		return &File{}, nil
	}
	f := &File{path: filepath.Join(dir, name+".json")}
	data, err := os.ReadFile(f.path)
	if err == nil {
		f.written = data
	} else if !errors.Is(err, os.ErrNotExist) {
		f.err = err
	}
	return f, f.written
}

// Tick writes what has waited long enough; call it about once a second. Next is asked, if nothing waits, for what is true now;
// nil for nothing new.
func (f *File) Tick(now time.Time, next func() []byte) {
	if f.waiting != nil && now.Sub(f.since) >= Settle {
		f.Flush(f.waiting)
	}
	if f.waiting == nil && f.path != "" {
		f.waiting, f.since = next(), now
	}
}

// Flush writes at once, such as at an orderly end.
func (f *File) Flush(data []byte) {
	f.waiting = nil
	if f.path == "" || f.err == nil && bytes.Equal(data, f.written) {
		return
	}
	if f.err = f.publish(data); f.err == nil {
		f.written = data
	}
}

// Err says why the file cannot be read or written, until it can.
func (f *File) Err() error { return f.err }

func (f *File) publish(data []byte) error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o750); err != nil {
		return err
	}
	next := f.path + ".new"
	w, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	if err = errors.Join(err, w.Sync(), w.Close()); err != nil {
		return err
	}
	return os.Rename(next, f.path)
}

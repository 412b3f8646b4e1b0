package config

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	settle    = 200 * time.Millisecond // without another event, before the file is read
	settleMax = 2 * time.Second        // after the first event: a directory may never be quiet
	lookAgain = time.Minute            // in case the kernel tells nothing: a network file system, no inotify left
)

// LoadVersion is Load of a path that is not empty, and says which version of the file it read: the SHA-256 of its text
// in hexadecimal, or "" if it cannot be read.
func LoadVersion(path string) (c *Config, version string, err error) {
	text, err := read(path)
	if err != nil {
		return nil, "", &Error{Problems: []Problem{{File: path, Text: err.Error()}}}
	}
	c, err = parse(path, text, compile)
	return c, versionOf(text), err
}

func versionOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Watch calls changed with what LoadVersion returns, each time that the file at path has another version than the one
// before, which at first is version; that it has vanished is one too. It survives the file and its directory being replaced, by
// renaming, by writing in place, or by a link that leads elsewhere, as a ConfigMap's does. A value from now has the file
// read and changed called at once, whatever its version. An empty file is an error here. It returns when ctx is done, or with an error if the kernel
// gives no means of watching; changed is never called by two goroutines.
func Watch(ctx context.Context, path, version string, now <-chan os.Signal, changed func(c *Config, version string, err error)) error {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w: raise sysctl fs.inotify.max_user_instances and start again", path, err)
	}
	defer notify.Close()
	w := &watcher{path: path, version: version, notify: notify, changed: changed}
	w.follow()
	quiet := time.After(settle) // it may have changed before it was watched
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	var first time.Time // of the events that have not been looked at
	for {
		asked := false
		select {
		case <-ctx.Done():
			return nil
		case <-notify.Events:
			if first.IsZero() {
				first = time.Now()
			}
			quiet = time.After(min(settle, time.Until(first.Add(settleMax))))
			continue
		case <-quiet:
		case <-notify.Errors: // events were lost
		case <-again.C:
		case <-now:
			asked = true
		}
		first, quiet = time.Time{}, nil
		w.follow() // links may lead elsewhere now, and a directory may be a new one
		w.check(asked)
	}
}

// watcher is one file that is watched.
type watcher struct {
	path    string
	version string // that was last told of
	notify  *fsnotify.Watcher
	changed func(*Config, string, error)
}

// follow watches the directories of the file and of what it links to. Of a directory that is not there it watches the
// nearest above, until it is.
func (w *watcher) follow() {
	watch(w.notify, filepath.Dir(w.path))
	if target, err := filepath.EvalSymlinks(w.path); err == nil {
		watch(w.notify, filepath.Dir(target))
	}
}

func watch(notify *fsnotify.Watcher, dir string) {
	if notify.Add(dir) == nil || dir == filepath.Dir(dir) {
		return
	}
	watch(notify, filepath.Dir(dir))
	_ = notify.Add(dir) // it may have come in between; else the one above tells when it does
}

// check tells of the file if it has another version than before, or if asked.
func (w *watcher) check(asked bool) {
	version := ""
	if text, err := read(w.path); err == nil {
		version = versionOf(text)
	}
	if version == w.version && !asked {
		return
	}
	c, version, err := LoadVersion(w.path)
	if err == nil && version == versionOf(nil) {
		c, err = nil, &Error{Problems: []Problem{{File: w.path, Text: "the file is empty, perhaps because it is just being written: " +
			"to run on the defaults, write a comment into it"}}}
	}
	w.version = version
	w.changed(c, version, err)
}

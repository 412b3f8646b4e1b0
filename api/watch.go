package api

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

const (
	settle    = 100 * time.Millisecond // what changes within it is looked at once: a certificate and its key, say
	lookAgain = time.Minute            // in case the kernel tells nothing: no inotify left, a network file system
)

// watch calls changed soon after any of the files may have changed, until ctx is done. It watches their directories, so
// that files may be replaced by renaming, and so may the link that a ConfigMap or a Secret is swapped by; and those of
// the files that links lead to.
func watch(ctx context.Context, files []string, changed func(), log *zap.Logger) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("files cannot be watched, changes are seen within a minute: raise fs.inotify.max_user_instances", zap.Error(err))
		w = &fsnotify.Watcher{} // whose channels are nil: they never yield
	} else {
		defer w.Close()
		follow(w, files)
		changed() // in case they did before
	}
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	var settled <-chan time.Time // nil while nothing has happened
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.Events:
			if settled == nil {
				settled = time.After(settle)
			}
			continue
		case <-w.Errors: // events were lost
		case <-settled:
		case <-again.C:
		}
		settled = nil
		if w.Events != nil {
			follow(w, files) // links may lead elsewhere now, and a directory may be a new one
		}
		changed()
	}
}

// follow watches where the files are. What is watched already stays so; what cannot be watched is looked at again.
func follow(w *fsnotify.Watcher, files []string) {
	for _, file := range files {
		w.Add(filepath.Dir(file))
		if target, err := filepath.EvalSymlinks(file); err == nil {
			w.Add(filepath.Dir(target))
		}
	}
}

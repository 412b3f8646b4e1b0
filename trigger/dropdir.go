package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

// DropDir is a directory as a source of triggers: FILE.json holds a request as Parse reads it, an empty file is a
// request whose reason is its name. Each is answered beside it, in FILE.json.accepted (the receipt, JSON) or
// FILE.json.refused (what is wrong), and then removed. Whoever can write to the directory can trigger.
//
// A file is taken when nobody has it open for writing and it has not changed for 200 ms; to rename a complete file into
// the directory is better still. Names that begin with a dot or end in .tmp, .part or ~ are left alone, so that it
// can be written there first. What is no regular file is refused and never opened.
//
// A file's trigger has the time at which the file came to be there, and an id that follows from it: what a crash leaves
// between the answer of the engine and the removal of the file is taken again, and is the same trigger.
type DropDir struct {
	dir      string
	accept   func(context.Context, Request) (Receipt, error)
	suppress func(source, reason, kind string)
	log      *zap.Logger
	left     map[string]string // ids of files that were answered and are still there, by name
	fault    string            // the last one logged
}

const (
	settle     = 200 * time.Millisecond // without a change, until a file is taken
	lookEvery  = 30 * time.Second       // whatever the kernel reports, or does not
	retryEvery = 5 * time.Second        // while the directory cannot be watched
)

// NewDropDir watches dir once Run is called. accept takes the requests; suppress counts those that never become one, and
// may be nil.
func NewDropDir(dir string, accept func(context.Context, Request) (Receipt, error), suppress func(source, reason, kind string),
	log *zap.Logger) *DropDir {
	if suppress == nil {
		suppress = func(string, string, string) {}
	}
	return &DropDir{dir: dir, accept: accept, suppress: suppress, log: log, left: map[string]string{}}
}

// Run takes what is in the directory and what comes until ctx is done; then it returns nil. A directory that is not there
// is made, one that is replaced is watched again, and one that cannot be used is tried again and again.
func (d *DropDir) Run(ctx context.Context) error {
	for {
		wait := settle
		if err := d.watch(ctx); err != nil {
			d.report(err)
			wait = retryEvery
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// report logs a fault unless it is the one that was logged last. nil says that there is none.
func (d *DropDir) report(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case text == d.fault:
	case err != nil:
		d.log.Error("the drop directory cannot be used and is tried again", zap.String("dir", d.dir), zap.Error(err))
	default:
		d.log.Info("the drop directory can be used again", zap.String("dir", d.dir))
	}
	d.fault = text
}

// watch looks into the directory whenever something may have changed there, until it is another one or ctx is done.
func (d *DropDir) watch(ctx context.Context) error {
	if err := os.MkdirAll(d.dir, 0o750); err != nil {
		return fmt.Errorf("make the drop directory: %w: make it, or set trigger.drop_dir to another", err)
	}
	root, err := os.OpenRoot(d.dir)
	if err != nil {
		return fmt.Errorf("open the drop directory: %w: it must be a directory that this process may read and write", err)
	}
	defer root.Close()
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the drop directory: %w: raise fs.inotify.max_user_instances", err)
	}
	defer watcher.Close()
	if err := watcher.Add(d.dir); err != nil {
		return fmt.Errorf("watch the drop directory: %w: raise fs.inotify.max_user_watches", err)
	}
	look := time.NewTimer(0)
	defer look.Stop()
	due := time.Now() // when look fires; zero when it has fired
	for {
		wait := settle
		select {
		case <-ctx.Done():
			return nil
		case <-watcher.Events:
		case <-watcher.Errors: // too many events at once: some are lost
		case <-look.C:
			if d.replaced(root) {
				return nil
			}
			if wait, err = d.scan(ctx, root); err != nil {
				return err
			}
			d.report(nil)
			due = time.Time{}
		}
		if next := time.Now().Add(wait); due.IsZero() || next.Before(due) { // a flood of events does not put the look off
			due = next
			look.Reset(wait)
		}
	}
}

// replaced says whether the path leads to another directory by now, or to none.
func (d *DropDir) replaced(root *os.Root) bool {
	opened, err1 := root.Stat(".")
	now, err2 := os.Stat(d.dir)
	return err1 != nil || err2 != nil || !os.SameFile(opened, now)
}

// notYet is the error of a file that cannot be taken now.
type notYet struct {
	wait time.Duration // until another look
	any  bool          // nor can any other be taken
}

func (notYet) Error() string { return "not yet" }

// scan takes every file that is ready, and returns when to look again.
func (d *DropDir) scan(ctx context.Context, root *os.Root) (again time.Duration, err error) {
	dir, err := root.Open(".")
	if err != nil {
		return 0, fmt.Errorf("read the drop directory: %w", err)
	}
	defer dir.Close()
	again = lookEvery
	var answers answers
	for {
		names, err := dir.Readdirnames(256) // however many there are
		if err == io.EOF {
			answers.clean(root, time.Now())
			return again, nil
		} else if err != nil {
			return 0, fmt.Errorf("read the drop directory: %w", err)
		}
		for _, name := range names {
			var not notYet
			switch err := d.take(ctx, root, name, &answers); {
			case errors.As(err, &not):
				again = min(again, not.wait)
			case err != nil && !errors.Is(err, fs.ErrNotExist): // its owner may remove it at any time
				return 0, fmt.Errorf("read the drop directory: %w", err)
			}
			if not.any {
				return again, nil
			}
		}
	}
}

// take makes a request of one file, if it is one and ready, and answers it.
func (d *DropDir) take(ctx context.Context, root *os.Root, name string, answers *answers) error {
	if isHidden(name) {
		return nil
	}
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if isAnswer(name) {
		*answers = append(*answers, info)
		return nil
	}
	f := newDropped(info)
	if d.left[name] == f.id() {
		return nil
	}
	receipt, err := d.judge(ctx, root, f)
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		d.answer(root, f, refused, refusal.Detail)
	case err == nil:
		text, _ := json.Marshal(receipt) // it has nothing that JSON has not
		d.answer(root, f, accepted, string(text))
	default:
		return err
	}
	return nil
}

// judge has the file's request accepted or refused: a nil error or a *Refusal.
func (d *DropDir) judge(ctx context.Context, root *os.Root, f *dropped) (Receipt, error) {
	var refusal *Refusal
	r, err := f.request(root, time.Now())
	if errors.As(err, &refusal) {
		d.suppress(SourceFile, r.Reason, refusal.Kind)
	}
	if err != nil {
		return Receipt{}, err
	}
	receipt, err := d.accept(ctx, r)
	switch {
	case err == nil:
		return receipt, nil
	case !errors.As(err, &refusal): // the recorder is stopping
		return Receipt{}, notYet{wait: retryEvery, any: true}
	case refusal.Kind == RefusedRate || refusal.Kind == RefusedFailed: // the file can wait until it is looked at
		return Receipt{}, notYet{wait: max(refusal.Retry, time.Second), any: true}
	}
	return Receipt{}, refusal
}

// answer writes the answer beside the file and removes the file. What cannot be removed is not taken again while it stays
// as it is.
func (d *DropDir) answer(root *os.Root, f *dropped, kind, text string) {
	short := f.name[:min(len(f.name), maxName)]
	err := publish(root, short+kind, text+"\n")
	for _, other := range []string{accepted, refused} {
		if other != kind {
			_ = root.Remove(short + other) // of an earlier file with this name; as a rule there is none
		}
	}
	if now, lost := root.Lstat(f.name); lost == nil && newDropped(now).id() == f.id() { // and not already the next request
		err = errors.Join(err, root.Remove(f.name))
	}
	if err == nil {
		return
	}
	d.log.Warn("a file of the drop directory was judged, but could not be answered or removed", zap.String("dir", d.dir),
		zap.String("file", f.name), zap.String("answer", kind[1:]), zap.Error(err))
	if len(d.left) >= maxAnswers {
		clear(d.left)
	}
	d.left[f.name] = f.id()
}

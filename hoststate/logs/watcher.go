package logs

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/time/rate"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/hoststate/logs/late"
)

// Config is what is followed, and where.
type Config struct {
	Root    string   // the host's file system; default /
	State   string   // directory for places, made if need be; "" forgets them when the recorder ends
	Presets []Preset // names must differ

	// Recent returns the events of the timeline that this watcher emitted since then; nil if there is no timeline. With it a line is
	// not emitted again after a crash.
	Recent func(since time.Time) iter.Seq[hoststate.Event]
}

const (
	poll         = time.Second      // safety net for what inotify does not tell, and what is behind links
	rescan       = 10 * time.Second // the same for globs and directories
	chunk        = 256 << 10
	maxFollowers = 256
	respite      = 4 << 20 // bytes after which reading rests as long as they took
)

// Watcher follows logs. Its name is logs.
type Watcher struct {
	cfg       Config
	name      string
	perSecond rate.Limit // events of one path; beyond that and burst they are counted
	burst     int

	// what follows belongs to Run
	out       hoststate.Sink
	zone      *zone
	places    *places
	stored    map[generation]int64
	followers []*follower
	notify    *fsnotify.Watcher // nil if the kernel gives none
	blind     []string
	crowded   bool
	scanned   bool // all was looked at once
	buf       []byte
}

// New returns a watcher of what cfg names.
func New(cfg Config) *Watcher {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	cfg.Root = filepath.Clean(cfg.Root)
	return &Watcher{cfg: cfg, name: "logs", perSecond: perSecond, burst: burst}
}

// Name returns logs.
func (w *Watcher) Name() string { return w.name }

// Run follows the logs until ctx is done. It returns *hoststate.Unavailable if there is no Config.Root.
func (w *Watcher) Run(ctx context.Context, out hoststate.Sink) error {
	if i, err := os.Stat(w.cfg.Root); err != nil || !i.IsDir() {
		return &hoststate.Unavailable{Why: "the host's file system is not at " + w.cfg.Root,
			Cure: "mount the host's /var/log there, read-only, or set hoststate.root"}
	}
	w.start(out)
	defer w.stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	w.scan(time.Now())
	w.places.flush(time.Now()) // nothing was emitted yet, so none of it comes too early
	scanned := time.Now()
	for concerned := true; ; {
		if concerned && w.turn(ctx) {
			continue
		}
		concerned = true
		select {
		case e, ok := <-w.events():
			concerned = ok && w.told(e)
		case <-w.errors(): // events were lost: look at everything
			w.scan(time.Now())
		case now := <-tick.C:
			if now.Sub(scanned) >= rescan {
				w.scan(now)
				scanned = now
			} else {
				w.check(now)
			}
			w.places.tick(now)
			w.report()
		case <-ctx.Done():
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

func (w *Watcher) start(out hoststate.Sink) {
	w.out, w.zone, w.places = out, hostZone(w.cfg.Root), loadPlaces(w.cfg.State, w.name)
	w.followers, w.blind, w.crowded, w.scanned, w.buf = nil, nil, false, false, make([]byte, chunk)
	w.stored = map[generation]int64{}
	if w.cfg.Recent != nil && !w.places.saved.IsZero() {
		w.stored = stored(w.cfg.Recent(w.places.saved.Add(-late.Settle - unhurried)))
	}
	w.notify, _ = fsnotify.NewWatcher() // without one the poll finds what is new
	for i := range w.cfg.Presets {
		for _, path := range w.cfg.Presets[i].Paths {
			if !isGlob(path) {
				w.followers = append(w.followers, newFollower(w, &w.cfg.Presets[i], filepath.Clean("/"+path), false))
			}
		}
	}
}

// stop closes what Run opened, and writes how far it came.
func (w *Watcher) stop() {
	if w.notify != nil {
		w.notify.Close()
	}
	for _, l := range w.followers {
		l.close()
	}
	w.places.flush(time.Now())
	w.followers, w.notify, w.buf = nil, nil, nil
}

func (w *Watcher) events() chan fsnotify.Event {
	if w.notify == nil {
		return nil
	}
	return w.notify.Events
}

func (w *Watcher) errors() chan error {
	if w.notify == nil {
		return nil
	}
	return w.notify.Errors
}

// turn gives each follower its turn, and rests after much. It says whether there is more to read.
func (w *Watcher) turn(ctx context.Context) (more bool) {
	for _, l := range w.followers {
		begun := time.Now()
		for range respite / chunk {
			if !l.turn(w.buf, time.Now()) {
				begun = time.Time{}
				break
			}
		}
		if !begun.IsZero() { // it has more: take no more than half of a core
			more = true
			w.places.tick(time.Now())
			if !rest(ctx, time.Since(begun)) {
				return false
			}
		}
	}
	return more
}

// rest waits, and says whether ctx still holds.
func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(min(d, poll)):
		return true
	case <-ctx.Done():
		return false
	}
}

// told acts on what inotify tells, and on what it has told since. It says whether that concerns a file that is followed.
func (w *Watcher) told(e fsnotify.Event) (concerned bool) {
	again := false
	for range 1024 {
		path := "/" + strings.TrimPrefix(strings.TrimPrefix(e.Name, w.cfg.Root), "/")
		known := false
		for _, l := range w.followers {
			if l.path == path {
				known, concerned = true, true
				if !e.Has(fsnotify.Write) {
					l.stir = true
					l.check(time.Now())
				}
			}
		}
		again = again || !known && e.Has(fsnotify.Create) && w.wants(path)
		select {
		case next, ok := <-w.notify.Events:
			if ok {
				e = next
				continue
			}
		default:
		}
		break
	}
	if again {
		w.scan(time.Now())
	}
	return concerned || again
}

// wants says whether a path that came may lead to a file that is to be followed.
func (w *Watcher) wants(path string) bool {
	for _, p := range w.cfg.Presets {
		for _, glob := range p.Paths {
			for prefix := filepath.Clean("/" + glob); len(prefix) > 1; prefix = filepath.Dir(prefix) {
				if ok, _ := filepath.Match(prefix, path); ok {
					return true
				}
			}
		}
	}
	return false
}

// scan finds the files of globs, and watches the directories in which anything may come.
func (w *Watcher) scan(now time.Time) {
	for i := range w.cfg.Presets {
		p := &w.cfg.Presets[i]
		for _, pattern := range p.Paths {
			pattern = filepath.Clean("/" + pattern)
			if isGlob(pattern) {
				w.match(p, pattern)
			}
			w.watch(filepath.Dir(pattern))
		}
	}
	w.check(now)
	w.scanned = true
}

// match adds followers for what a glob finds.
func (w *Watcher) match(p *Preset, pattern string) {
	found, _ := filepath.Glob(filepath.Join(w.cfg.Root, pattern)) // its only error is a bad pattern, which the configuration refuses
	for _, name := range found {
		path := "/" + strings.TrimPrefix(strings.TrimPrefix(name, w.cfg.Root), "/")
		if slices.ContainsFunc(w.followers, func(l *follower) bool { return l.preset == p && l.path == path }) {
			continue
		}
		if w.crowded = len(w.followers) >= maxFollowers; w.crowded {
			return
		}
		l := newFollower(w, p, path, true)
		l.checked = w.scanned // so it came later
		w.followers = append(w.followers, l)
	}
}

// watch asks inotify for a directory, given as a glob, or for the nearest above it that is there.
func (w *Watcher) watch(dir string) {
	if w.notify == nil {
		return
	}
	found, _ := filepath.Glob(filepath.Join(w.cfg.Root, dir))
	for _, d := range found {
		w.notify.Add(d) // if it cannot, the poll does
	}
	if dir != "/" && (len(found) == 0 || isGlob(dir)) {
		w.watch(filepath.Dir(dir))
	}
}

// check looks at every path, and lets go of those that a glob found and that are gone.
func (w *Watcher) check(now time.Time) {
	w.followers = slices.DeleteFunc(w.followers, func(l *follower) bool {
		l.check(now)
		return l.glob && l.now == nil && len(l.rotated) == 0
	})
}

// reads says whether another follower reads the file for the preset.
func (w *Watcher) reads(preset, id string, but *follower) bool {
	for _, l := range w.followers {
		if l == but || l.preset.Name != preset {
			continue
		}
		for _, s := range append(l.rotated[:len(l.rotated):len(l.rotated)], l.now) {
			if s != nil && s.info.id == id {
				return true
			}
		}
	}
	return false
}

// report says what cannot be seen, when that changes.
func (w *Watcher) report() {
	var blind []string
	for _, l := range w.followers {
		if l.blind != "" {
			blind = append(blind, l.blind)
		}
	}
	if len(blind) == 0 && len(w.cfg.Presets) > 0 && !slices.ContainsFunc(w.followers, func(l *follower) bool { return l.now != nil }) {
		blind = append(blind, fmt.Sprintf("none of the logs is there, below %s: mount the host's /var/log if it has them", w.cfg.Root))
	}
	if w.crowded {
		blind = append(blind, fmt.Sprintf("more than %d files match: the rest is not followed; name fewer", maxFollowers))
	}
	if w.places.file.Err() != nil {
		blind = append(blind, fmt.Sprintf("how far logs were read is not kept: %v: give the recorder a directory it can write to", w.places.file.Err()))
	}
	if !slices.Equal(blind, w.blind) {
		w.blind = blind
		w.out.Blind(blind...)
	}
}

func isGlob(path string) bool { return strings.ContainsAny(path, `*?[\`) }

// hostZone is the host's local time; UTC where it does not say.
func hostZone(root string) *zone {
	z := &zone{loc: time.UTC}
	f, i, err := open(root, "/etc/localtime")
	if err != nil {
		return z
	}
	defer f.Close()
	data := make([]byte, min(i.size, 1<<20))
	n, _ := f.ReadAt(data, 0)
	if loc, err := time.LoadLocationFromTZData("Local", data[:n]); err == nil {
		z.loc = loc
	}
	return z
}

package logs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

const (
	linger     = time.Minute // how long a file that was rotated away is watched after it last grew
	maxRotated = 4           // such files of one path that are read to their end
	maxBehind  = 64          // such files altogether
	perSecond  = 200         // events of one path; the rest is counted
	burst      = 5000
	gapEvery   = 10 * time.Second // between events that say how much was left out
)

// follower reads what lies at a path. It belongs to the goroutine of Run.
type follower struct {
	w      *Watcher
	preset *Preset
	path   string
	glob   bool // it goes when the path has

	now     *source   // what lies at the path; nil for nothing
	rotated []*source // what lay there, the oldest first
	checked bool      // the path was looked at before
	stir    bool      // something happened at the path since
	born    int64     // of the youngest file that was seen at the path
	blind   string    // why it cannot be read; "" if it can

	limit *rate.Limiter
	left  int       // events left out since said
	said  time.Time // when that was said last
}

func newFollower(w *Watcher, p *Preset, path string, glob bool) *follower {
	return &follower{w: w, preset: p, path: path, glob: glob, limit: rate.NewLimiter(w.perSecond, w.burst)}
}

// check looks at what lies at the path now.
func (l *follower) check(now time.Time) {
	f, i, err := open(l.w.cfg.Root, l.path)
	first := !l.checked
	l.checked = l.checked || err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, errKind)
	l.blind = ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if l.now != nil || l.stir {
			l.retire(now)
			l.missed(nil, math.MaxInt64, now)
		}
	case errors.Is(err, errKind):
		l.retire(now)
		l.blind = l.path + " is not a regular file and is not read: name the file that the log is written to"
	case err != nil:
		l.blind = fmt.Sprintf("%s: %v: let the recorder read it (run it as root, or in the file's group)", l.path, err)
	case l.now != nil && l.now.info.id == i.id || l.w.reads(l.preset.Name, i.id, l):
		f.Close()
	default:
		l.retire(now)
		if l.now = l.revive(i.id); l.now != nil {
			f.Close()
		} else {
			l.take(f, i, first, now)
		}
	}
	if first && err != nil {
		l.born = coarse()
	}
	l.stir = false
}

// revive takes back a file that had been rotated away.
func (l *follower) revive(id string) *source {
	k := slices.IndexFunc(l.rotated, func(s *source) bool { return s.info.id == id && !s.once })
	if k < 0 {
		return nil
	}
	s := l.rotated[k]
	l.rotated = slices.Delete(l.rotated, k, k+1)
	return s
}

// retire makes the file that lay at the path a rotated one.
func (l *follower) retire(now time.Time) {
	if l.now == nil {
		return
	}
	l.now.grown = now
	l.rotated, l.now = append(l.rotated, l.now), nil
	if len(l.rotated) > maxBehind {
		l.w.gap(l, now, fmt.Sprintf("%s is rotated faster than it can be read: the rest of a file was left out", l.path), nil)
		l.drop(0)
	}
}

// take begins to read a file that was not read in this run.
func (l *follower) take(f *os.File, i info, first bool, now time.Time) {
	s := l.begin(f, i)
	l.now = s
	p, known := l.w.places.of[key{l.preset.Name, i.id}]
	before, was := l.w.places.latest(l.preset.Name, l.path)
	switch {
	case first && was:
		l.born = before.Born
		l.missed(&before, i.born, now)
	case !first:
		l.missed(nil, i.born, now)
	}
	l.born = max(l.born, i.born)
	switch {
	case known:
		l.resume(s, p)
		return
	case was, !first, !l.w.places.saved.IsZero() && i.born > l.w.places.saved.UnixNano(): // it came later
	default: // it was there before we were: what it has is not ours to tell, but a line under way is
		s.begin(lineStart(f, i.size))
	}
	l.note(s, now, false)
}

// begin makes a source of the file, from its first line.
func (l *follower) begin(f *os.File, i info) *source {
	s := &source{f: f, info: i, parser: l.preset.newParser(l.w.zone), done: -1, grown: time.Now()}
	s.info.size, s.info.when = -1, -1 // nothing of it was read
	s.generation(l.w, l.preset.Name)
	return s
}

// generation finds how far the timeline reaches in the file.
func (s *source) generation(w *Watcher, preset string) {
	s.done = -1
	if at, ok := w.stored[generation{key{preset, s.info.id}, s.gen}]; ok {
		s.done = at
	}
}

// resume goes on where an earlier run was.
func (l *follower) resume(s *source, p place) {
	s.gen = p.Gen
	s.generation(l.w, l.preset.Name)
	s.done = max(s.done, p.Done)
	s.begin(p.From)
	if known := p.print(); !known.in(s.f) { // truncated since, which the first read will find
		s.start, s.from, s.print = p.From, p.From, known
	}
}

// missed takes up files that were rotated away from the path before they could be seen there: those born after the last that was,
// and before until. In the first look of a run they are also those that were read by an earlier one, for they may have grown since;
// before is the last of these.
func (l *follower) missed(before *place, until int64, now time.Time) {
	gone, packed := before != nil, false
	for _, name := range siblings(l.w.cfg.Root, l.path) {
		if compressed(name) {
			packed = true
			continue
		}
		f, i, err := open(l.w.cfg.Root, name)
		if err != nil {
			continue
		}
		gone = gone && i.id != before.ID
		p, met := l.w.places.of[key{l.preset.Name, i.id}]
		if known := p.print(); met && !known.in(f) {
			f.Close() // overwritten since, such as by a copy
			continue
		}
		unseen := !met && i.born >= l.born && i.born <= until && rotation.MatchString(strings.TrimPrefix(name, l.path)) && !l.copies(f, i)
		if l.w.reads(l.preset.Name, i.id, nil) || !unseen && !(met && before != nil) {
			f.Close()
			continue
		}
		s := l.begin(f, i)
		if met {
			l.resume(s, p)
		} else {
			l.note(s, now, false)
		}
		l.rotated = append(l.rotated, s)
	}
	slices.SortStableFunc(l.rotated, func(a, b *source) int { return cmp.Compare(a.info.born, b.info.born) })
	if gone && (l.now == nil || l.now.info.id != before.ID) {
		why := "it was removed"
		if packed {
			why = "it may have been compressed: with logrotate's delaycompress nothing would be missing"
		}
		l.w.gap(l, now, fmt.Sprintf("%s was rotated while the recorder was not running, and the file before is gone (%s); its lines after the first %s are missing",
			l.path, why, size(before.From)), nil)
	}
}

// copies says whether a file begins as one does that is or was read here: somebody's copy of it.
func (l *follower) copies(f *os.File, i info) bool {
	for _, s := range append(l.rotated[:len(l.rotated):len(l.rotated)], l.now) {
		if s == nil {
			continue
		}
		j, err := stat(s.f)
		n := min(i.size, j.size, 256)
		if err != nil || n == 0 {
			continue
		}
		if p, err := printOf(s.f, n); err == nil && p.in(f) {
			return true
		}
	}
	return false
}

// coarse is the clock that files are born by, ns.
func coarse() int64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &t) // cannot fail
	return t.Nano()
}

// drop ends the reading of a rotated file. A last line without an end counts.
func (l *follower) drop(k int) {
	s := l.rotated[k]
	s.end(func(x line) { l.line(s, x, s.grown) }, 0)
	s.f.Close()
	l.rotated = slices.Delete(l.rotated, k, k+1)
}

// truncated begins the file anew, after the rest that its copy has.
func (l *follower) truncated(s *source, now time.Time) {
	if rest := l.copyOf(s); rest != nil {
		l.rotated = append(l.rotated, rest)
	} else {
		l.w.gap(l, now, fmt.Sprintf("%s was truncated after %s, and no copy of it lies beside it: lines written just before may be missing",
			l.path, size(s.next())), facts{"offset": s.next()})
	}
	s.gen++
	s.begin(0)
	s.parser = l.preset.newParser(l.w.zone)
	s.generation(l.w, l.preset.Name)
	l.note(s, now, true)
}

// copyOf finds the copy of a file that was truncated, to be read from where the file was.
func (l *follower) copyOf(s *source) *source {
	for _, name := range siblings(l.w.cfg.Root, l.path) {
		f, i, err := open(l.w.cfg.Root, name)
		if err != nil {
			continue
		}
		if s.print.at > 0 && i.id != s.info.id && s.print.in(f) {
			c := *s
			c.f, c.once = f, true
			c.begin(s.start)
			c.info.size, c.info.when = -1, -1
			return &c // its events say that they are of the file that was truncated, at the same offsets
		}
		f.Close()
	}
	return nil
}

// lineStart finds where the line begins that the byte before at belongs to.
func lineStart(f *os.File, at int64) int64 {
	buf := make([]byte, min(at, maxLine))
	n, _ := f.ReadAt(buf, at-int64(len(buf)))
	for k := n - 1; k >= 0; k-- {
		if buf[k] == '\n' {
			return at - int64(len(buf)) + int64(k) + 1
		}
	}
	return at - int64(len(buf))
}

func (l *follower) close() {
	for _, s := range append(l.rotated, l.now) {
		if s != nil {
			s.f.Close()
		}
	}
	l.rotated, l.now = nil, nil
}

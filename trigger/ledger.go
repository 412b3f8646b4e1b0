package trigger

import (
	"cmp"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	ledgerFile   = "suppressed.json"
	maxLines     = 2000 // of the ledger
	maxPerMinute = 50   // reasons of one minute; further ones share a line
	otherReasons = "(other reasons)"
	maxReason    = 128
)

// ledger counts what was refused, by source, reason and minute. However many requests come, it stays small.
type ledger struct {
	mu    sync.Mutex
	path  string
	lines map[line]*Suppressed
	dirty bool

	minute int64 // of the newest line
	few    int   // lines of that minute
}

type line struct {
	minute               int64
	source, reason, kind string
}

func (l *ledger) load(dir string) error {
	l.path, l.lines = filepath.Join(dir, ledgerFile), map[line]*Suppressed{}
	b, err := os.ReadFile(l.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var list []Suppressed
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	for _, s := range list {
		l.lines[line{s.Minute.Unix() / 60, s.Source, s.Reason, s.Kind}] = &s
	}
	return err
}

func (l *ledger) add(source, reason, kind string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(reason) > maxReason {
		reason = reason[:maxReason]
	}
	k := line{now.Unix() / 60, source, reason, kind}
	s := l.lines[k]
	if s == nil && k.minute == l.minute && l.few >= maxPerMinute {
		k.reason = otherReasons
		s = l.lines[k]
	}
	if s == nil {
		if k.minute != l.minute {
			l.minute, l.few = k.minute, 0
			l.prune(now)
		}
		l.few++
		s = &Suppressed{Minute: time.Unix(k.minute*60, 0).UTC(), Source: source, Reason: k.reason, Kind: kind, First: now.UTC().Round(0)}
		l.lines[k] = s
	}
	s.Last = now.UTC().Round(0)
	s.Count++
	l.dirty = true
}

// prune forgets what is a day old, what is to come (the clock was set back), and the oldest minutes beyond maxLines. The
// caller holds mu.
func (l *ledger) prune(now time.Time) {
	latest := now.Unix() / 60
	least := latest - 24*60
	for {
		oldest := latest
		for k := range l.lines {
			if k.minute < least || k.minute > latest {
				delete(l.lines, k)
			} else {
				oldest = min(oldest, k.minute)
			}
		}
		if len(l.lines) <= maxLines {
			return
		}
		least = oldest + 1
	}
}

func (l *ledger) list() []Suppressed {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Suppressed, 0, len(l.lines))
	for _, s := range l.lines {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Suppressed) int {
		return cmp.Or(b.Minute.Compare(a.Minute), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

// save writes the ledger if it has changed. A crash loses the counts since the last time: nobody was promised them.
func (l *ledger) save() {
	l.mu.Lock()
	dirty := l.dirty
	l.dirty = false
	l.mu.Unlock()
	if !dirty {
		return
	}
	b, err := json.Marshal(l.list())
	if err == nil {
		err = Publish(l.path, b)
	}
	if err != nil {
		l.mu.Lock()
		l.dirty = true // the next time
		l.mu.Unlock()
	}
}

package logs

import (
	"encoding/json"
	"iter"
	"time"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/hoststate/logs/late"
)

const (
	maxPlaces = 1024
	unhurried = 10 * time.Second // between writes of places where no event was emitted
)

// place is how far a file was read for a preset.
type place struct {
	Preset string    `json:"preset"`
	Path   string    `json:"path"` // where it was last
	ID     string    `json:"id"`
	Born   int64     `json:"born"`
	Gen    int       `json:"gen"`  // how often it was truncated
	From   int64     `json:"from"` // where to read on
	Done   int64     `json:"done"` // events of lines up to this offset were emitted
	Marked int64     `json:"marked"`
	Mark   uint64    `json:"mark"` // sum of the print there
	Seen   time.Time `json:"seen"`
}

func (p *place) print() print { return print{at: p.Marked, known: p.Mark} }

// key finds the place of a file.
type key struct{ preset, id string }

// places is how far all files were read. It belongs to the goroutine of Run.
type places struct {
	file    *late.File
	saved   time.Time // when an earlier run wrote them last; zero if there was none
	of      map[key]place
	changed time.Time // since when file is not what is in memory; zero if it is
	urgent  bool      // an event was emitted since
}

// saved is the form of places on the disk.
type saved struct {
	Saved  time.Time `json:"saved"`
	Places []place   `json:"places"`
}

// loadPlaces reads what an earlier run of the watcher of this name left in dir. What cannot be read counts as nothing.
func loadPlaces(dir, name string) *places {
	p := &places{of: map[key]place{}}
	var s saved
	var data []byte
	if p.file, data = late.Open(dir, name); json.Unmarshal(data, &s) != nil {
		return p
	}
	p.saved = s.Saved
	for _, x := range s.Places {
		p.of[key{x.Preset, x.ID}] = x
	}
	return p
}

// latest returns the place of the file that path held last.
func (p *places) latest(preset, path string) (found place, ok bool) {
	for _, x := range p.of {
		if x.Preset != preset || x.Path != path {
			continue
		}
		if c := x.Seen.Compare(found.Seen); !ok || c > 0 || c == 0 && x.Born > found.Born {
			found, ok = x, true
		}
	}
	return found, ok
}

// put notes a place; emitted says whether an event came of it.
func (p *places) put(x place, now time.Time, emitted bool) {
	p.of[key{x.Preset, x.ID}] = x
	if p.changed.IsZero() {
		p.changed = now
	}
	p.urgent = p.urgent || emitted
}

// tick writes what has waited long enough.
func (p *places) tick(now time.Time) {
	p.file.Tick(now, func() []byte {
		if p.changed.IsZero() || !p.urgent && now.Sub(p.changed) < unhurried {
			return nil
		}
		p.changed, p.urgent = time.Time{}, false
		return p.encode(now)
	})
}

// flush writes all at once.
func (p *places) flush(now time.Time) { p.file.Flush(p.encode(now)) }

func (p *places) encode(now time.Time) []byte {
	s := saved{Saved: now}
	for len(p.of) > maxPlaces {
		p.forget()
	}
	for _, x := range p.of {
		s.Places = append(s.Places, x)
	}
	data, _ := json.Marshal(s) // cannot fail: plain values
	return data
}

// forget removes the place that was used least recently.
func (p *places) forget() {
	var oldest key
	var seen time.Time
	for k, x := range p.of {
		if seen.IsZero() || x.Seen.Before(seen) {
			oldest, seen = k, x.Seen
		}
	}
	delete(p.of, oldest)
}

// where is what each event says of its line. It is how an event is told from one that the timeline has already.
type where struct {
	File   string `json:"file"`
	ID     string `json:"id"`
	Gen    int    `json:"gen,omitempty"`
	Offset int64  `json:"offset"`
}

// generation is a file between two truncations, read for a preset.
type generation struct {
	key
	gen int
}

// stored finds how far the events of the timeline reach in each file.
func stored(recent iter.Seq[hoststate.Event]) map[generation]int64 {
	last := map[generation]int64{}
	for e := range recent {
		var w struct {
			Preset string `json:"preset"`
			where
		}
		if json.Unmarshal(e.Data, &w) != nil || w.ID == "" {
			continue
		}
		g := generation{key{w.Preset, w.ID}, w.Gen}
		if at, ok := last[g]; !ok || w.Offset > at {
			last[g] = w.Offset
		}
	}
	return last
}

package journal

import (
	"encoding/json"
	"iter"
	"time"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/hoststate/logs/late"
)

// position is how far the journal was read.
type position struct {
	file *late.File

	Cursor string    `json:"cursor"` // of the last entry; "" before the first
	Since  time.Time `json:"since"`  // when that was read: what the journal took before was read
}

// load reads what an earlier run left; where that is nothing, the position is now.
func load(dir, name string, now time.Time) *position {
	p := &position{Since: now}
	file, data := late.Open(dir, name)
	if json.Unmarshal(data, p) != nil {
		p = &position{Since: now}
	}
	p.file = file
	return p
}

// move notes that an entry was read.
func (p *position) move(cursor string, now time.Time) { p.Cursor, p.Since = cursor, now }

func (p *position) tick(now time.Time) { p.file.Tick(now, p.encode) }

func (p *position) flush() { p.file.Flush(p.encode()) }

func (p *position) encode() []byte {
	data, _ := json.Marshal(p) // cannot fail
	return data
}

// stored finds the cursors of the events that the timeline has.
func stored(recent iter.Seq[hoststate.Event]) map[string]bool {
	have := map[string]bool{}
	for e := range recent {
		var d data
		if json.Unmarshal(e.Data, &d) == nil && d.Cursor != "" {
			have[d.Cursor] = true
		}
	}
	return have
}

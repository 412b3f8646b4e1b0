package rotate

import (
	"path/filepath"
	"time"

	"github.com/ringside/ringside/pcapng"
)

// State is what a segment's name and history say of it.
type State string

// States of a segment.
const (
	StateLive      State = "live"      // being written, or not yet recovered
	StateSealed    State = "sealed"    // complete
	StateRecovered State = "recovered" // the writer died; what it had written is complete
)

// Segment is the facts of one segment. All but those of the live segment are constant. Times are wall-clock times and
// zero if there is nothing to tell.
type Segment struct {
	Sequence   uint64    `json:"sequence"`
	Name       string    `json:"name"` // of the file once sealed
	State      State     `json:"state"`
	From       time.Time `json:"from,omitzero"`  // what its chunks cover, over all rings
	To         time.Time `json:"to,omitzero"`    //
	First      time.Time `json:"first,omitzero"` // least and greatest packet time
	Last       time.Time `json:"last,omitzero"`
	Explains   time.Time `json:"explains,omitzero"` // least time of which a note in it says that packets are missing
	Packets    uint64    `json:"packets"`
	Dropped    uint64    `json:"dropped,omitempty"` // by the kernel
	Bytes      int64     `json:"bytes"`             // size of the file, padding included
	Chunks     int       `json:"chunks"`
	Interfaces int       `json:"interfaces"`
	Notes      int       `json:"notes,omitempty"`
	Error      string    `json:"error,omitempty"` // what is wrong with it, such as a failed sync
}

// span is the least and greatest time, in ns, of anything in the segment; ok is false if there is nothing.
func (s *Segment) span() (lo, hi int64, ok bool) {
	for _, t := range []time.Time{s.From, s.To, s.First, s.Last} {
		if t.IsZero() {
			continue
		}
		ns := t.UnixNano()
		if !ok {
			lo, hi, ok = ns, ns, true
		}
		lo, hi = min(lo, ns), max(hi, ns)
	}
	return lo, hi, ok
}

// overlaps says whether anything in the segment may lie in [from, to), or may tell why it is missing.
func (s *Segment) overlaps(from, to int64) bool {
	lo, hi, ok := s.span()
	if !s.Explains.IsZero() {
		ns := s.Explains.UnixNano()
		if !ok {
			lo, hi, ok = ns, ns, true
		}
		lo = min(ns, lo)
	}
	return ok && lo < to && hi >= from
}

// Entry says where a chunk lies in its segment, and what it holds.
type Entry struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"` // padding included
	Data   int64 `json:"data"`   // packets and notes, from Offset
	pcapng.Summary
}

// span is the least and greatest time of anything in the chunk. To can lie before From when the clock was set back.
func (e *Entry) span() (lo, hi int64) {
	lo, hi = min(e.From, e.To), max(e.From, e.To)
	if e.Packets > 0 {
		lo, hi = min(lo, e.First), max(hi, e.Last)
	}
	return lo, hi
}

// anchor ties a segment to the boot during which it was written. Times are CLOCK_BOOTTIME in ns.
type anchor struct {
	Boot    string `json:"boot,omitempty"`
	Wall    int64  `json:"created_wall_ns,omitempty"`
	Created int64  `json:"created_boottime_ns,omitempty"`
	Sealed  int64  `json:"sealed_boottime_ns,omitempty"`
}

// index is a segment's account of itself. That of a live segment grows under Spool.mu; its slices only by appending,
// so a copy of the struct is a snapshot.
type index struct {
	Segment
	anchor
	Table  []pcapng.Interface `json:"table"`
	Noted  []pcapng.Note      `json:"noted,omitempty"` // all, in file order, those in chunks too
	chunks []Entry
}

// add appends a chunk that was written, and takes over its facts and notes. e.Counts is kept: the caller must not reuse it.
func (x *index) add(e Entry, notes []pcapng.Note) {
	x.chunks = append(x.chunks, e)
	x.Chunks++
	x.Packets += e.Packets
	x.Dropped += e.Dropped
	x.note(notes)
	if e.Ring != "" {
		lo, hi := min(e.From, e.To), max(e.From, e.To)
		x.From, x.To = widen(x.From, x.To, lo, hi)
	}
	if e.Packets > 0 {
		x.First, x.Last = widen(x.First, x.Last, e.First, e.Last)
	}
}

func (x *index) note(notes []pcapng.Note) {
	x.Noted = append(x.Noted, notes...)
	x.Notes = len(x.Noted)
	for _, n := range notes {
		explains := n.Kind == pcapng.NoteGap || n.Kind == pcapng.NoteUnwritten || n.Kind == pcapng.NoteDamaged
		if explains && n.From != 0 {
			x.Explains, _ = widen(x.Explains, time.Time{}, n.From, n.From)
		}
	}
}

func (x *index) setTable(t []pcapng.Interface) {
	x.Table = t
	x.Interfaces = len(t)
}

func widen(from, to time.Time, lo, hi int64) (time.Time, time.Time) {
	if l := time.Unix(0, lo).UTC(); from.IsZero() || l.Before(from) {
		from = l
	}
	if h := time.Unix(0, hi).UTC(); to.IsZero() || h.After(to) {
		to = h
	}
	return from, to
}

// segment is a segment of an open spool. Its index is nil once the sidecar holds it. Guarded by Spool.mu.
type segment struct {
	Segment
	anchor
	index      *index
	indexBytes int64 // size of the sidecar
	open       bool  // its file still has the name of an open segment
	synced     bool  // nothing is left to be done by its seal
}

// path is the segment's file in dir.
func (g *segment) path(dir string) string {
	if g.open {
		return filepath.Join(dir, g.Name+".open")
	}
	return filepath.Join(dir, g.Name)
}

// indexPath is the sidecar of the segment's file called name in dir.
func indexPath(dir, name string) string {
	return filepath.Join(dir, name[:len(name)-len(suffixSealed)]+suffixIndex)
}

package rotate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/pcapng"
)

// Coverage is what a window holds and what it does not. It can be sent as JSON.
type Coverage struct {
	From       time.Time      `json:"from"` // as asked
	To         time.Time      `json:"to"`
	Rings      []RingCoverage `json:"rings"`
	Missing    []Missing      `json:"missing,omitempty"` // by time; empty if nothing is
	Notes      []pcapng.Note  `json:"notes,omitempty"`   // the first 1000 in the window
	Packets    uint64         `json:"packets"`           // before WriteTo: what the indexes say, chunks at the edges in full
	Bytes      uint64         `json:"bytes"`             // of the stream; known after WriteTo
	Segments   int            `json:"segments"`
	Interfaces []string       `json:"interfaces"`
}

// Complete says whether nothing is missing.
func (c *Coverage) Complete() bool { return len(c.Missing) == 0 }

// RingCoverage is when a ring was recorded.
type RingCoverage struct {
	Ring    string `json:"ring"`
	Covered []Span `json:"covered"`
}

// Span is a stretch of time, [From, To).
type Span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Missing is what a window does not hold.
type Missing struct {
	Span
	Ring    string `json:"ring,omitempty"` // "" for all
	Reason  string `json:"reason"`
	Packets uint64 `json:"packets,omitempty"` // if they were counted
	Text    string `json:"text,omitempty"`
}

// Reasons for what is missing.
const (
	MissingBefore      = "before-oldest" // retention has removed it, or it was never recorded
	MissingAfter       = "after-newest"  // it is not on the disk yet, or nothing was recorded since
	MissingGap         = "gap"           // the recorder was not running
	MissingUnwritten   = "unwritten"     // it was captured and could not be written
	MissingDropped     = "dropped"       // the kernel dropped packets in this time: the ring was full
	MissingDamaged     = "damaged"       // it cannot be read any more
	MissingNotRecorded = "not-recorded"  // the ring was not there
)

const (
	maxCoverageNotes = 1000
	flushSlack       = int64(2 * time.Second) // rings are flushed a second apart
)

// span is [from, to) in ns.
type span struct{ from, to int64 }

func (s span) times() Span { return Span{time.Unix(0, s.from).UTC(), time.Unix(0, s.to).UTC()} }

// spans is a growing union of spans.
type spans []span

func (l *spans) add(s span) {
	if n := len(*l); n > 0 && s.from <= (*l)[n-1].to && s.from >= (*l)[n-1].from { // as a rule it continues the last
		(*l)[n-1].to = max((*l)[n-1].to, s.to)
		return
	}
	*l = append(*l, s)
}

// within returns the union, in order, cut to w.
func (l spans) within(w span) (out spans) {
	l = slices.Clone(l)
	slices.SortFunc(l, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for _, s := range l {
		s = span{max(s.from, w.from), min(s.to, w.to)}
		if s.from < s.to {
			out.add(s)
		}
	}
	return out
}

// holes returns what of w the union, as within returns it, leaves out.
func (l spans) holes(w span) (out spans) {
	at := w.from
	for _, s := range l {
		if s.from > at {
			out = append(out, span{at, s.from})
		}
		at = max(at, s.to)
	}
	if at < w.to {
		out = append(out, span{at, w.to})
	}
	return out
}

// account collects what is found out about a window.
type account struct {
	asked    span
	all      span // what the whole spool covers
	rings    map[string]*spans
	notes    []pcapng.Note // in the window
	damaged  []Missing     // found while reading
	packets  uint64
	bytes    uint64
	segments int
	names    []string
}

// keep takes a note over if it belongs to the window.
func (a *account) keep(n pcapng.Note) bool {
	from := n.From
	if from == 0 {
		from = n.To
	}
	if from >= a.asked.to || max(from, n.To) < a.asked.from {
		return false
	}
	switch {
	case len(a.notes) < 10*maxCoverageNotes:
		a.notes = append(a.notes, n)
	case n.Kind == pcapng.NoteDropped: // no drop goes uncounted, though it is dated less closely
		for i := range slices.Backward(a.notes) {
			if last := &a.notes[i]; last.Kind == n.Kind && last.Ring == n.Ring {
				last.From, last.To = min(last.From, n.From), max(last.To, n.To)
				last.Packets += n.Packets
				break
			}
		}
	}
	return true
}

// coverage is the account so far.
func (a *account) coverage() Coverage {
	w := a.asked
	c := Coverage{
		From: w.times().From, To: w.times().To, Rings: []RingCoverage{},
		Packets: a.packets, Bytes: a.bytes, Segments: a.segments,
		Notes:      slices.Clone(a.notes[:min(len(a.notes), maxCoverageNotes)]),
		Interfaces: append([]string{}, slices.Compact(slices.Sorted(slices.Values(a.names)))...), // a list in JSON, empty too
	}
	for ring, l := range a.rings {
		covered := l.within(w)
		rc := RingCoverage{Ring: ring, Covered: []Span{}}
		for _, s := range covered {
			rc.Covered = append(rc.Covered, s.times())
		}
		c.Rings = append(c.Rings, rc)
		for _, h := range covered.holes(w) {
			c.Missing = append(c.Missing, a.explain(ring, h)...)
		}
	}
	if len(a.rings) == 0 {
		c.Missing = a.explain("", w)
	}
	for _, n := range a.notes {
		if n.Kind == pcapng.NoteDropped && n.Packets > 0 {
			m := Missing{span{n.From, n.To}.times(), n.Ring, MissingDropped, n.Packets, n.Text}
			c.Missing = append(c.Missing, m)
		}
	}
	c.Missing = append(c.Missing, a.damaged...)
	slices.SortFunc(c.Rings, func(a, b RingCoverage) int { return strings.Compare(a.Ring, b.Ring) })
	slices.SortStableFunc(c.Missing, func(a, b Missing) int {
		return cmp.Or(a.From.Compare(b.From), strings.Compare(a.Ring, b.Ring), strings.Compare(a.Reason, b.Reason))
	})
	return c
}

// explain says why a ring has a hole, part by part.
func (a *account) explain(ring string, h span) (list []Missing) {
	own := a.ringBounds(ring)
	add := func(s span, reason string, packets uint64, text string) {
		if s.from < s.to {
			list = append(list, Missing{s.times(), ring, reason, packets, text})
		}
	}
	if h.from < own.from {
		end := min(h.to, own.from)
		add(span{h.from, end}, MissingBefore, 0, "")
		h.from = end
	}
	unexplained := func(s span) {
		add(span{s.from, min(s.to, own.to)}, MissingNotRecorded, 0, "")
		add(span{max(s.from, own.to), s.to}, MissingAfter, 0, "")
	}
	for h.from < h.to {
		n, reason := a.cause(ring, h)
		if n == nil {
			unexplained(h)
			break
		}
		part := span{max(h.from, n.From), min(h.to, n.To)}
		if part.from-h.from <= flushSlack { // rings do not begin and end together
			part.from = h.from
		} else {
			unexplained(span{h.from, part.from})
		}
		if h.to-part.to <= flushSlack {
			part.to = h.to
		}
		add(part, reason, n.Packets, n.Text)
		h.from = part.to
	}
	return list
}

// ringBounds is from when to when the ring could have been recorded: what the spool covers, or, where the ring begins
// or ends with the spool but for a flush, what the ring covers.
func (a *account) ringBounds(ring string) span {
	b := a.all
	l := a.rings[ring]
	if l == nil || len(*l) == 0 {
		return b
	}
	first, last := (*l)[0].from, (*l)[0].to
	for _, s := range *l {
		first, last = min(first, s.from), max(last, s.to)
	}
	if first-b.from <= flushSlack {
		b.from = first
	}
	if b.to-last <= flushSlack {
		b.to = last
	}
	return b
}

// cause finds the earliest note that explains a part of a hole.
func (a *account) cause(ring string, h span) (first *pcapng.Note, reason string) {
	for i := range a.notes {
		n := &a.notes[i]
		var why string
		switch {
		case n.Kind == pcapng.NoteGap:
			why = MissingGap
		case n.Kind == pcapng.NoteUnwritten && n.Ring == ring:
			why = MissingUnwritten
		case n.Kind == pcapng.NoteDamaged:
			why = MissingDamaged
		default:
			continue
		}
		if n.From < h.to && n.To > h.from && (first == nil || n.From < first.From) {
			first, reason = n, why
		}
	}
	return first, reason
}

// comment tells a person who opens the stream in Wireshark what it is.
func (c *Coverage) comment() string {
	var b strings.Builder
	fmt.Fprintf(&b, "ringside: packets from %s to %s, %d segments.", c.From.Format(time.RFC3339Nano), c.To.Format(time.RFC3339Nano), c.Segments)
	if c.Complete() {
		b.WriteString(" Nothing is missing.")
	}
	for i, m := range c.Missing {
		if i == 20 {
			fmt.Fprintf(&b, "\nand %d more.", len(c.Missing)-i)
			break
		}
		fmt.Fprintf(&b, "\nMissing (%s)", m.Reason)
		if m.Ring != "" {
			fmt.Fprintf(&b, " on %s", m.Ring)
		}
		fmt.Fprintf(&b, ": %s to %s", m.From.Format(time.RFC3339Nano), m.To.Format(time.RFC3339Nano))
		if m.Packets > 0 {
			fmt.Fprintf(&b, ", %d packets", m.Packets)
		}
	}
	return b.String()
}

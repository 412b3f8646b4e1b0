package evidence

import (
	"fmt"
	"slices"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/rotate"
)

// Shares from which on what is not there cannot be told from what was not recorded.
const (
	blindShare  = 0.2  // of the time
	unseenShare = 0.1  // of segments
	unseenMany  = 100  // fewer are a capture that begins in the middle, or is small
	fewShare    = 0.01 // of packets, if they were counted: so few are no darkness, however long it takes to lose them
)

// blind is why silence proves nothing in this recording; "" if it does.
func (q *inquiry) blind() string {
	s := &q.found.Stats
	if s.Packets == 0 {
		return "the recording holds no packet"
	}
	if c := q.claims[detect.RecorderBlind]; c != nil && c.sure >= enough(detect.RecorderBlind) {
		return c.findings[0].Text
	}
	if share(s.Skipped, s.Packets) >= unseenShare {
		return fmt.Sprintf("%s of the recording were not looked at", count(int(s.Skipped), "packet"))
	}
	if s.Unseen >= unseenMany && share(s.Unseen, s.TCP) >= unseenShare {
		return q.unseen()
	}
	length, dark := q.found.Last.Sub(q.found.First), q.dark()
	if few := q.missing() > 0 && share(q.missing(), s.Packets) < fewShare; !few && length > 0 && float64(dark)/float64(length) >= blindShare {
		return fmt.Sprintf("of %s, %s are not recorded in full", span(length), span(dark))
	}
	if c := q.suspect(); c != nil && q.darkAt(c) {
		return "something is suspect, and not all packets around it were recorded: " + c.findings[0].Text
	}
	return ""
}

// share is the part of a whole that is missing.
func share(missing, there uint64) float64 {
	if missing == 0 {
		return 0
	}
	return float64(missing) / (float64(missing) + float64(there))
}

// stretches is when not everything was recorded, those that overlap as one.
func (q *inquiry) stretches() (list []rotate.Span) {
	for _, b := range q.found.Blind {
		list = append(list, rotate.Span{From: b.From, To: b.To})
	}
	for _, m := range q.coverage.Missing {
		if m.Reason != rotate.MissingBefore && m.Reason != rotate.MissingAfter {
			list = append(list, m.Span)
		}
	}
	slices.SortFunc(list, func(a, b rotate.Span) int { return a.From.Compare(b.From) })
	merged := list[:0]
	for _, s := range list {
		if n := len(merged); n > 0 && !s.From.After(merged[n-1].To) {
			merged[n-1].To = later(merged[n-1].To, s.To)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// dark is for how long not everything was recorded.
func (q *inquiry) dark() (sum time.Duration) {
	for _, s := range q.stretches() {
		sum += s.To.Sub(s.From)
	}
	return sum
}

// missing is how many packets are known to be missing.
func (q *inquiry) missing() (packets uint64) {
	for _, b := range q.found.Blind {
		packets += b.Packets
	}
	return packets
}

// darkAt says whether not everything was recorded while a claim was made.
func (q *inquiry) darkAt(c *claim) bool {
	for _, b := range q.stretches() {
		if b.From.Before(c.last.Add(slack)) && b.To.After(c.first.Add(-slack)) {
			return true
		}
	}
	return false
}

// gaps is what of the recording is missing, in words; "" if nothing is known to be.
func (q *inquiry) gaps() string {
	packets := q.missing()
	n := len(q.stretches())
	switch {
	case n == 0 && share(q.found.Stats.Unseen, q.found.Stats.TCP) >= fewShare:
		return q.unseen()
	case n == 0:
		return ""
	case packets > 0:
		return fmt.Sprintf("%s in %s %s not recorded", count(int(packets), "packet"), count(n, "stretch"), verb(int(packets), "was", "were"))
	}
	return fmt.Sprintf("%s of %s in all %s not recorded in full", count(n, "stretch"), span(q.dark()), verb(n, "was", "were"))
}

// unseen is how many segments others speak of and the recording does not have.
func (q *inquiry) unseen() string {
	n := int(q.found.Stats.Unseen)
	return fmt.Sprintf("%s that %s acknowledged %s not in the recording", count(n, "segment"), verb(n, "was", "were"), verb(n, "is", "are"))
}

// innocence is how sure it is that there was no fault.
func (q *inquiry) innocence() float64 {
	sure := 0.9
	switch {
	case !q.coverage.Complete || q.gaps() != "":
		sure = 0.7
	case q.coverage.Known:
		sure = 0.95
	}
	if q.suspect() != nil {
		sure -= 0.4
	}
	return sure
}

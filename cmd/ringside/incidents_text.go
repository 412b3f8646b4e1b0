package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/upload"
)

// missingWords says what each reason means.
var missingWords = map[string]string{
	rotate.MissingBefore:      "no longer, or not yet, recorded",
	rotate.MissingAfter:       "not recorded any more",
	rotate.MissingGap:         "the recorder was not running",
	rotate.MissingUnwritten:   "could not be written",
	rotate.MissingDropped:     "dropped by the kernel",
	rotate.MissingDamaged:     "cannot be read any more",
	rotate.MissingNotRecorded: "the interface was not there",
}

// loss is all that is missing for one reason.
type loss struct {
	reason  string
	packets uint64
	time    time.Duration // over all rings together, each moment once
}

// losses sums up what is missing, by reason in the order of their first.
func losses(c *rotate.Coverage) (list []loss) {
	spans := map[string][]rotate.Span{}
	for _, m := range c.Missing {
		i := slices.IndexFunc(list, func(l loss) bool { return l.reason == m.Reason })
		if i < 0 {
			i, list = len(list), append(list, loss{reason: m.Reason})
		}
		list[i].packets += m.Packets
		spans[m.Reason] = append(spans[m.Reason], m.Span)
	}
	for i := range list {
		list[i].time = together(spans[list[i].reason])
	}
	return list
}

// together is how long the spans are, where they overlap counted once.
func together(spans []rotate.Span) (d time.Duration) {
	slices.SortFunc(spans, func(a, b rotate.Span) int { return a.From.Compare(b.From) })
	var to time.Time
	for _, s := range spans {
		if s.From.Before(to) {
			s.From = to
		}
		if s.To.After(s.From) {
			d += s.To.Sub(s.From)
			to = s.To
		}
	}
	return d
}

// coverageText says in a few words what of the window a bundle has.
func coverageText(m *upload.Manifest) string {
	c := &m.Window.Coverage
	if m.Window.Complete && c.Complete() {
		return "complete"
	}
	if !covered(c) {
		return "nothing was recorded"
	}
	var words []string
	for _, l := range losses(c) {
		words = append(words, l.String())
	}
	if len(words) == 0 {
		return "not complete"
	}
	return "missing: " + strings.Join(words, ", ")
}

// String is short: the reason as the manifest has it, and how much.
func (l loss) String() string {
	if l.reason == rotate.MissingDropped || l.reason == rotate.MissingUnwritten && l.packets > 0 {
		return fmt.Sprintf("%s %d packets", l.reason, l.packets)
	}
	return fmt.Sprintf("%s %v", printable(l.reason), rounded(l.time))
}

// rounded is a duration without digits that nobody reads.
func rounded(d time.Duration) time.Duration {
	switch {
	case d > time.Minute:
		return d.Round(time.Second)
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}

package detect

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/detect/sequence"
	"github.com/ringside/ringside/detect/track"
)

// keep appends to a list that is bounded, as all of them together are.
func keep[T any](w *services, list []T, v T) []T {
	if len(list) >= maxKept || w.held >= maxHeld {
		return list
	}
	w.held++
	return append(list, v)
}

// distinct counts connections. Where one vantage sees both sides of a translation, each is there twice, from the same
// sequence number.
type distinct map[uint64]bool

func (d distinct) add(c *track.Conversation) bool {
	key := identity(c)
	if d[key] {
		return false
	}
	d[key] = true
	return true
}

func identity(c *track.Conversation) uint64 {
	if c.Half[track.Client].KnowsNext() {
		return uint64(c.Server.Port)<<32 | uint64(c.Half[track.Client].Base)
	}
	return c.Serial<<48 | c.Serial
}

// story is one fault while it goes on: a finding, and the flows that are in it.
type story struct {
	finding *Finding
	flows   distinct
	last    int64
}

// open says whether the fault goes on at a time, rather than that a new one begins.
func (s *story) open(now int64) bool { return s.finding != nil && now-s.last < 2*nearby }

// tell adds a flow to the story, and says whether it was new.
func (s *story) tell(d *Detector, class Class, rule string, c *track.Conversation, f Flow, now int64) bool {
	if !s.open(now) {
		s.close()
		s.finding = d.report(&Finding{Class: class, Rule: rule})
		s.flows = distinct{}
	}
	s.last = max(s.last, now)
	if len(s.flows) >= 1<<16 || !s.flows.add(c) {
		return false
	}
	s.finding.add(f)
	return true
}

func (s *story) close() { s.finding, s.flows = nil, nil }

// seconds is a length of time in ns as a sentence has it.
func seconds(ns int64) string {
	switch {
	case ns >= int64(10*time.Second):
		return fmt.Sprintf("%.0f s", float64(ns)/1e9)
	case ns >= int64(time.Second):
		return fmt.Sprintf("%.1f s", float64(ns)/1e9)
	}
	return fmt.Sprintf("%d ms", ns/1e6)
}

// some counts things: "1 connection", "3 connections".
func some(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// all lists names, a few of them.
func all(names []string) string {
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d others", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, " and ")
}

// timedOut says whether a segment was sent again because nothing was heard, rather than captured twice.
func timedOut(f sequence.Flags) bool {
	return f&(sequence.TimeOut|sequence.TailLoss|sequence.FastRetransmission) != 0 && f&sequence.Spurious == 0
}

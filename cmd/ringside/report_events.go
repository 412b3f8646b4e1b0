package main

import (
	"bytes"
	"slices"

	"github.com/ringside/ringside/evidence"
	"github.com/ringside/ringside/hoststate"
)

// Bounds of what is held of a timeline for a verdict.
const (
	heldCount = 50_000
	heldBytes = 12 << 20
)

// plenty is kinds of which a busy node has so many that they must not displace the others: half of the room is theirs.
var plenty = []string{"conntrack.counts", "conntrack.destroy", "conntrack.digest", "conntrack.pickup", "counters", "sysctl.value"}

// heldEvents are the events of a timeline that a verdict may rest on, within bounds.
type heldEvents struct {
	list  []hoststate.Event
	bytes int
	lost  uint64 // beyond the bounds
}

// add takes an event over. It returns no error.
func (h *heldEvents) add(e hoststate.Event) error {
	if !telling(&e) {
		return nil
	}
	e.Raw = "" // what it says is in the other fields
	n := len(e.Text) + len(e.Subject) + len(e.Before) + len(e.After) + len(e.Data)
	part := 1
	if slices.Contains(plenty, e.Kind) {
		part = 2
	}
	if len(h.list) >= heldCount/part || h.bytes+n > heldBytes/part {
		h.lost++
		return nil
	}
	h.list, h.bytes = append(h.list, e), h.bytes+n
	return nil
}

// telling says whether a verdict may rest on the event. What is left out comes every second, or with every new connection.
func telling(e *hoststate.Event) bool {
	switch e.Kind {
	case "conntrack.new", "conntrack.update":
		return false
	case "conntrack.counts":
		return !bytes.Contains(e.Data, []byte(`"expired_established":0,`)) && !bytes.Contains(e.Data, []byte(`"expired_established":0}`))
	case "counters":
		return bytes.Contains(e.Data, []byte(`"conntrack.drop"`))
	}
	return true
}

// into hands the events over. Where some were lost, the timeline is not complete.
func (h *heldEvents) into(f *evidence.Facts) {
	f.Events = h.list
	if h.lost > 0 && f.Coverage.Timeline != nil {
		f.Coverage.Timeline.Complete = false
	}
}

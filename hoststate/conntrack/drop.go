package conntrack

import (
	"fmt"
	"time"

	"github.com/ringside/ringside/hoststate"
)

const (
	dropFlows = 3    // gone at once are a drop, and
	dropShare = 1000 // a thousandth of all; where some of them may have been closed by reset and forgotten since, a fifth
	dropVague = 5
)

// Drop is the data of conntrack.drop: flows of one dump that are not in the next, although they had more time left than passed
// between, and no event says that they ended.
type Drop struct {
	Flows    int            `json:"flows"` // gone, of so many
	Of       int            `json:"of"`
	Told     int            `json:"told"`     // of those gone, by events: see conntrack.burst
	Silent   int            `json:"silent"`   // of those gone, by no event
	Services map[string]int `json:"services"` // those gone; "" is none of the watched ones
	From     int64          `json:"from"`     // unix ns of the two dumps
	To       int64          `json:"to"`
	Sure     bool           `json:"sure"`    // false: some may have been closed by a reset, and forgotten before the second dump
	Invalid  uint64         `json:"invalid"` // packets between the dumps that fitted no connection
}

// tellDrop emits a drop if m is one.
func (s *survey) tellDrop(m missing) bool {
	d := Drop{Flows: m.told + m.silent, Of: m.of, Told: m.told, Silent: m.silent, Services: map[string]int{},
		From: m.since.UnixNano(), To: s.dumped.UnixNano(), Invalid: s.last.invalid - min(s.last.invalid, s.invalid)}
	d.Sure = m.silent == 0 || m.sure && !s.gapped && s.dumped.Sub(m.since) < s.forgets
	least := max(dropFlows, m.of/dropShare)
	if !d.Sure && m.told < least {
		least = max(dropFlows, m.of/dropVague)
	}
	if d.Flows < least {
		return false
	}
	for name, n := range m.by {
		d.Services[name] += n
	}
	at := s.dumped
	if s.fall >= leastFall {
		at = s.steepest.at
	}
	s.out.Emit(hoststate.Event{Time: at, Kind: "conntrack.drop", Text: d.sentence(), Data: data(d)})
	return true
}

func (d *Drop) sentence() string {
	s := fmt.Sprintf("%d of %d established connections lost their entries within %v", d.Flows, d.Of, time.Duration(d.To-d.From).Round(time.Millisecond))
	if d.Silent > 0 {
		s += fmt.Sprintf("; of %d no event tells", d.Silent)
	}
	if !d.Sure {
		s += ", some of which may have been closed"
	}
	return s
}

package conntrack

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/hoststate"
)

const (
	burstLosses = 3 // within burstWindow begin a burst
	burstWindow = 2 * time.Second
	burstQuiet  = 2 * time.Second // without a loss end it
	burstLength = time.Minute     // ends it too, so that its numbers come while they are of use

	namePatience = 50 * time.Millisecond // of a burst that begins, for the name of who did it
	mostPorts    = 16                    // that a burst tells apart
)

// Authors of bursts, the subjects of conntrack.burst.
const (
	byKernel    = "kernel"
	byUserspace = "userspace"
)

// Phases of a burst.
const (
	phaseBegin = "begin"
	phaseEnd   = "end"
)

// Burst is the data of conntrack.burst. Of the two events of a burst, the first has the numbers so far and is what a rule
// fires on; the second has the final ones. First is the same in both. The event's time is First in the one, Last in the other.
type Burst struct {
	Phase      string            `json:"phase"`    // begin or end
	Count      uint64            `json:"count"`    // entries destroyed by the author from First on, of any kind
	Assured    uint64            `json:"assured"`  // of these, flows: established, assured, more than 30 s left
	Services   map[string]uint64 `json:"services"` // flows by service; "" is none of the watched ones
	First      int64             `json:"first"`    // unix ns of the first and the latest lost flow
	Last       int64             `json:"last"`
	PortID     uint32            `json:"portid"`               // of who lost most; 0 is the kernel
	Processes  []Culprit         `json:"processes,omitempty"`  // all of them, by what they lost
	Incomplete bool              `json:"incomplete,omitempty"` // the kernel could not deliver all events meanwhile: see conntrack.gap
}

// Culprit is a process of a burst from userspace, with the number of flows it lost.
type Culprit struct {
	hoststate.Process
	Assured uint64 `json:"assured"`
}

// loss is one lost flow before its burst has begun.
type loss struct {
	at      time.Time
	service string
	port    uint32
	before  uint64 // what the author had destroyed until then
}

// author is the kernel or userspace, and its burst while there is one. The reader owns it.
type author struct {
	name  string
	total uint64                // everything destroyed so far
	last  [burstLosses - 1]loss // the latest, while there is no burst; the oldest first
	gap   time.Time             // when the kernel could not deliver events, the latest

	*burst
}

// burst is one that goes on. Its times are the reader's, those in data the kernel's where it stamps events.
type burst struct {
	data        Burst
	ports       map[uint32]uint64
	before      uint64 // what the author had destroyed before it
	begun, seen time.Time
	told        bool // the begin was emitted
}

// destroyed takes an entry that did not expire.
func (a *author) destroyed(e *event, now time.Time) {
	a.total++
	if !e.lost() {
		return
	}
	l := loss{e.At, e.Service, e.PortID, a.total - 1}
	switch oldest := a.last[0]; {
	case a.burst != nil:
		a.add(l, now)
	case !oldest.at.IsZero() && l.at.Sub(oldest.at).Abs() <= burstWindow:
		a.burst = &burst{before: oldest.before, begun: now, ports: map[uint32]uint64{}}
		a.data.Services, a.data.First = map[string]uint64{}, oldest.at.UnixNano()
		for _, l := range append(a.last[:], l) {
			a.add(l, now)
		}
		clear(a.last[:])
	default:
		copy(a.last[:], a.last[1:])
		a.last[len(a.last)-1] = l
	}
}

func (b *burst) add(l loss, now time.Time) {
	b.seen = now
	b.data.Assured++
	b.data.Last = l.at.UnixNano()
	b.data.Services[l.service]++
	if _, known := b.ports[l.port]; known || len(b.ports) < mostPorts {
		b.ports[l.port]++
	}
}

// untold says whether a burst waits for its begin to be emitted.
func (a *author) untold() bool { return a.burst != nil && !a.told }

// tick emits what is due of the burst, if there is one.
func (a *author) tick(now time.Time, out hoststate.Sink, names *names) {
	if a.burst == nil {
		return
	}
	over := now.Sub(a.seen) >= burstQuiet || now.Sub(a.begun) >= burstLength
	if !a.told && (over || names.has(a.ports) || now.Sub(a.begun) >= namePatience) {
		a.told = true
		a.emit(phaseBegin, out, names)
	}
	if over {
		a.emit(phaseEnd, out, names)
		a.burst = nil
	}
}

func (a *author) emit(phase string, out hoststate.Sink, names *names) {
	d := a.data
	d.Phase, d.Count = phase, a.total-a.before
	d.Incomplete = a.gap.After(a.begun.Add(-burstWindow))
	by := &hoststate.Process{}
	if a.name == byUserspace {
		d.Processes = culprits(a.ports, names)
		by = &d.Processes[0].Process
		d.PortID = by.PortID
	}
	at := time.Unix(0, d.First)
	if phase == phaseEnd {
		at = time.Unix(0, d.Last)
	}
	out.Emit(hoststate.Event{Time: at, Kind: "conntrack.burst", Subject: a.name, Text: d.sentence(by), By: by, Data: data(d)})
}

// culprits are the processes of the ports, who lost most first.
func culprits(ports map[uint32]uint64, names *names) []Culprit {
	var list []Culprit
	for port, n := range ports {
		list = append(list, Culprit{*names.process(port), n})
	}
	slices.SortFunc(list, func(a, b Culprit) int {
		return cmp.Or(cmp.Compare(b.Assured, a.Assured), cmp.Compare(a.PortID, b.PortID))
	})
	return list
}

func (b *Burst) sentence(by *hoststate.Process) string {
	s := fmt.Sprintf("%d established connections lost their entries within %v: destroyed by %v", b.Assured,
		time.Duration(b.Last-b.First).Round(time.Microsecond), by)
	var services []string
	for _, name := range slices.Sorted(maps.Keys(b.Services)) {
		services = append(services, fmt.Sprintf("%s %d", cmp.Or(name, "not watched"), b.Services[name]))
	}
	s += " (" + strings.Join(services, ", ") + ")"
	if b.Phase == phaseBegin {
		return s + ", and it goes on"
	}
	if b.Incomplete {
		s += "; events are missing"
	}
	return s
}

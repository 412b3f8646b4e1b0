package conntrack

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// mostFlows bounds the flows that are remembered from one dump to the next, at 12 bytes each.
const mostFlows = 1 << 20

// flows remembers the flows of the latest dump, to find those that the next one has not. All methods may be called
// concurrently, but only one dump is taken at a time.
type flows struct {
	mu     sync.Mutex
	names  []Service // of the services that list's flows have the numbers of
	list   []flow    // of the latest dump, by id
	since  time.Time // its begin, zero if there was none
	spare  []flow
	during []flow // events while a dump is taken: its own flows may be gone before it ends
	taking bool
	missed bool // there were more events than fit: some of what is missing may have ended
}

// flow is what is remembered of an entry.
type flow struct {
	id, left uint32
	service  int16 // index into the services of its dump; -1 is none
	old      bool  // made before the first dump
	fate     fate
}

// fate is what became of a flow since its dump.
type fate uint8

const (
	fateMissing fate = iota // neither dump nor event has it
	fateThere               // the next dump has the entry, in whatever state
	fateEnded               // an event: it ended or expired
	fateLost                // an event: it was destroyed although it was in use
)

// begin begins a dump. first says that there was none before it.
func (f *flows) begin() (first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taking, f.missed, f.during, f.spare = true, false, f.during[:0], f.spare[:0]
	return f.since.IsZero()
}

// gone notes an event: the entry was destroyed, and it was a loss or an end. The reader calls it for each.
func (f *flows) gone(id uint32, lost bool) {
	what := fateEnded
	if lost {
		what = fateLost
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	meet(f.list, id, what)
	if f.taking {
		if len(f.during) < mostFlows/8 {
			f.during = append(f.during, flow{id: id, fate: what})
		} else {
			f.missed = true
		}
	}
}

// meet notes the fate of a flow if it is in the list.
func meet(list []flow, id uint32, what fate) (found *flow) {
	i, ok := slices.BinarySearchFunc(list, id, func(f flow, id uint32) int { return cmp.Compare(f.id, id) })
	if !ok {
		return nil
	}
	if list[i].fate == fateMissing {
		list[i].fate = what
	}
	return &list[i]
}

// there notes an entry of the dump that is taken; it is remembered if it is a flow.
func (f *flows) there(e *Entry, service int, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := meet(f.list, e.ID, fateThere)
	if e.IsFlow() && len(f.spare) < mostFlows {
		old := first || before != nil && before.old
		f.spare = append(f.spare, flow{id: e.ID, left: e.Left, service: int16(service), old: old})
	}
}

// missing is how two dumps differ.
type missing struct {
	of     int            // flows that could not have expired between the dumps
	told   int            // were destroyed, as events say
	silent int            // are gone, and no event says how
	by     map[string]int // both, by service
	older  int            // flows of the new dump that were made before the first
	sure   bool           // no event is missing that could say that they ended
	since  time.Time      // when the dump before began
	flows  int            // of the new dump
}

// end ends a dump, all events until then being noted, and compares it with the one before. whole says that the dump had
// every entry; else it is forgotten, and what was remembered stays.
func (f *flows) end(begun, now time.Time, services []Service, whole bool) (m missing) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taking = false
	m = missing{by: map[string]int{}, since: f.since, sure: !f.missed}
	next := f.spare
	slices.SortFunc(next, func(a, b flow) int { return cmp.Compare(a.id, b.id) })
	for _, e := range f.during {
		meet(next, e.id, e.fate)
	}
	for _, one := range next {
		if one.old {
			m.older++
		}
	}
	m.flows = len(next)
	if !whole {
		for i := range f.list {
			if f.list[i].fate == fateThere {
				f.list[i].fate = fateMissing
			}
		}
		return m
	}
	could := uint32(now.Sub(f.since)/time.Second) + lossLeft // have expired with no more than that left
	for _, one := range f.list {
		if one.left <= could {
			continue
		}
		m.of++
		switch one.fate {
		case fateLost:
			m.told++
			m.by[f.name(one)]++
		case fateMissing:
			m.silent++
			m.by[f.name(one)]++
		}
	}
	f.list, f.spare, f.since, f.names = next, f.list, begun, services
	return m
}

// name is that of a flow's service in the latest dump. The caller holds mu.
func (f *flows) name(one flow) string {
	if one.service < 0 {
		return ""
	}
	return f.names[one.service].Name
}

package capture

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringside/ringside/pcapng"
)

// directory is what is known of the interfaces: the controller writes it, the readers look packets' interfaces up in it,
// Status reads it. All methods may be called concurrently.
type directory struct {
	generation atomic.Uint64 // grows with every change that readers must see

	mu      sync.Mutex
	rules   rules
	table   *pcapng.Table
	dead    int // entries of table whose interfaces are gone
	known   map[int]*iface
	counted map[string]*atomic.Uint64 // received on interfaces the configuration names, which may return
}

// iface is one interface that exists. The directory's lock guards it.
type iface struct {
	link
	rule     string // that it meets; empty if none
	state    string // State…
	why      string
	ring     string // that records it
	since    int64  // recorded by a ring of its own since then, ns since 1970; 0 if not
	from     int64  // recorded by the shared ring from then on, after one of its own; 0 if never
	until    int64  // recorded until then, under its old name; 0 if it was not or still is
	id       uint32 // in the directory's table
	listed   bool   // id is valid
	gone     int64  // when it vanished, ns since 1970; its ring may still hold packets from before
	received *atomic.Uint64
}

func newDirectory(r rules) *directory {
	return &directory{rules: r, table: &pcapng.Table{}, known: map[int]*iface{}, counted: map[string]*atomic.Uint64{}}
}

// change runs f with the lock held and lets the readers see the result.
func (d *directory) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	d.generation.Add(1)
}

// list gives an interface that is to be recorded its place in the table. The lock must be held.
func (d *directory) list(i *iface) {
	if i.listed {
		return
	}
	i.id, i.listed = d.table.Add(i.describe()), true
}

func (i *iface) describe() pcapng.Interface {
	return pcapng.Interface{Name: i.name, Index: i.index, Description: fmt.Sprintf("ifindex %d, ring %s", i.index, i.ring)}
}

// unlist forgets an interface's place. When most places are dead, a new table is begun, so that it stays small however
// many interfaces come and go. The lock must be held.
func (d *directory) unlist(i *iface) {
	if !i.listed {
		return
	}
	i.listed = false
	if d.dead++; d.dead < 64 || d.dead < d.table.Len()/2 {
		return
	}
	d.table, d.dead = &pcapng.Table{}, 0
	for _, other := range d.known {
		if other.listed {
			other.listed = false
			d.list(other)
		}
	}
}

// vanish marks an interface as gone and returns a copy, nil if it was not recorded.
func (d *directory) vanish(index int) *iface {
	var cp *iface
	d.change(func() {
		i := d.known[index]
		switch {
		case i == nil:
		case i.state == StateExcluded:
			delete(d.known, index)
		default:
			i.gone = time.Now().UnixNano()
			cp = new(*i)
		}
	})
	return cp
}

// forget removes the interfaces that are gone and of which no ring holds packets any more. covered says up to when a
// ring has been read; a ring that is closed holds nothing.
func (d *directory) forget(covered func(ring string) (ns int64, open bool)) {
	d.change(func() {
		for index, i := range d.known {
			if i.gone == 0 {
				continue
			}
			if to, open := covered(i.ring); !open || to > i.gone {
				delete(d.known, index)
				d.unlist(i)
			}
		}
	})
}

// goners reports whether an interface waits for forget.
func (d *directory) goners() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range d.known {
		if i.gone != 0 {
			return true
		}
	}
	return false
}

// put sets what is known of an interface. The lock must be held.
func (d *directory) put(next iface) {
	old := d.known[next.index]
	left := old != nil && old.gone == 0 && next.state == StateExcluded && old.listed // a ring may hold packets from before
	if old != nil && old.name == next.name && old.gone == 0 || left {
		next.id, next.listed, next.received = old.id, old.listed, old.received
		next.from, next.until = old.from, old.until
	} else {
		if old != nil {
			d.unlist(old)
		}
		next.received = d.counter(next.name)
	}
	d.known[next.index] = &next
	switch {
	case left && next.until == 0:
		next.until = time.Now().UnixNano()
	case left:
	case next.state != StateExcluded:
		next.until = 0
		d.list(&next)
	}
}

// get returns a copy of what is known of an interface, nil if nothing is.
func (d *directory) get(index int) *iface {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := d.known[index]; i != nil {
		return new(*i)
	}
	return nil
}

// shared reports whether an interface is in the shared ring, and which are not, sorted.
func (d *directory) shared() (any bool, others []int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range d.known {
		if i.gone != 0 {
			continue
		}
		if i.state == StateExcluded || i.ring != sharedRing {
			others = append(others, i.index)
		} else {
			any = true
		}
	}
	slices.Sort(others)
	return any, others
}

// part lets the shared ring keep an interface's packets from ns on; its own ring has those before. The lock is taken.
func (d *directory) part(index int, ns int64) {
	d.change(func() {
		if i := d.known[index]; i != nil {
			i.from = ns
		}
	})
}

// join settles the interfaces that waited for the shared ring or were blind, but for those its filter leaves out, and
// returns them. An error says why they are not taken in.
func (d *directory) join(excluded []int, err error) (joined []iface) {
	d.change(func() {
		for _, i := range d.known {
			_, out := slices.BinarySearch(excluded, i.index)
			switch {
			case i.ring != sharedRing || i.state != StateWaiting && i.state != StateBlind || i.gone != 0:
			case err == nil && !out:
				i.settle()
				joined = append(joined, *i)
			case err != nil:
				i.state, i.why = StateBlind, err.Error()
			}
		}
	})
	return joined
}

// settle gives an interface that a ring takes the state that the link has.
func (i *iface) settle() {
	i.state, i.why = StateRecording, ""
	if !i.up {
		i.state, i.why = StateDown, "the interface is down; it is recorded again when it is up"
	}
}

// lost says that a ring no longer records its interfaces. The lock must be held.
func (d *directory) lost(ring string, err error) {
	for _, i := range d.known {
		if i.ring == ring && i.state != StateExcluded {
			i.state, i.why = StateBlind, "its ring was closed and is opened anew"
			if err != nil {
				i.why = err.Error()
			}
		}
	}
}

// counter returns where packets of the named interface are counted. The lock must be held.
func (d *directory) counter(name string) *atomic.Uint64 {
	c := d.counted[name]
	if c == nil {
		c = new(atomic.Uint64)
		if d.rules.names(name) {
			d.counted[name] = c
		}
	}
	return c
}

// currentTable is the table for the next chunk.
func (d *directory) currentTable() *pcapng.Table {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.table
}

// status returns the interfaces for people.
func (d *directory) status() []InterfaceStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []InterfaceStatus
	for _, i := range d.known {
		if i.gone != 0 {
			continue
		}
		out = append(out, InterfaceStatus{Name: i.name, Index: i.index, State: i.state, Why: i.why, Ring: i.ring,
			Received: i.received.Load()})
	}
	out = append(out, d.rules.waiting(d.known)...)
	for n := range out {
		if c := d.counted[out[n].Name]; c != nil {
			out[n].Received = c.Load()
		}
	}
	slices.SortFunc(out, func(a, b InterfaceStatus) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Index, b.Index))
	})
	return out
}

package capture

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringside/ringside/pcapng"
	"golang.org/x/sys/unix"
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
	id       uint32 // in the directory's table
	listed   bool   // id is valid
	gone     int64  // when it vanished, ns since 1970; its ring may still hold packets from before
	received *atomic.Uint64
}

// entry is what a reader needs to know of an interface.
type entry struct {
	id       uint32
	plain    bool  // keep every packet as it is, but for tags
	ethernet bool  // frames begin with an Ethernet header
	drop     bool  // the policy omits it
	loopback bool  // every packet is seen twice, going out and coming in
	until    int64 // keep packets before this time, ns since 1970: from then on another ring has them; 0 for no end
	received *atomic.Uint64
}

func (e *entry) keeps(p *packet) bool {
	if e.drop || e.loopback && p.flags == pcapng.Outbound {
		return false
	}
	return e.until == 0 || p.ns < e.until
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
	if old != nil && old.name == next.name && old.gone == 0 {
		next.id, next.listed, next.received = old.id, old.listed, old.received
	} else {
		if old != nil {
			d.unlist(old)
		}
		next.received = d.counter(next.name)
	}
	d.known[next.index] = &next
	if next.state == StateExcluded {
		d.unlist(&next)
	} else {
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

// entry tells the reader of the named ring about an interface it has a packet of, for a chunk with table t. An interface
// that netlink has not told of yet is asked for by ioctl; while even that does not know it, its packets are kept.
func (d *directory) entry(ring string, t *pcapng.Table, index int, hatype uint16) *entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.known[index]
	if i == nil {
		i = d.newborn(ring, index, hatype)
	}
	e := &entry{
		received: i.received,
		ethernet: hatype == hatypeEther || hatype == hatypeLoopback,
		loopback: hatype == hatypeLoopback,
		drop:     i.state == StateExcluded,
	}
	if ring == sharedRing {
		e.until = i.since
	}
	e.plain = e.ethernet && !e.loopback && !e.drop && e.until == 0
	switch {
	case e.drop:
	case i.listed && t == d.table:
		e.id = i.id
	default:
		e.id = t.Add(i.describe()) // the reader still fills a chunk of the table before
	}
	return e
}

// newborn makes an interface that only its packets have told of. The lock must be held.
func (d *directory) newborn(ring string, index int, hatype uint16) *iface {
	i := &iface{link: link{index: index, hatype: hatype, up: true}, ring: ring, state: StateRecording}
	name, err := nameOf(index)
	if err == nil {
		r, named := d.rules.match(name, false, false)
		i.name, i.rule = name, r.Name
		if !named {
			i.state = StateExcluded
			return i
		}
	} else { // gone already, and nobody will say so
		i.name, i.gone = fmt.Sprintf("if%d", index), time.Now().UnixNano()
	}
	i.received = d.counter(i.name)
	d.known[index] = i
	d.list(i)
	return i
}

// nameOf asks the kernel for the name of an interface.
func nameOf(index int) (string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("x")
	if err != nil {
		return "", err
	}
	req.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFNAME, req); err != nil {
		return "", err
	}
	return req.Name(), nil
}

// cache is what a reader remembers of the interfaces it has seen, so that no lock is taken per packet.
type cache struct {
	generation uint64
	table      *pcapng.Table // of the chunk being filled
	index      int32         // of last; no interface has index 0
	last       *entry
	entries    map[int32]*entry          // emptied when the directory changes
	received   map[uint32]*atomic.Uint64 // by id in table
}

func (r *reader) lookup(index int32, hatype uint16) *entry {
	e := r.seen.entries[index]
	if e == nil {
		e = r.dir.entry(r.name, r.seen.table, int(index), hatype)
		r.seen.entries[index] = e
		if !e.drop {
			r.seen.received[e.id] = e.received
		}
	}
	r.seen.index, r.seen.last = index, e
	return e
}

// refresh empties the cache if the directory has changed, and ends the chunk if there is a new table.
func (r *reader) refresh(ctx context.Context) error {
	generation := r.dir.generation.Load()
	if generation == r.seen.generation {
		return nil
	}
	if r.dir.currentTable() != r.seen.table {
		r.handOver()
		r.seen.table = nil
		if err := r.begin(ctx); err != nil {
			return err
		}
	}
	r.seen.generation, r.seen.index, r.seen.last = generation, 0, nil
	clear(r.seen.entries)
	return nil
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

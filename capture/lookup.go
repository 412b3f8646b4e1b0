package capture

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ringside/ringside/pcapng"
	"golang.org/x/sys/unix"
)

// entry is what a reader needs to know of an interface.
type entry struct {
	id       uint32
	plain    bool  // keep every packet as it is, but for tags
	ethernet bool  // frames begin with an Ethernet header
	drop     bool  // the policy omits it
	loopback bool  // every packet is seen twice, going out and coming in
	from     int64 // keep packets from this time on, ns since 1970: before it another ring has them
	until    int64 // keep packets before this time: from then on another ring has them, or none; 0 for no end
	received *atomic.Uint64
}

func (e *entry) keeps(p *packet) bool {
	if e.drop || e.loopback && p.flags == pcapng.Outbound {
		return false
	}
	return p.ns >= e.from && (e.until == 0 || p.ns < e.until)
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
		drop:     i.state == StateExcluded && i.until == 0,
		until:    i.until,
	}
	if ring == sharedRing {
		e.from = i.from
		e.until = cmp.Or(i.since, i.until)
	}
	e.plain = e.ethernet && !e.loopback && !e.drop && e.until == 0 && e.from == 0
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
		r, named := d.rules.match(link{name: name})
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

package export

import (
	"cmp"
	"slices"
	"sort"
	"strings"
)

// marks finds the packets that marks belong to, in one walk over packets in any order.
type marks struct {
	all    lane              // every mark that goes by time, over all packets
	lanes  map[string]lane   // those of an interface, over its packets
	frames map[uint64][]Mark // those of one packet, by its number
	number uint64            // of packets so far

	comments map[int64][]string // by the packet's offset
}

// lane is marks in the order of time, and for each the packets next to it.
type lane []placed

type placed struct {
	Mark
	ns            int64
	before, after hit
}

// hit is a packet; nothing if it is not set.
type hit struct {
	ns, offset int64
	set        bool
}

func newMarks(list []Mark) *marks {
	m := &marks{lanes: map[string]lane{}, frames: map[uint64][]Mark{}, comments: map[int64][]string{}}
	for _, k := range list {
		if k.Frame > 0 {
			m.frames[k.Frame] = append(m.frames[k.Frame], k)
			continue
		}
		p := placed{Mark: k, ns: k.At.UnixNano()}
		m.all = append(m.all, p)
		if k.Interface != "" {
			m.lanes[k.Interface] = append(m.lanes[k.Interface], p)
		}
	}
	byTime := func(a, b placed) int { return cmp.Compare(a.ns, b.ns) }
	slices.SortStableFunc(m.all, byTime)
	for _, l := range m.lanes {
		slices.SortStableFunc(l, byTime)
	}
	return m
}

// packet offers the next packet of the capture. The name of its interface may begin with the node's.
func (m *marks) packet(ns, offset int64, name, node string) {
	m.number++
	for _, k := range m.frames[m.number] {
		if k.At.UnixNano() == ns {
			m.comments[offset] = append(m.comments[offset], k.Text)
		}
	}
	if len(m.all) == 0 {
		return
	}
	m.all.packet(ns, offset)
	if len(m.lanes) == 0 {
		return
	}
	if node != "" {
		name = strings.TrimPrefix(name, node+"/")
	}
	m.lanes[name].packet(ns, offset)
}

// packet looks at the two marks that the packet lies between; resolve tells the others.
func (l lane) packet(ns, offset int64) {
	i := sort.Search(len(l), func(i int) bool { return l[i].ns > ns })
	if i > 0 {
		if h := &l[i-1].after; !h.set || ns < h.ns {
			*h = hit{ns, offset, true}
		}
	}
	if i < len(l) {
		if h := &l[i].before; !h.set || ns >= h.ns {
			*h = hit{ns, offset, true}
		}
	}
}

// resolve returns the comments of packets by their offset.
func (m *marks) resolve() map[int64][]string {
	m.all.spread()
	for _, l := range m.lanes {
		l.spread()
		for _, p := range l {
			p.put(m.comments)
		}
	}
	for _, p := range m.all {
		if l, ok := m.lanes[p.Interface]; !ok || !l.seen() {
			p.put(m.comments)
		}
	}
	return m.comments
}

// spread gives every mark the nearest packets also beyond its neighbours.
func (l lane) spread() {
	for i := len(l) - 2; i >= 0; i-- {
		if !l[i].after.set {
			l[i].after = l[i+1].after
		}
	}
	for i := 1; i < len(l); i++ {
		if !l[i].before.set {
			l[i].before = l[i-1].before
		}
	}
}

// seen says whether the lane had any packet.
func (l lane) seen() bool { return l[0].before.set || l[0].after.set }

func (p *placed) put(comments map[int64][]string) {
	h := p.after
	if !p.After && p.before.set && (!h.set || p.ns-p.before.ns < h.ns-p.ns) {
		h = p.before
	}
	if h.set {
		comments[h.offset] = append(comments[h.offset], p.Text)
	}
}

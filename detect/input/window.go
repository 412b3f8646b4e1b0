package input

import "github.com/ringside/ringside/detect/frame"

// How far a file is read ahead to put its packets in order.
const (
	aheadPackets = 32768
	aheadAlone   = 8192          // with one interface
	spanNS       = 1_500_000_000 // recorders write each interface's buffer once a second
	spanAloneNS  = 20_000_000    // several CPUs fill one buffer, and were seen 7.2 ms apart
	maxBack      = 1024          // places that a packet moves forward in its lane, which bounds the work for hostile files
)

// window puts the packets of one file in order: a list for each interface, and a heap of the lists by their first packet.
// Nearly every packet is the last of its list, so it is put in and taken out in the time that the heap takes, which is as
// deep as there are interfaces, not packets. Packets lie in one slab and are never copied.
type window struct {
	nodes   []node
	free    uint32 // first of the nodes that are not used, linked by next
	lanes   []lane
	heap    []uint32 // lanes that have packets, by their first
	count   int
	several bool  // interfaces are known, whether they have packets or not
	newest  int64 // time of all packets; before the first, the least there is
}

// node is a packet in a list. Node 0 is none.
type node struct {
	frame.Packet
	next, prev uint32
}

type lane struct{ first, last uint32 }

// alloc returns a node for the next packet. It is valid until the next call.
func (w *window) alloc() uint32 {
	if w.free == 0 {
		if len(w.nodes) == 0 {
			w.nodes = make([]node, 1, 64)
		}
		w.nodes = append(w.nodes, node{})
		return uint32(len(w.nodes) - 1)
	}
	n := w.free
	w.free = w.nodes[n].next
	return n
}

// release takes back a node.
func (w *window) release(n uint32) {
	w.nodes[n].next = w.free
	w.free = n
}

// push puts a node into a lane.
func (w *window) push(n, to uint32) {
	for int(to) >= len(w.lanes) {
		w.lanes = append(w.lanes, lane{})
	}
	l, time := &w.lanes[to], w.nodes[n].Time
	w.newest = max(w.newest, time)
	w.count++
	before := l.last
	for back := 0; before != 0 && w.nodes[before].Time > time && back < maxBack; back++ {
		before = w.nodes[before].prev
	}
	w.insert(l, n, before)
	switch {
	case l.first != n: // the lane's first is what it was
	case l.last == n:
		w.heap = append(w.heap, to)
		w.up(len(w.heap) - 1)
	default:
		w.up(w.find(to))
	}
}

// insert puts a node behind another of its lane, or first.
func (w *window) insert(l *lane, n, before uint32) {
	after := l.first
	if before != 0 {
		after = w.nodes[before].next
		w.nodes[before].next = n
	} else {
		l.first = n
	}
	if after != 0 {
		w.nodes[after].prev = n
	} else {
		l.last = n
	}
	w.nodes[n].prev, w.nodes[n].next = before, after
}

// full says whether enough was read ahead to hand out the first packet.
func (w *window) full() bool {
	packets, span := aheadAlone, int64(spanAloneNS)
	if w.several {
		packets, span = aheadPackets, spanNS
	}
	return w.count > 0 && (w.count >= packets || w.newest-w.time() >= span)
}

// time is that of the first packet, of which there must be one.
func (w *window) time() int64 { return w.first(w.heap[0]) }

func (w *window) first(of uint32) int64 { return w.nodes[w.lanes[of].first].Time }

// pop takes out the first packet, of which there must be one. Its node is the caller's until it releases it.
func (w *window) pop() uint32 {
	of := w.heap[0]
	l := &w.lanes[of]
	n := l.first
	l.first = w.nodes[n].next
	w.count--
	if l.first != 0 {
		w.nodes[l.first].prev = 0
		w.down()
		return n
	}
	l.last = 0
	end := len(w.heap) - 1
	w.heap[0] = w.heap[end]
	w.heap = w.heap[:end]
	w.down()
	return n
}

func (w *window) find(of uint32) int {
	for i, l := range w.heap {
		if l == of {
			return i
		}
	}
	panic("input: a lane with packets is not in the heap")
}

func (w *window) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if w.first(w.heap[parent]) <= w.first(w.heap[i]) {
			return
		}
		w.heap[parent], w.heap[i] = w.heap[i], w.heap[parent]
		i = parent
	}
}

// down puts the first lane, whose first packet is another now, in its place.
func (w *window) down() {
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(w.heap); c++ {
			if w.first(w.heap[c]) < w.first(w.heap[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		w.heap[i], w.heap[least] = w.heap[least], w.heap[i]
		i = least
	}
}

package detect

import (
	"cmp"
	"iter"
	"slices"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/detect/track"
)

// newcomer is a conversation that was first seen in its middle, and might continue another one.
type newcomer struct {
	ref
	seq, ack, end uint32
	from          int
	at            int64
	cite          Citation
	inbound       bool // its first packet came in
	closing       bool // its first packet was a FIN
	settled       bool
	mixed         bool // it is one of two names at its vantage, and counted
}

// sender is a side of the connections to a server.
type sender struct {
	server frame.Endpoint
	from   uint8
}

// tick looks at the newcomers, each for a while: what it continues may be read later, where vantages are not in step.
func (l *links) tick() {
	d := l.d
	if d.now-l.swapped > openedFor {
		l.opened[1], l.opened[0], l.swapped = l.opened[0], map[uint32]ref{}, d.now
	}
	l.follow()
	if len(l.waiting) == 0 {
		return
	}
	near, latest := bySender(l.waiting)
	d.table.Each(func(o *track.Conversation) {
		for from := range o.Half {
			h := &o.Half[from]
			if l.total == 1 && h.Last >= latest+copyWithin {
				continue // it goes on itself, and there is no other vantage
			}
			for n := range before(near[sender{o.Server, uint8(from)}], h.Next) {
				if n.Conversation != o && !n.settled {
					l.compare(n, o)
				}
			}
		}
	})
	kept := l.waiting[:0]
	for _, n := range l.waiting {
		again := d.now-n.at < copyWithin || d.live && d.now-n.at < waitFor // in files, everything is there at once
		if n.ok() && !n.settled && again {
			kept = append(kept, n)
		}
	}
	clear(l.waiting[len(kept):])
	l.waiting = kept
}

// bySender puts newcomers in the order of their sequence numbers, those of each sender, and says when the last one was first seen.
func bySender(list []*newcomer) (near map[sender][]*newcomer, latest int64) {
	near = map[sender][]*newcomer{}
	for _, n := range list {
		if n.ok() {
			at := sender{n.Server, uint8(n.from)}
			near[at] = append(near[at], n)
			latest = max(latest, n.at)
		}
	}
	for _, list := range near {
		slices.SortFunc(list, func(a, b *newcomer) int { return cmp.Compare(a.seq, b.seq) })
	}
	return near, latest
}

// before yields the newcomers of a list in order whose sequence numbers are next or up to maxReach before it, the nearest first.
// They wrap.
func before(list []*newcomer, next uint32) iter.Seq[*newcomer] {
	return func(yield func(*newcomer) bool) {
		at, _ := slices.BinarySearchFunc(list, next, func(n *newcomer, next uint32) int {
			if n.seq <= next {
				return -1
			}
			return 1
		})
		for range min(len(list), maxCompared) {
			if at--; at < 0 {
				at = len(list) - 1
			}
			if next-list[at].seq > maxReach || !yield(list[at]) {
				return
			}
		}
	}
}

// compare looks whether a newcomer is o at another vantage, or goes on where o has ended.
func (l *links) compare(n *newcomer, o *track.Conversation) {
	oc := &o.Half[n.from]
	if o.Vantage == n.Vantage && (o.First >= n.at || oc.Last >= n.at+copyWithin) {
		return // it began later, or goes on itself
	}
	if o.First > n.at+skew || !continues(n, o) {
		return
	}
	aCopy := abs(oc.Last-n.at) < copyWithin && !track.Less(oc.Next, n.end) && !track.Less(oc.Ack, n.ack) // that segment was seen of o as well
	if aCopy && o.Vantage == n.Vantage {
		if !n.mixed {
			n.mixed = true
			l.d.vantages[n.Vantage].mixed++
		}
		return
	}
	if o.Vantage != n.Vantage && o.Client == n.Client && o.Out() == nil && o.In() == nil && n.In() == nil && n.Out() == nil && (aCopy || oc.Last >= n.at) {
		l.join(o, n.Conversation, o.Half[track.Client].TTL, n.Half[track.Client].TTL, o.First, n.First)
		return
	}
	switch {
	case o.Vantage == n.Vantage && o.Client != n.Client && n.from == track.Client && oc.Last < n.at && !aCopy && o.Moved == 0 && o.First < n.at-copyWithin:
		l.moved(n, o, false)
	case o.Vantage != n.Vantage && o.Client == n.Client && n.from == track.Client && oc.Last < n.at && !aCopy && o.Moved == 0 && o.Out() == nil && l.d.leadsOut(o) && l.d.leadsOutAt(n.Vantage):
		l.moved(n, o, true)
	case o.Vantage != n.Vantage && o.Client != n.Client && (aCopy || oc.Last >= n.at) && o.Out() == nil && n.In() == nil && n.Out() == nil && o.In() == nil:
		l.join(o, n.Conversation, o.Half[track.Client].TTL, n.Half[track.Client].TTL, o.First, n.First)
	}
}

// continues says whether a newcomer's numbers, both of them, are those with which o goes on: the same connection.
func continues(n *newcomer, o *track.Conversation) bool {
	h, other := &o.Half[n.from], &o.Half[1-n.from]
	if !h.KnowsNext() || o.First >= n.at && o.Vantage == n.Vantage {
		return false
	}
	behind := h.Next - n.seq // 0: it goes on right there; small: sent again, or a keep-alive
	reach := uint32(1)
	if h.KnowsAcked() {
		reach = max(reach, h.Next-h.Acked)
	}
	if n.at <= h.Last { // o went on meanwhile: what it had then is not known any more
		reach = max(reach, 1<<17)
	}
	if behind > reach || reach > maxReach {
		return false
	}
	if !h.KnowsAck() {
		return false
	}
	if !other.KnowsNext() {
		return n.ack == h.Ack
	}
	slack := uint32(0)
	if n.at <= h.Last {
		slack = 1 << 17
	}
	return !track.Less(n.ack+slack, h.Ack) && !track.Less(other.Next, n.ack) && (n.ack != 0 || h.Ack == 0)
}

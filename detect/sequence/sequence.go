package sequence

import (
	"time"

	"github.com/ringside/ringside/detect/frame"
)

// What the judgement rests on, besides numbers.
const (
	reordered   = 3 * time.Millisecond   // without a round trip: what comes later was sent again rather than out of order
	recoverFast = 20 * time.Millisecond  // how soon after a repeated acknowledgement a fast retransmission comes
	soonest     = 180 * time.Millisecond // no time-out is shorter: Linux adds 200 ms to the round trip (include/net/tcp.h, TCP_RTO_MIN)
	probe       = time.Millisecond       // no probe of the tail is sooner (TCP_TIMEOUT_MIN): it is a frame that was captured twice
)

// State is what is remembered of one connection. The zero value is that of one that nothing was seen of. It holds no
// pointers, may be copied, and is not safe for concurrent use.
type State struct {
	sides   [2]side
	syn     int64 // time of the last SYN without ACK, nanoseconds since 1970
	rtt     int64 // of the handshake, nanoseconds
	pending opening
}

// Next takes the next segment; from is 0 or 1, whichever of the two sides sent it. It allocates nothing.
//
// A SYN with another sequence number than that side began with begins another connection: the state starts over, at once if
// the one before has ended, and otherwise as soon as somebody answers it. Of a reset, only a sequence number that the other
// side takes counts. Anybody may have made either. A segment without flags, of which perhaps not so much was captured, is not
// looked at.
func (s *State) Next(from int, p *frame.Packet) Flags {
	d, other := &s.sides[from&1], &s.sides[from&1^1]
	if p.Flags&^frame.PSH == frame.ACK && d.follows(other, p) && (s.rtt != 0 || s.syn == 0) {
		d.advance(other, p)
		return 0
	}
	return s.judge(from&1, p)
}

// judge is Next for any segment.
func (s *State) judge(from int, p *frame.Packet) Flags {
	if p.Flags&(frame.RST|frame.SYN|frame.FIN|frame.ACK) == 0 {
		return 0
	}
	d, other := &s.sides[from], &s.sides[1-from]
	if p.Flags&frame.RST != 0 {
		if d.expected(other, p.Seq) {
			d.sent(p)
			d.has |= ended
		}
		return Reset
	}
	var f Flags
	if p.Flags&frame.SYN != 0 || (d.has|other.has)&reopening != 0 {
		var aside bool
		if f, aside = s.reopen(from, p); aside {
			return f
		}
	}
	d.begin(other, p)
	f |= d.windows(other, p)
	if p.Flags&frame.ACK != 0 {
		f |= d.acks(other, p)
	}
	if p.Payload > 0 || p.Flags&(frame.SYN|frame.FIN) != 0 {
		f |= s.order(d, other, p, f)
	}
	if f&ZeroWindowProbe == 0 { // the byte of a probe is not sent until it is taken
		d.sent(p)
	}
	if p.Flags&frame.ACK != 0 {
		other.acknowledged(p.Ack, p.Time)
	}
	d.remember(other, p, f)
	s.handshake(p)
	return f
}

// handshake measures the round trip, from the last SYN to what ends the handshake.
func (s *State) handshake(p *frame.Packet) {
	switch p.Flags & (frame.SYN | frame.ACK) {
	case frame.SYN:
		s.syn = p.Time
	case frame.ACK:
		if s.rtt == 0 && s.syn != 0 {
			s.rtt = max(p.Time-s.syn, 0)
		}
	}
}

// order judges a segment that takes up sequence numbers: whether it is new, and what it is if not. The other judgements
// on it are in f.
func (s *State) order(d, other *side, p *frame.Packet, f Flags) Flags {
	end := p.End()
	behind := d.has&knownNext != 0 && Before(p.Seq, d.next)
	if p.Payload > 1 && p.Seq == d.next-1 {
		behind = false // its first byte may have been a probe's; the rest is new
	}
	switch {
	case f&KeepAlive != 0:
		return 0
	case p.Payload > 0 && other.has&knownAck != 0 && !Before(other.ack, p.Seq+p.Payload):
		return s.again(d, other, p, Retransmission|Spurious)
	case !behind:
		return 0
	case other.asks(p.Seq) && within(p.Time-other.spoke, recoverFast):
		return s.again(d, other, p, Retransmission|FastRetransmission)
	case end != d.next && within(p.Time-d.raised, s.patience()):
		return OutOfOrder
	}
	return s.again(d, other, p, Retransmission)
}

// patience is how long after its successors a segment may come and still count as out of order.
func (s *State) patience() time.Duration {
	if s.rtt == 0 {
		return reordered
	}
	return time.Duration(s.rtt)
}

// within says whether a time that has passed, in nanoseconds, is shorter than limit. If time ran backwards, it is not.
func within(passed int64, limit time.Duration) bool { return passed >= 0 && passed < int64(limit) }

// again says why a segment was sent again, if not after repeated acknowledgements, and takes note of it.
func (s *State) again(d, other *side, p *frame.Packet, f Flags) Flags {
	if d.has&knownNext == 0 { // the first that was captured of its side, and acknowledged before
		return f
	}
	oldest := !Before(d.oldest, p.Seq)
	switch {
	case f&FastRetransmission != 0:
	case oldest && p.Time-d.timer >= int64(soonest)+min(s.rtt, int64(soonest)): // an estimate that is too long does no harm
		f |= TimeOut
	case p.End() == d.next && d.has&recovering == 0 && other.duplicates <= 0 && p.Time-max(d.raised, d.timer) >= int64(probe):
		f |= TailLoss
	}
	if oldest && d.repeats < 255 {
		d.repeats++
	}
	d.timer = p.Time
	d.recovery = d.next
	d.has |= recovering
	return f
}

// Touch reads from all of the state, so that it is at hand when Next needs it. The number means nothing.
func (s *State) Touch() uint64 { return uint64(s.sides[0].raised) + uint64(s.sides[1].timer) }

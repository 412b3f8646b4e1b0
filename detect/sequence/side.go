package sequence

import "github.com/ringside/ringside/detect/frame"

// side is what one side of a connection has sent. Times are nanoseconds since 1970.
type side struct {
	raised int64 // when next was last raised
	spoke  int64 // when it last sent an acknowledgement, new or not
	timer  int64 // when its retransmission timer would have been started last (RFC 6298, section 5)

	first    uint32 // its initial sequence number; without a handshake, the number before what it sent first
	next     uint32 // behind the highest that it sent
	unbroken uint32 // behind what was seen of it without a gap, or acknowledged in spite of one
	oldest   uint32 // what the other side has not acknowledged begins here
	recovery uint32 // where next was when something was last sent again
	ack      uint32 // the acknowledgement number that it sent last

	duplicates int16 // acknowledgements that it repeated in a row, or unseen
	window     uint16
	has        known
	repeats    uint8 // how often in a row its oldest segment was sent again
	scale      uint8 // of its windows, in bits
}

// unseen, as a number of duplicates, says that something was acknowledged while this side only acknowledged, and that it
// was not captured; it is told once.
const unseen = -1

// known is which fields of a side hold something, and how.
type known uint16

const (
	knownFirst   known = 1 << iota // first
	knownNext                      // next, unbroken, oldest
	knownOldest                    // oldest is an acknowledgement
	knownAck                       // ack, window
	knownScale                     // scale
	unscaled                       // window is a SYN's, which is not scaled (RFC 7323, section 2.2)
	recovering                     // what lies before recovery is being sent again
	keptAlive                      // its last segment was a keep-alive
	probedClosed                   // its last segment was a probe of a closed window
	ended                          // it sent FIN, or a reset that the other side takes
	reopening                      // it sent State.pending
)

// Before says whether sequence number a is before b, which wraps (RFC 9293, section 3.4).
func Before(a, b uint32) bool { return int32(a-b) < 0 }

// bytes is the window in bytes, as it stands there unless the factor is known.
func (d *side) bytes() uint32 {
	if d.has&unscaled != 0 {
		return uint32(d.window)
	}
	return uint32(d.window) << d.scale
}

// expected says whether the other side takes a segment of d that begins at seq: it lies in its window (RFC 5961, section 3.2).
func (d *side) expected(other *side, seq uint32) bool {
	return d.has&knownNext != 0 && other.has&knownAck != 0 && seq-other.ack <= other.bytes()
}

// follows says whether a segment with ACK is what most are: the next one, with something new, of a connection of which
// nothing special is in mind. State.judge would say nothing of it; this says so sooner.
func (d *side) follows(other *side, p *frame.Packet) bool {
	const usual, special = knownFirst | knownNext | knownOldest | knownAck, unscaled | recovering | keptAlive | probedClosed | reopening
	end := p.Seq + p.Payload
	if p.Payload == 0 && p.Ack == d.ack || p.Payload != 0 && !Before(other.ack, end) {
		return false // nothing new
	}
	return d.has&other.has&usual == usual && (d.has|other.has)&special == 0 && p.Window != 0 && other.window != 0 &&
		p.Seq == d.next && d.unbroken == p.Seq && !Before(other.unbroken, p.Ack) && end != other.ack+other.bytes()
}

// advance takes note of a segment that follows.
func (d *side) advance(other *side, p *frame.Packet) {
	if p.Payload != 0 {
		if !Before(d.oldest, d.next) {
			d.timer = p.Time
		}
		d.next += p.Payload
		d.unbroken, d.raised = d.next, p.Time
	}
	if p.Ack != d.ack {
		d.duplicates = 0
	}
	d.ack, d.window, d.spoke = p.Ack, p.Window, p.Time
	other.acknowledged(p.Ack, p.Time)
}

// begin notes where both sides begin, as far as a first segment tells.
func (d *side) begin(other *side, p *frame.Packet) {
	if d.has&knownFirst == 0 {
		d.has |= knownFirst
		d.first = p.Seq - 1
		if p.Flags&frame.SYN != 0 {
			d.first = p.Seq
		}
	}
	if other.has&knownFirst == 0 && p.Flags&frame.ACK != 0 {
		other.has |= knownFirst
		other.first = p.Ack - 1
	}
}

// windows judges a segment by the windows of both sides and by where it should begin.
func (d *side) windows(other *side, p *frame.Packet) (f Flags) {
	plain := p.Flags&(frame.SYN|frame.FIN) == 0
	if plain && p.Window == 0 {
		f |= ZeroWindow
	}
	if d.has&knownNext == 0 {
		return f
	}
	if p.Payload == 1 && p.Seq == d.next && other.has&knownAck != 0 && other.window == 0 {
		return ZeroWindowProbe
	}
	if Before(d.next, p.Seq) {
		f |= LostSegment
	}
	if plain && p.Payload <= 1 && p.Seq == d.next-1 {
		f |= KeepAlive
	}
	if plain && p.Payload > 0 && other.has&(knownScale|knownAck) == knownScale|knownAck &&
		p.Seq+p.Payload == other.ack+other.bytes() {
		f |= WindowFull
	}
	return f
}

// acks judges what a segment acknowledges.
func (d *side) acks(other *side, p *frame.Packet) (f Flags) {
	const all = knownNext | knownAck
	again := d.has&all == all && p.Ack == d.ack
	if again && p.Payload == 0 && p.Flags&(frame.SYN|frame.FIN) == 0 && p.Seq == d.next {
		f = d.repeatsAck(other, p)
	}
	if !again {
		d.duplicates = 0
	}
	if other.has&knownNext != 0 && Before(other.unbroken, p.Ack) && other.missed() {
		f |= AckedUnseen
	}
	return f
}

// repeatsAck judges a segment that says nothing but what the one before it did, unless it has another window.
func (d *side) repeatsAck(other *side, p *frame.Packet) Flags {
	switch {
	case p.Window != d.window && p.Window > 0:
		return WindowUpdate
	case p.Window != d.window:
		return 0
	case p.Window > 0 && other.has&keptAlive != 0:
		return KeepAliveAck
	case p.Window == 0 && other.has&probedClosed != 0:
		return ZeroWindowProbeAck
	case p.Window == 0:
		return 0
	}
	if d.duplicates = max(d.duplicates, 0); d.duplicates < 1<<15-1 {
		d.duplicates++
	}
	return DuplicateAck
}

// missed says whether something of d that was acknowledged and not captured has not been told of yet.
func (d *side) missed() bool {
	if Before(d.unbroken, d.next) {
		d.unbroken = d.next
		return true
	}
	told := d.duplicates != 0
	d.duplicates = unseen
	return !told
}

// asks says whether d has repeated its acknowledgement of seq twice, which is to ask for what begins there. Where something
// was not captured, repetitions may not have been either.
func (d *side) asks(seq uint32) bool {
	return d.has&knownAck != 0 && d.ack == seq && (d.duplicates >= 2 || d.duplicates == unseen)
}

// sent takes note of what a segment takes up.
func (d *side) sent(p *frame.Packet) {
	end := p.End()
	if d.has&knownNext == 0 {
		d.has |= knownNext
		d.next, d.unbroken, d.oldest = end, end, p.Seq
		d.raised, d.timer = p.Time, p.Time
		return
	}
	if Before(d.next, end) {
		if !Before(d.oldest, d.next) {
			d.timer = p.Time
		}
		d.next, d.raised = end, p.Time
	}
	if p.Flags&frame.FIN != 0 {
		d.has |= ended
	}
	if p.Seq == d.unbroken {
		d.unbroken = d.next
	}
}

// acknowledged takes note that the other side has everything before ack.
func (d *side) acknowledged(ack uint32, now int64) {
	if d.has&knownNext == 0 {
		return
	}
	if d.has&knownOldest == 0 || Before(d.oldest, ack) || Before(d.next, d.oldest) {
		if d.oldest != ack {
			d.repeats, d.timer = 0, now
		}
		d.oldest = ack
		d.has |= knownOldest
	}
	if d.has&recovering != 0 && !Before(ack, d.recovery) {
		d.has &^= recovering
	}
}

// remember keeps of a segment what the next one is compared with.
func (d *side) remember(other *side, p *frame.Packet, f Flags) {
	has := d.has &^ (keptAlive | probedClosed)
	if f&(KeepAlive|ZeroWindowProbe) != 0 {
		if f&KeepAlive != 0 {
			has |= keptAlive
		} else {
			has |= probedClosed
		}
	}
	if p.Flags&frame.ACK != 0 {
		d.ack, d.window, d.spoke = p.Ack, p.Window, p.Time
		has = has&^unscaled | knownAck
	}
	d.has = has
	if p.Flags&frame.SYN != 0 && !p.Cut {
		d.scales(other, p)
	}
}

// scales takes note of a SYN's factor. Either side without one means that neither is scaled (RFC 7323, section 2.2).
func (d *side) scales(other *side, p *frame.Packet) {
	d.has |= knownScale | unscaled
	d.scale = p.Scale
	if !p.Scaled {
		d.scale, other.scale = 0, 0
		other.has |= knownScale
	}
}

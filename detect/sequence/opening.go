package sequence

import "github.com/ringside/ringside/detect/frame"

// opening is a SYN of another connection, while one of the same addresses and ports goes on. If that one is alive, its end
// answers with nothing but an acknowledgement (RFC 5961, section 4), and it goes on.
type opening struct {
	at     int64 // nanoseconds since 1970
	seq    uint32
	scale  uint8
	scaled bool
}

// reopen looks for the beginning of another connection. It says what a SYN is of that, and whether it is put aside.
func (s *State) reopen(from int, p *frame.Packet) (f Flags, aside bool) {
	d, other := &s.sides[from], &s.sides[1-from]
	another := d.has&knownFirst != 0 && p.Seq != d.first
	switch p.Flags & (frame.SYN | frame.ACK) {
	case frame.SYN:
		switch {
		case !another:
			return 0, false
		case (d.has|other.has)&ended != 0 && d.has&reopening != 0 && p.Seq == s.pending.seq:
			s.restart(from) // it was put aside, and what it waited for has ended
			return 0, false
		case (d.has|other.has)&ended != 0 || other.has&knownNext == 0:
			*s = State{}
			return PortReused, false
		}
		return s.putAside(d, other, p), true
	case frame.SYN | frame.ACK:
		switch {
		case other.has&reopening != 0 && p.Ack == s.pending.seq+1:
			s.restart(1 - from)
		case another:
			d.first = p.Seq
			return PortReused, false
		}
	case frame.ACK: // the answer to the SYN was not captured
		if d.has&reopening != 0 && p.Seq == s.pending.seq+1 {
			s.restart(from)
		}
	}
	return 0, false
}

// putAside keeps a SYN until it is answered, or another is put aside.
func (s *State) putAside(d, other *side, p *frame.Packet) Flags {
	f := PortReused
	if d.has&reopening != 0 && p.Seq == s.pending.seq {
		f = Retransmission
		if p.Time-s.pending.at >= int64(soonest) {
			f |= TimeOut
		}
	}
	d.has |= reopening
	other.has &^= reopening
	s.pending = opening{p.Time, p.Seq, p.Scale, p.Scaled}
	return f
}

// restart makes the state that of the connection that side has opened.
func (s *State) restart(side int) {
	o := s.pending
	*s = State{}
	s.judge(side, &frame.Packet{Protocol: frame.TCP, Flags: frame.SYN, Time: o.at, Seq: o.seq, Scale: o.scale, Scaled: o.scaled})
}

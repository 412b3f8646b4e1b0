package sequence

import "time"

// Sent is the number behind the highest that side has sent, SYN and FIN counted. It is not ok if nothing was seen of it.
func (s *State) Sent(side int) (seq uint32, ok bool) {
	d := &s.sides[side&1]
	return d.next, d.has&knownNext != 0
}

// Acked is the highest acknowledgement by the other side of what side has sent. It is not ok without one.
func (s *State) Acked(side int) (ack uint32, ok bool) {
	d := &s.sides[side&1]
	return d.oldest, d.has&knownOldest != 0
}

// LastAck is the acknowledgement number that side sent last. It is not ok if it sent none.
func (s *State) LastAck(side int) (ack uint32, ok bool) {
	d := &s.sides[side&1]
	return d.ack, d.has&knownAck != 0
}

// Outstanding is how many bytes side has sent that are not acknowledged, as far as was seen; SYN and FIN count as one.
func (s *State) Outstanding(side int) uint32 {
	d := &s.sides[side&1]
	if d.has&knownNext == 0 || Before(d.next, d.oldest) {
		return 0
	}
	return d.next - d.oldest
}

// Window is the window that side announced last, in bytes; as it stands there if Scaled says that the factor is not known.
// It is not ok if side announced none.
func (s *State) Window(side int) (bytes uint32, ok bool) {
	d := &s.sides[side&1]
	return d.bytes(), d.has&knownAck != 0
}

// Scaled says whether the factor of side's windows is known, which takes its SYN.
func (s *State) Scaled(side int) bool { return s.sides[side&1].has&knownScale != 0 }

// DuplicateAcks is how often side has just repeated an acknowledgement.
func (s *State) DuplicateAcks(side int) int { return int(max(0, s.sides[side&1].duplicates)) }

// Repeats is how often in a row, up to 255, the oldest that is not acknowledged of side's was sent again.
func (s *State) Repeats(side int) int { return int(s.sides[side&1].repeats) }

// RTT is the round trip of the handshake, from the last SYN to what ended it, through this vantage and both sides. It is 0
// if that was not seen.
func (s *State) RTT() time.Duration { return time.Duration(s.rtt) }

// Package adversary shows the detection what looks like a fault of the node and is none: attacks, odd but ordinary traffic,
// and captures that lack something, have something twice, or were put together of others.
//
// Its nouns:
//
//   - Tape: a capture in the making, of packets that a script of conversations writes.
//   - Framing: how a tape is written down: IPv4 or IPv6, tagged, cooked, raw.
//   - Case: a script, and what may be said of it.
//   - Mangling: a change to a real capture that must not make another fault of it.
package adversary

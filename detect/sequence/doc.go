// Package sequence says of every segment of a TCP connection what it is in the order of things: new, sent again and why, out
// of order, a repeated acknowledgement, a closed window. It judges as Wireshark 4.0's tcp.analysis does, so that people can
// compare; docs/verdicts.md has where it does not.
//
// Its nouns:
//
//   - State: what is remembered of one connection at one vantage point, in both directions, of a fixed size.
//   - Side: one direction of it: what was sent, what of that was acknowledged, and the window that it offers.
//   - Flags: what a segment is; several may hold.
//
// Everything is as the vantage saw it. What was lost before it looks like a gap, what was lost behind it is seen twice.
package sequence

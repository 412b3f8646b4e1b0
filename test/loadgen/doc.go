// Package loadgen sends packets whose recording can be checked one by one.
//
// Its nouns:
//
//   - Plan: what one source sends. A plan alone says what packet number n looks like (family, tags, size), so that a
//     packet read back is compared with what was sent without keeping what was sent.
//   - Number: 64 bits that no other packet of a test has: the plan's ID in the high 24, the count from 0 in the low 40.
//     A packet carries it in TCP's sequence (low half) and acknowledgment (high half), which survive a recording
//     without payload.
//   - Sender: sends a plan's packets one by one through AF_PACKET and keeps when each was sent: the oracle of what must
//     have been recorded.
//   - Line: hands copies of one packet to an interface at line rate (2 million a second from one core) by running an XDP
//     program over test frames, as if a network card had received them.
//
// Frames are addressed to a station that does not exist, so nothing answers them.
package loadgen

// Package wire reads what a capture shows: the packets in it as a scenario's expectations speak of them.
//
//   - Packet: one packet at one interface, down to its transport header.
//   - Capture: all packets of a capture, in the order in which they are in it.
//   - Conversation: one connection as one interface saw it, by the ports that it had there.
package wire

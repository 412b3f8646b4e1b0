// Package frame reads of a captured frame what detection needs, and nothing else: addresses, ports, TCP's numbers, what an
// ICMP error quotes, the header of a DNS message. Never payload.
//
// Its nouns:
//
//   - Packet: the facts of one frame, flat and reused.
//   - Endpoint: an address and a port.
//   - Link: what the frame begins with: Ethernet, Linux cooked (1 and 2), raw IP, BSD loopback.
//   - Quote: the beginning of a packet that an ICMP error is about.
package frame

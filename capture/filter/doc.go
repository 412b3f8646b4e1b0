// Package filter turns services into one classic BPF program that the kernel runs on every packet.
//
// Its nouns:
//
//   - Service: one kind of traffic to record: ports with optional addresses, or a tcpdump expression. Services are
//     tried in the order of the configuration, and the first that matches decides how much of the packet is kept.
//   - Program: the union of the services for one socket: classic BPF (linux/filter.h) whose return value is the number
//     of bytes to keep, 0 for none.
//   - Compiler: services with their expressions already compiled, from which a program for another set of excluded
//     interfaces is made without running tcpdump again.
//   - Connection: a TCP connection of this process, by both its ends, that programs leave out. It is the only thing that
//     is taken away from what services keep.
//   - Coarse program: one that keeps more than was asked, because the kernel's limit for the exact program
//     (net.core.optmem_max) is too low. The process finishes such packets with Program.Run of the exact one.
//
// What a service keeps:
//
//   - TCP and UDP over IPv4 (any options) and IPv6 behind up to maxHops extension headers (hop-by-hop, routing,
//     destination options, fragment, authentication), in frames with no, one or two VLAN tags, wherever they are: in the
//     data, or stripped by the kernel into metadata. Behind more extension headers, behind others (ESP, mobility), and
//     inside tunnels, ports are not looked for, and only an expression can match.
//   - Later fragments, which have no ports, of the service's protocol, if an address of theirs is one of the service's.
//   - ICMP errors (unreachable, source quench, redirect, time exceeded, parameter problem) and ICMPv6 errors
//     (unreachable, too big, time exceeded, parameter problem) that quote such a packet, behind up to quotedHops
//     extension headers in the quote.
//
// How long: the headers and the service's payload. Headers end after the TCP header with its options or the UDP header;
// of a later fragment, before its data; of a quote, after the quoted headers, as far as they are quoted. A packet that
// is neither (only an expression can match it) counts its first otherHeaders bytes as headers.
//
// The program computes the end of the headers itself instead of asking for the kernel's SKF_AD_PAY_OFFSET: it has the
// transport offset at hand, it is then exact for tags left in the data (raw sockets on egress) and for authentication
// headers, where the kernel's dissector stops short, and the process reaches the same answer without that dissector.
//
// Devices without a link header (tun, WireGuard, IP tunnels), told by their ARPHRD type, are read from their IP header;
// expressions that speak of one, or of vlan, inbound, outbound or ifindex, match nothing there.
//
// The package runs tcpdump and holds no goroutine, socket or file.
package filter

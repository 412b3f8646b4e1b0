package filter

import "net/netip"

// Full is the Payload of a service whose packets are kept whole.
const Full = -1

// PortRange is an inclusive range of ports, 1 to 65535.
type PortRange struct{ First, Last uint16 }

// Service is one kind of traffic to record: ports with optional addresses, or a tcpdump expression.
type Service struct {
	Name       string
	Protocol   string         // "tcp", "udp", or "" for both
	Ports      []PortRange    // of the service's side
	CIDRs      []netip.Prefix // of the service's side; none means any address
	Payload    int            // bytes kept after the headers, 0 to 65535, or Full
	Expression string         // a tcpdump expression; then Protocol, Ports and CIDRs are empty
}

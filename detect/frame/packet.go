package frame

import "net/netip"

// Endpoint is an address and a port. IPv4 addresses are IPv4-mapped (RFC 4291, section 2.5.5.2), so that an endpoint has no
// pointers and may be a part of a key.
type Endpoint struct {
	Addr [16]byte
	Port uint16
}

// AddrPort is the endpoint as the standard library has it, IPv4 addresses as such.
func (e Endpoint) AddrPort() netip.AddrPort { return netip.AddrPortFrom(e.IP(), e.Port) }

// IP is the endpoint's address, IPv4 addresses as such.
func (e Endpoint) IP() netip.Addr { return netip.AddrFrom16(e.Addr).Unmap() }

// String is the endpoint as people write it: 10.0.0.1:5432, [2001:db8::1]:5432.
func (e Endpoint) String() string { return e.AddrPort().String() }

// Protocols, as IP numbers them.
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
)

// Flags of a TCP segment (RFC 9293, section 3.1).
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

// Packet is what is known of one frame. It has no pointers; whoever reads frames fills one again and again.
type Packet struct {
	Time    int64  // nanoseconds since 1970
	Number  uint64 // of the frame in its file, from 1
	Vantage uint16 // where it was captured, as detect numbers interfaces
	Out     bool   // the capture says that it left the node
	In      bool   // the capture says that it came in

	Protocol uint8 // TCP, UDP, ICMP, ICMPv6; 0: nothing else of the packet is known
	IPv6     bool
	TTL      uint8  // hop limit
	IPID     uint16 // 0 for IPv6
	VLAN     uint16 // the outer tag's number, 0 without one
	Cut      bool   // the capture ends before the transport header does: Options are not known, perhaps not even the ports
	Fragment bool   // a fragment other than the first: no ports

	Src, Dst Endpoint
	Payload  uint32 // bytes behind the transport header, as the IP header says, or the frame's length where that says 0 (BIG TCP)

	// TCP
	Seq, Ack     uint32
	Flags        uint8
	Window       uint16 // as it stands there, not scaled
	Scaled       bool   // Scale is given; only with SYN
	Scale        uint8
	Stamped      bool // TSVal and TSEcr are given (RFC 7323)
	TSVal, TSEcr uint32
	SACKs        uint8 // blocks; SACK is the first
	SACK         [2]uint32

	// DNS over UDP, or TCP with a header in the same segment
	DNS      bool
	DNSID    uint16
	Response bool
	RCode    uint8

	// ICMP and ICMPv6
	Type, Code uint8
	Quoted     bool // Quote is given
	Quote      Quote
}

// Quote is the packet that an ICMP error is about, as far as it was quoted (RFC 792: 8 bytes of the transport header).
type Quote struct {
	Protocol uint8
	Src, Dst Endpoint
	Seq      uint32 // of TCP
}

// Has says whether all the flags are set.
func (p *Packet) Has(flags uint8) bool { return p.Flags&flags == flags }

// End is the sequence number behind the segment: SYN and FIN count as one each (RFC 9293, section 3.4).
func (p *Packet) End() uint32 {
	n := p.Seq + p.Payload
	if p.Flags&SYN != 0 {
		n++
	}
	if p.Flags&FIN != 0 {
		n++
	}
	return n
}

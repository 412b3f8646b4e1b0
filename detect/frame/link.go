package frame

import "encoding/binary"

// Link is what a frame begins with, as captures number it (https://www.tcpdump.org/linktypes.html).
type Link uint16

// Links that are read. Of any other, nothing is known of a packet.
const (
	Null       Link = 0   // BSD loopback: the family in the byte order of the machine that captured
	Ethernet   Link = 1   // with up to two VLAN tags
	rawBSD     Link = 12  // DLT_RAW, as some systems number it
	rawOpenBSD Link = 14  // and OpenBSD
	Raw        Link = 101 // IPv4 or IPv6
	Loop       Link = 108 // OpenBSD loopback: the family in network byte order
	Cooked     Link = 113 // LINUX_SLL
	rawIPv4    Link = 228
	rawIPv6    Link = 229
	Cooked2    Link = 276 // LINUX_SLL2, which also names the interface
)

// EtherTypes.
const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86DD
	etherVLAN = 0x8100 // 802.1Q
	etherQinQ = 0x88A8 // 802.1ad
	etherOld  = 0x9100 // QinQ, before there was a standard
)

const (
	etherHeader   = 14
	cookedHeader  = 16
	cooked2Header = 20
	familyHeader  = 4
	outgoing      = 4 // PACKET_OUTGOING (linux/if_packet.h)
)

var (
	be = binary.BigEndian
	le = binary.LittleEndian
)

// Known says whether frames of the link are read.
func (l Link) Known() bool {
	switch l {
	case Null, Ethernet, rawBSD, rawOpenBSD, Raw, Loop, Cooked, rawIPv4, rawIPv6, Cooked2:
		return true
	}
	return false
}

// InterfaceIndex is the kernel's number of the interface that a frame names, 0 if it names none: only those of Cooked2 do.
func InterfaceIndex(link Link, data []byte) uint32 {
	if link != Cooked2 || len(data) < cooked2Header {
		return 0
	}
	return be.Uint32(data[4:])
}

// Decode reads a frame of which data was captured and which was original bytes long. It sets everything but Time, Number,
// Vantage, In and Out, which are the capture's to say; only Cooked frames say themselves where they went, and set these two.
// It takes any bytes whatever, and allocates nothing.
func (p *Packet) Decode(link Link, data []byte, original int) {
	p.reset()
	p.direction(link, data)
	network, rest, ok := linkHeader(link, data, &p.VLAN)
	if !ok {
		return
	}
	length := max(original, len(data)) - (len(data) - len(rest)) // of the packet on the wire, with any trailer
	switch network {
	case etherIPv4:
		p.ipv4(rest, length)
	case etherIPv6:
		p.ipv6(rest, length)
	}
}

// reset forgets the packet before, but for what the capture says.
func (p *Packet) reset() {
	time, number, vantage, in, out := p.Time, p.Number, p.Vantage, p.In, p.Out
	*p = Packet{} // zeroed in place: a literal with the fields would be made elsewhere and copied
	p.Time, p.Number, p.Vantage, p.In, p.Out = time, number, vantage, in, out
}

// direction takes from Cooked frames where they went.
func (p *Packet) direction(link Link, data []byte) {
	switch {
	case link == Cooked && len(data) >= cookedHeader:
		p.Out = be.Uint16(data) == outgoing
	case link == Cooked2 && len(data) >= cooked2Header:
		p.Out = data[10] == outgoing
	default:
		return
	}
	p.In = !p.Out
}

// linkHeader returns the EtherType of a frame and what follows; not ok if the frame has none, or ends before.
func linkHeader(link Link, data []byte, vlan *uint16) (network uint16, rest []byte, ok bool) {
	switch {
	case link == Ethernet && len(data) >= etherHeader:
		return tags(be.Uint16(data[12:]), data[etherHeader:], vlan)
	case link == Cooked && len(data) >= cookedHeader:
		return tags(be.Uint16(data[14:]), data[cookedHeader:], vlan)
	case link == Cooked2 && len(data) >= cooked2Header:
		return tags(be.Uint16(data), data[cooked2Header:], vlan)
	case (link == Null || link == Loop) && len(data) >= familyHeader:
		return family(data), data[familyHeader:], true
	case (link == Raw || link == rawBSD || link == rawOpenBSD) && len(data) > 0:
		return version(data[0]), data, true
	case link == rawIPv4:
		return etherIPv4, data, true
	case link == rawIPv6:
		return etherIPv6, data, true
	}
	return 0, nil, false
}

// tags takes off up to two VLAN tags. The outer one's number is what says where a frame belongs.
func tags(network uint16, rest []byte, vlan *uint16) (uint16, []byte, bool) {
	for n := 0; n < 2 && (network == etherVLAN || network == etherQinQ || network == etherOld); n++ {
		if len(rest) < 4 {
			return 0, nil, false
		}
		if n == 0 {
			*vlan = be.Uint16(rest) & 0xFFF
		}
		network, rest = be.Uint16(rest[2:]), rest[4:]
	}
	return network, rest, true
}

// family is the EtherType of a loopback frame. Address families are small numbers, which tells the byte order. IPv6 has one
// on each system: Linux 10, NetBSD and OpenBSD 24, FreeBSD 28, Darwin 30.
func family(data []byte) uint16 {
	n := be.Uint32(data)
	if n > 0xFFFF {
		n = le.Uint32(data)
	}
	switch n {
	case 2:
		return etherIPv4
	case 10, 24, 28, 30:
		return etherIPv6
	}
	return 0
}

// version is the EtherType of a packet without a link header.
func version(first byte) uint16 {
	switch first >> 4 {
	case 4:
		return etherIPv4
	case 6:
		return etherIPv6
	}
	return 0
}

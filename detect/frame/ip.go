package frame

// Extension headers (RFC 8200, section 4; RFC 4302; RFC 6275). All but the fragment header may be there for IPv4 too, of
// which only the authentication header is ever seen.
const (
	hopByHop       = 0
	routing        = 43
	fragment       = 44
	authentication = 51
	destination    = 60
	mobility       = 135
)

const (
	ipv4Header   = 20
	ipv6Header   = 40
	jumboPayload = 0xC2 // hop-by-hop option (RFC 2675)
	maxHeaders   = 32   // extension headers that are followed: more are an attack
)

// ipv4 reads a packet of which b was captured, and length bytes were on the wire.
func (p *Packet) ipv4(b []byte, length int) {
	if len(b) < ipv4Header || b[0]>>4 != 4 {
		return
	}
	header, total := int(b[0]&15)*4, int(be.Uint16(b[2:]))
	if total == 0 { // a segment that was handed over whole, longer than the field can say (BIG TCP)
		total = length
	}
	if header < ipv4Header || header > total {
		return
	}
	next := b[9]
	later := be.Uint16(b[6:])&0x1FFF != 0
	ends(&p.Src, &p.Dst, b[12:20])
	p.TTL, p.IPID = b[8], be.Uint16(b[4:])
	p.behind(next, b, header, total, later)
}

// ipv6 reads a packet of which b was captured, and length bytes were on the wire.
func (p *Packet) ipv6(b []byte, length int) {
	if len(b) < ipv6Header || b[0]>>4 != 6 {
		return
	}
	total := ipv6Header + int(be.Uint16(b[4:]))
	if total == ipv6Header { // a jumbogram, with the option or, from the kernel's own segmentation, without
		total = jumbo(b, length)
	}
	p.Src.Addr, p.Dst.Addr = [16]byte(b[8:24]), [16]byte(b[24:40])
	p.IPv6, p.TTL = true, b[7]
	h, ok := headers(b[6], b, ipv6Header)
	if !ok || h.at > total {
		p.unknown()
		return
	}
	p.behind(h.next, b, h.at, total, h.later)
}

// ends sets the addresses of IPv4, source and destination in a row, in endpoints that are zero. Their halves are written as
// whole words, for that is how they are read.
func ends(src, dst *Endpoint, b []byte) {
	const mapped = 0xFFFF << 16 // ::ffff:0:0/96 as it lies in memory
	le.PutUint64(src.Addr[8:], uint64(le.Uint32(b))<<32|mapped)
	le.PutUint64(dst.Addr[8:], uint64(le.Uint32(b[4:]))<<32|mapped)
}

// unknown forgets all that was read.
func (p *Packet) unknown() {
	vlan := p.VLAN
	p.reset()
	p.VLAN = vlan
}

// jumbo is the length of an IPv6 packet whose header does not say it.
func jumbo(b []byte, length int) int {
	const option = ipv6Header + 2
	if b[6] == hopByHop && len(b) >= option+6 && b[option] == jumboPayload && b[option+1] == 4 {
		if n := be.Uint32(b[option+2:]); n <= 1<<30 {
			return ipv6Header + int(n)
		}
	}
	return length
}

// chain is where a chain of extension headers ends.
type chain struct {
	next  uint8 // protocol of what follows
	at    int   // where it begins
	later bool  // it is a fragment other than the first, so what follows is no header
}

// headers follows the extension headers of which the first begins at at; not ok if they are not there in full, or too many.
func headers(next uint8, b []byte, at int) (c chain, ok bool) {
	for range maxHeaders {
		size := 0
		switch next {
		case hopByHop, routing, destination, mobility:
			if len(b) < at+2 {
				return c, false
			}
			size = 8 + int(b[at+1])*8
		case authentication:
			if len(b) < at+2 {
				return c, false
			}
			size = 8 + int(b[at+1])*4
		case fragment:
			if len(b) < at+4 {
				return c, false
			}
			size = 8
			if be.Uint16(b[at+2:])&^7 != 0 {
				return chain{b[at], at + size, true}, true
			}
		default:
			return chain{next, at, false}, true
		}
		next, at = b[at], at+size
	}
	return c, false
}

// behind reads what follows the headers of IP: b is the packet as captured, total its length as IP says.
func (p *Packet) behind(next uint8, b []byte, at, total int, later bool) {
	if next == authentication && !p.IPv6 && !later {
		h, ok := headers(next, b, at)
		if !ok || h.at > total {
			p.unknown()
			return
		}
		next, at = h.next, h.at
	}
	if next != TCP && next != UDP && next != ICMP && next != ICMPv6 {
		p.unknown()
		return
	}
	p.Protocol = next
	length := total - at
	if later {
		p.Fragment, p.Payload = true, uint32(length)
		return
	}
	rest := b[min(at, len(b)):min(total, len(b))] // no trailer, no padding
	switch next {
	case TCP:
		p.tcp(rest, length)
	case UDP:
		p.udp(rest, length)
	default:
		p.icmp(rest, length)
	}
}

package frame

const icmpHeader = 8 // type, code, checksum, and four bytes of the type's own

// icmp reads a message of ICMP or ICMPv6 of length bytes of which b was captured.
func (p *Packet) icmp(b []byte, length int) {
	p.Payload = uint32(max(length-icmpHeader, 0))
	p.Cut = len(b) < icmpHeader
	if len(b) < 2 {
		return
	}
	p.Type, p.Code = b[0], b[1]
	if !p.Cut && quotes(p.Protocol, p.Type) {
		p.Quoted = p.Quote.read(b[icmpHeader:])
	}
}

// quotes says whether messages of a type quote a packet. ICMP: unreachable, source quench, redirect, time exceeded,
// parameter problem (RFC 792). ICMPv6: unreachable, too big, time exceeded, parameter problem (RFC 4443).
func quotes(protocol, kind uint8) bool {
	if protocol == ICMPv6 {
		return kind >= 1 && kind <= 4
	}
	return kind == 3 || kind == 4 || kind == 5 || kind == 11 || kind == 12
}

// read reads a quoted packet; false if not even its addresses were captured.
func (q *Quote) read(b []byte) bool {
	switch {
	case len(b) >= ipv4Header && b[0]>>4 == 4 && b[0]&15 >= 5:
		ends(&q.Src, &q.Dst, b[12:20])
		q.Protocol = b[9]
		if be.Uint16(b[6:])&0x1FFF == 0 {
			q.ports(b[min(int(b[0]&15)*4, len(b)):])
		}
		return true
	case len(b) >= ipv6Header && b[0]>>4 == 6:
		q.Src.Addr, q.Dst.Addr = [16]byte(b[8:24]), [16]byte(b[24:40])
		if h, ok := headers(b[6], b, ipv6Header); ok {
			q.Protocol = h.next
			if !h.later {
				q.ports(b[min(h.at, len(b)):])
			}
		}
		return true
	}
	return false
}

// ports reads the beginning of the quoted transport header.
func (q *Quote) ports(b []byte) {
	if q.Protocol != TCP && q.Protocol != UDP || len(b) < 4 {
		return
	}
	q.Src.Port, q.Dst.Port = be.Uint16(b), be.Uint16(b[2:])
	if q.Protocol == TCP && len(b) >= 8 {
		q.Seq = be.Uint32(b[4:])
	}
}

package frame

const (
	tcpHeader = 20
	udpHeader = 8
	dnsHeader = 12
	dnsPort   = 53
)

// TCP options (RFC 9293, section 3.1; RFC 7323; RFC 2018).
const (
	optEnd    = 0
	optNop    = 1
	optScale  = 3
	optSACK   = 5
	optStamps = 8

	maxScale = 14 // RFC 7323, section 2.3: more counts as this
)

// tcp reads a segment of length bytes of which b was captured.
func (p *Packet) tcp(b []byte, length int) {
	if len(b) < tcpHeader {
		p.tcpCut(b, length)
		return
	}
	p.Src.Port, p.Dst.Port = be.Uint16(b), be.Uint16(b[2:])
	p.Seq, p.Ack = be.Uint32(b[4:]), be.Uint32(b[8:])
	p.Flags, p.Window = b[13]&0x3F, be.Uint16(b[14:])
	header := int(b[12]>>4) * 4
	if header < tcpHeader {
		header = tcpHeader // not valid: as if it had no options
	}
	p.Payload = uint32(max(length-header, 0))
	if header > len(b) {
		p.Cut = true
		return
	}
	if header > tcpHeader {
		p.options(b[tcpHeader:header])
	}
	if p.Dst.Port == dnsPort || p.Src.Port == dnsPort {
		p.dnsOverTCP(b[header:])
	}
}

// tcpCut reads what was captured of a header that is not all there.
func (p *Packet) tcpCut(b []byte, length int) {
	p.Cut = true
	if len(b) >= 4 {
		p.Src.Port, p.Dst.Port = be.Uint16(b), be.Uint16(b[2:])
	}
	if len(b) >= 8 {
		p.Seq = be.Uint32(b[4:])
	}
	if len(b) >= 12 {
		p.Ack = be.Uint32(b[8:])
	}
	if len(b) >= 14 {
		p.Flags = b[13] & 0x3F
		p.Payload = uint32(max(length-max(int(b[12]>>4)*4, tcpHeader), 0))
	}
	if len(b) >= 16 {
		p.Window = be.Uint16(b[14:])
	}
}

// options reads TCP's options up to the end or the first that is malformed.
func (p *Packet) options(b []byte) {
	if len(b) == 12 && be.Uint32(b) == optNop<<24|optNop<<16|optStamps<<8|10 { // what most segments have
		p.Stamped, p.TSVal, p.TSEcr = true, be.Uint32(b[4:]), be.Uint32(b[8:])
		return
	}
	for len(b) > 0 && b[0] != optEnd {
		if b[0] == optNop {
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return
		}
		p.option(b[0], b[2:b[1]])
		b = b[b[1]:]
	}
}

func (p *Packet) option(kind byte, value []byte) {
	switch {
	case kind == optScale && len(value) == 1 && p.Flags&SYN != 0:
		p.Scaled, p.Scale = true, min(value[0], maxScale)
	case kind == optStamps && len(value) == 8:
		p.Stamped, p.TSVal, p.TSEcr = true, be.Uint32(value), be.Uint32(value[4:])
	case kind == optSACK && len(value) >= 8 && len(value)%8 == 0:
		p.SACKs = uint8(len(value) / 8)
		p.SACK = [2]uint32{be.Uint32(value), be.Uint32(value[4:])}
	}
}

// udp reads a datagram of length bytes of which b was captured.
func (p *Packet) udp(b []byte, length int) {
	p.Payload = uint32(max(length-udpHeader, 0))
	p.Cut = len(b) < udpHeader
	if len(b) >= 4 {
		p.Src.Port, p.Dst.Port = be.Uint16(b), be.Uint16(b[2:])
	}
	if !p.Cut && (p.Src.Port == dnsPort || p.Dst.Port == dnsPort) {
		p.dns(b[udpHeader:])
	}
}

// dnsOverTCP reads a message that is the whole segment: a length and as many bytes (RFC 1035, section 4.2.2). Anything else
// may be the middle of one.
func (p *Packet) dnsOverTCP(b []byte) {
	if len(b) >= 2+dnsHeader && uint32(be.Uint16(b))+2 == p.Payload {
		p.dns(b[2:])
	}
}

// dns reads the header of a message (RFC 1035, section 4.1.1).
func (p *Packet) dns(b []byte) {
	if len(b) < dnsHeader {
		return
	}
	p.DNS, p.DNSID = true, be.Uint16(b)
	p.Response, p.RCode = b[2]&0x80 != 0, b[3]&0x0F
}

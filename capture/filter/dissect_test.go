package filter

import (
	"encoding/binary"
	"net/netip"
)

// facts is what an independent reading of a packet says about it.
type facts struct {
	protocol byte
	src, dst netip.AddrPort
	later    bool // there are no ports
	end      int  // of the headers, or of what there is of them
}

// dissect reads a frame without looking at how the program does it. It says no if the frame is not of TCP or UDP nor
// quotes such a packet.
func dissect(frame []byte) (facts, bool) {
	kind, rest := binary.BigEndian.Uint16(frame[12:]), frame[14:]
	for tags := 0; tags < 2 && (kind == 0x8100 || kind == 0x88a8 || kind == 0x9100); tags++ {
		if len(rest) < 4 {
			return facts{}, false
		}
		kind, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	return dissectIP(kind, rest, len(frame), false)
}

// dissectIP reads an IP packet that ends at total bytes from the frame's start.
func dissectIP(kind uint16, p []byte, total int, quoted bool) (facts, bool) {
	switch {
	case kind == typeIPv4 && len(p) >= 20:
		return dissect4(p, total, quoted)
	case kind == typeIPv6 && len(p) >= 40:
		return dissect6(p, total, quoted)
	}
	return facts{}, false
}

func dissect4(p []byte, total int, quoted bool) (facts, bool) {
	src, _ := netip.AddrFromSlice(p[12:16])
	dst, _ := netip.AddrFromSlice(p[16:20])
	later := binary.BigEndian.Uint16(p[6:])%0x2000 != 0
	header := int(p[0]%16) * 4
	if p[9] == protoICMP {
		if quoted || later || len(p) < header+8 {
			return facts{}, false
		}
		switch m := p[header:]; m[0] {
		case 3, 4, 5, 11, 12:
			return dissectIP(typeIPv4, m[8:], total, true)
		}
		return facts{}, false
	}
	f := facts{protocol: p[9], later: later, src: netip.AddrPortFrom(src, 0), dst: netip.AddrPortFrom(dst, 0)}
	return f.transport(p[min(header, len(p)):], total-len(p)+header, total)
}

func dissect6(p []byte, total int, quoted bool) (facts, bool) {
	src, _ := netip.AddrFromSlice(p[8:24])
	dst, _ := netip.AddrFromSlice(p[24:40])
	f := facts{protocol: p[6], src: netip.AddrPortFrom(src, 0), dst: netip.AddrPortFrom(dst, 0)}
	hops := maxHops
	if quoted {
		hops = quotedHops
	}
	for rest := p[40:]; ; hops-- {
		var size int
		switch f.protocol {
		case protoTCP, protoUDP:
			return f.transport(rest, total-len(rest), total)
		case protoICMPv6:
			if quoted || len(rest) < 8 || rest[0] < 1 || rest[0] > 4 {
				return facts{}, false
			}
			return dissectIP(typeIPv6, rest[8:], total, true)
		case extFrag:
			size = 8
		case extAuth, extHop, extDst, extRoute:
		default:
			return facts{}, false
		}
		if hops == 0 || len(rest) < 4 {
			return facts{}, false
		}
		switch {
		case f.protocol == extAuth:
			size = (int(rest[1]) + 2) * 4
		case f.protocol != extFrag:
			size = (int(rest[1]) + 1) * 8
		case binary.BigEndian.Uint16(rest[2:])/8 != 0:
			f.later, f.protocol = true, rest[0]
			return f.transport(nil, total-len(rest)+8, total)
		}
		if len(rest) < size {
			return facts{}, false
		}
		f.protocol, rest = rest[0], rest[size:]
	}
}

// transport completes the facts with the header that begins p, at offset at.
func (f facts) transport(p []byte, at, total int) (facts, bool) {
	if f.protocol != protoTCP && f.protocol != protoUDP {
		return f, false
	}
	f.end = at
	if f.later {
		return f, true
	}
	if len(p) < 4 {
		return f, false
	}
	f.src = netip.AddrPortFrom(f.src.Addr(), binary.BigEndian.Uint16(p))
	f.dst = netip.AddrPortFrom(f.dst.Addr(), binary.BigEndian.Uint16(p[2:]))
	size := 8
	if f.protocol == protoTCP {
		size = 20
		if len(p) > 12 {
			size = max(size, int(p[12]/16)*4)
		}
	}
	f.end = min(at+size, total)
	return f, true
}

// of reports whether the packet belongs to a service of ports.
func (f facts) of(s Service) bool {
	if !s.has(f.protocol) {
		return false
	}
	side := func(e netip.AddrPort) bool {
		port := len(s.Ports) == 0 || f.later
		for _, r := range s.Ports {
			port = port || r.First <= e.Port() && e.Port() <= r.Last
		}
		addr := len(s.CIDRs) == 0
		for _, p := range s.CIDRs {
			addr = addr || p.Contains(e.Addr())
		}
		return port && addr
	}
	return side(f.dst) || side(f.src)
}

// kept is how many of size bytes a service with this payload keeps of a packet, whose facts are known or not.
func (f facts) kept(known bool, payload, size int) int {
	switch {
	case payload == Full:
		return min(size, whole)
	case !known:
		return min(size, otherHeaders+payload)
	}
	return min(size, f.end+payload)
}

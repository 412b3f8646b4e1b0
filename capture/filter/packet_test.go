package filter

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
)

// extension is an IPv6 extension header: its type and its size in bytes.
type extension struct {
	kind byte
	size int
}

const (
	extHop, extDst, extRoute, extFrag, extAuth = 0, 60, 43, 44, 51
	extMobility                                = 135
)

func repeat(n int, e extension) []extension {
	var all []extension
	for range n {
		all = append(all, e)
	}
	return all
}

// shapes are the chains of extension headers that are generated, and that references spell out.
var shapes = [][]extension{
	{},
	{{extHop, 8}},
	{{extHop, 24}},
	{{extDst, 16}},
	{{extRoute, 24}},
	{{extAuth, 24}},
	{{extAuth, 12}},
	{{extFrag, 8}},
	{{extHop, 8}, {extFrag, 8}},
	{{extFrag, 8}, {extDst, 8}},
	{{extHop, 8}, {extRoute, 8}, {extDst, 16}},
	{{extHop, 8}, {extDst, 8}, {extFrag, 8}, {extAuth, 24}},
	repeat(7, extension{extDst, 8}),
	repeat(maxHops, extension{extDst, 8}),
}

// quotingShapes are those in front of an ICMPv6 error: all that are no longer than eight bytes.
var quotingShapes = [][]extension{{}, {{extHop, 8}}, {{extFrag, 8}}}

// quotedShapes are the same inside a quote.
var quotedShapes = [][]extension{
	{},
	{{extHop, 8}},
	{{extFrag, 8}},
	{{extDst, 16}, {extRoute, 8}, {extAuth, 24}},
}

// foreignShapes are chains behind which no ports are looked for.
var foreignShapes = [][]extension{
	{{extMobility, 8}},
	repeat(maxHops+1, extension{extDst, 8}),
	{{extHop, 8}, {extMobility, 16}},
}

// generator makes packets that look like those of services, or nearly.
type generator struct {
	*rand.Rand
	services    []Service
	connections []Connection // that some packets belong to, or nearly
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func pick[T any](g *generator, all ...T) T { return all[g.IntN(len(all))] }

// endpoint is an address and a port.
type endpoint struct {
	addr netip.Addr
	port uint16
}

// near returns an endpoint of the service, now and then just outside of it.
func (g *generator) near(s Service, v6 bool) endpoint {
	e := endpoint{addr: g.address(netip.Prefix{}, v6), port: uint16(g.IntN(65536))}
	if len(s.Ports) > 0 {
		r := pick(g, s.Ports...)
		e.port = r.First + uint16(g.IntN(int(r.Last)-int(r.First)+1))
		if g.chance(10) {
			e.port = pick(g, r.First-1, r.Last+1)
		}
	}
	if len(s.CIDRs) > 0 {
		if p := pick(g, s.CIDRs...); p.Addr().Is6() == v6 && g.chance(85) {
			e.addr = g.address(p, v6)
		}
	}
	return e
}

// address returns one in p, at its first and last bit now and then; any if p is not valid.
func (g *generator) address(p netip.Prefix, v6 bool) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], g.Uint64())
	binary.BigEndian.PutUint64(b[8:], g.Uint64())
	n := 4
	if v6 {
		n = 16
	}
	if p.IsValid() {
		prefix := p.Addr().AsSlice()
		for i := range p.Bits() {
			mask := byte(0x80 >> (i % 8))
			b[i/8] = b[i/8]&^mask | prefix[i/8]&mask
		}
		if last := p.Bits() - 1; last >= 0 && g.chance(10) { // differs in the last bit that counts
			b[last/8] ^= 0x80 >> (last % 8)
		}
	}
	a, _ := netip.AddrFromSlice(b[:n])
	return a
}

// frame returns an Ethernet frame whose source address is its number.
func (g *generator) frame(number int) []byte {
	f := []byte{0x02, 0, 0, 0, 0, 0xff, 0x02, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(f[8:], uint32(number))
	for range pick(g, 0, 0, 0, 1, 1, 2) {
		f = binary.BigEndian.AppendUint16(f, pick[uint16](g, 0x8100, 0x8100, 0x88a8, 0x9100))
		f = binary.BigEndian.AppendUint16(f, uint16(g.IntN(4096))|uint16(g.IntN(8))<<13)
	}
	s := pick(g, g.services...)
	v6 := g.chance(50)
	switch {
	case g.chance(4):
		f = binary.BigEndian.AppendUint16(f, pick[uint16](g, 0x0806, 0x88cc, 0x8847))
		f = append(f, g.bytes(46)...)
	case v6:
		f = append(binary.BigEndian.AppendUint16(f, typeIPv6), g.ipv6(s, true)...)
	default:
		f = append(binary.BigEndian.AppendUint16(f, typeIPv4), g.ipv4(s, true)...)
	}
	if g.chance(8) { // cut on its way
		f = f[:14+g.IntN(len(f)-13)]
	}
	return f[:min(len(f), 9000)]
}

func (g *generator) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

// ends returns both ends of a packet of a service.
func (g *generator) ends(s Service, v6 bool) (src, dst endpoint) {
	if len(g.connections) > 0 && g.chance(20) {
		if c := pick(g, g.connections...); c.A.Addr().Is6() == v6 {
			return g.beside(c)
		}
	}
	client, server := endpoint{g.address(netip.Prefix{}, v6), uint16(g.IntN(65536))}, g.near(s, v6)
	if g.chance(50) {
		return server, client
	}
	return client, server
}

// beside returns the ends of a connection in either order, half the time with one bit changed somewhere.
func (g *generator) beside(c Connection) (src, dst endpoint) {
	src, dst = endpoint{c.A.Addr(), c.A.Port()}, endpoint{c.B.Addr(), c.B.Port()}
	if g.chance(50) {
		src, dst = dst, src
	}
	flip := func(a netip.Addr) netip.Addr {
		b := a.AsSlice()
		b[g.IntN(len(b))] ^= 1 << g.IntN(8)
		a, _ = netip.AddrFromSlice(b)
		return a
	}
	switch g.IntN(8) {
	case 0:
		src.port ^= 1 << g.IntN(16)
	case 1:
		dst.port ^= 1 << g.IntN(16)
	case 2:
		src.addr = flip(src.addr)
	case 3:
		dst.addr = flip(dst.addr)
	}
	return src, dst
}

// ipv4 returns an IPv4 packet, which may quote another if quotes is set.
func (g *generator) ipv4(s Service, quotes bool) []byte {
	src, dst := g.ends(s, false)
	h := g.bytes(20 + 4*pick(g, 0, 0, 0, 1, 2, 10))
	h[0] = 0x40 | byte(len(h)/4)
	h[6] &= 0xe0
	h[7] = 0
	later := g.chance(12)
	if later {
		binary.BigEndian.PutUint16(h[6:], uint16(h[6])<<8|g.fragmentOffset())
	}
	copy(h[12:], src.addr.AsSlice())
	copy(h[16:], dst.addr.AsSlice())
	h[9] = g.protocol(s)
	if quotes && g.chance(15) {
		h[9] = protoICMP
		return append(h, g.icmp(pick[byte](g, 0, 3, 3, 4, 5, 8, 11, 12, 13), s, false)...)
	}
	if later {
		return append(h, g.bytes(g.IntN(200))...)
	}
	return append(h, g.transport(h[9], src.port, dst.port)...)
}

// fragmentOffset returns one in units of eight bytes, often with a single bit, so that each bit counts.
func (g *generator) fragmentOffset() uint16 { return pick(g, 1<<g.IntN(13), uint16(1+g.IntN(0x1fff))) }

// protocol returns the service's, or any.
func (g *generator) protocol(s Service) byte {
	switch {
	case g.chance(8):
		return pick[byte](g, 1, 47, 50, 58, 132)
	case s.Protocol == "" || g.chance(10):
		return pick[byte](g, protoTCP, protoUDP)
	case s.Protocol == "tcp":
		return protoTCP
	}
	return protoUDP
}

// icmp returns an ICMP or ICMPv6 message of a type with a quote, whole or cut.
func (g *generator) icmp(kind byte, s Service, v6 bool) []byte {
	m := append([]byte{kind}, g.bytes(7)...)
	quote := g.ipv4
	if v6 {
		quote = g.ipv6
	}
	q := quote(s, false)
	if g.chance(40) {
		q = q[:min(len(q), pick(g, 28, 48, 20+g.IntN(100)))]
	}
	return append(m, q...)
}

// transport returns a header of a protocol with data behind it.
func (g *generator) transport(protocol byte, src, dst uint16) []byte {
	h := g.bytes(12)
	binary.BigEndian.PutUint16(h, src)
	binary.BigEndian.PutUint16(h[2:], dst)
	data := g.bytes(pick(g, 0, 1, 6, 30, 200, g.IntN(1200)))
	switch protocol {
	case protoTCP:
		words := pick(g, 5, 5, 8, 15, 6+g.IntN(9))
		h = append(h, g.bytes(4*words-12)...)
		h[12] = byte(words)<<4 | h[12]&0xf
		if g.chance(3) { // a length that no header can have
			h[12] = byte(g.IntN(5))<<4 | h[12]&0xf
		}
	case protoUDP:
		h = h[:8]
	}
	return append(h, data...)
}

// ipv6 returns an IPv6 packet, which may quote another if quotes is set.
func (g *generator) ipv6(s Service, quotes bool) []byte {
	src, dst := g.ends(s, true)
	h := g.bytes(40)
	h[0] = 0x60
	copy(h[8:], src.addr.AsSlice())
	copy(h[24:], dst.addr.AsSlice())
	chain := pick(g, shapes...)
	if !quotes {
		chain = pick(g, quotedShapes...)
	}
	if g.chance(6) {
		chain = pick(g, foreignShapes...)
	}
	at := 6
	for _, e := range chain {
		h[at] = e.kind
		at = len(h)
		h = append(h, g.bytes(e.size)...)
		switch e.kind {
		case extAuth:
			h[at+1] = byte(e.size/4 - 2)
		case extFrag:
			h[at+2], h[at+3] = 0, h[at+3]&7 // the first one
			if g.chance(40) {
				binary.BigEndian.PutUint16(h[at+2:], g.fragmentOffset()<<3|1)
				h[at] = g.protocol(s)
				return append(h, g.bytes(g.IntN(200))...)
			}
		default:
			h[at+1] = byte(e.size/8 - 1)
		}
	}
	h[at] = g.protocol(s)
	if quotes && len(h) <= 48 && g.chance(25) {
		h[at] = protoICMPv6
		return append(h, g.icmp(pick[byte](g, 0, 1, 1, 2, 3, 4, 5, 128, 135, 137), s, true)...)
	}
	return append(h, g.transport(h[at], src.port, dst.port)...)
}

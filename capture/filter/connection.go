package filter

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"
)

// Connection is one TCP connection by its two ends, in either order.
type Connection struct{ A, B netip.AddrPort }

// String is both ends for people.
func (c Connection) String() string { return fmt.Sprintf("%v to %v", c.A, c.B) }

// plain returns the connection with IPv4 addresses as such and without zones, as packets have them.
func (c Connection) plain() Connection {
	for _, end := range []*netip.AddrPort{&c.A, &c.B} {
		*end = netip.AddrPortFrom(end.Addr().Unmap().WithZone(""), end.Port())
	}
	return c
}

// valid says whether packets can have these ends.
func (c Connection) valid() bool {
	return c.A.IsValid() && c.B.IsValid() && c.A.Addr().Is4() == c.B.Addr().Is4()
}

// LeaveOut returns a compiler for the same services whose programs, the coarse one too, keep no segment of these
// connections, in both directions, nor the ICMP errors that quote one. Later fragments cannot be told from others' and
// are kept. It fails if the connections leave too little scratch memory for an expression.
func (c *Compiler) LeaveOut(connections []Connection) (*Compiler, error) {
	var plain []Connection
	for _, one := range connections {
		one = one.plain()
		if !one.valid() {
			return nil, fmt.Errorf("%v is no connection: both ends need an address of the same IP version and a port", one)
		}
		plain = append(plain, one)
	}
	next := &Compiler{services: c.services, compiled: c.compiled, connections: plain}
	return next, next.prepare()
}

// MayKeep says whether the programs of the services alone could keep a segment of the connection. For an expression
// that is not known without the packet, so it says yes.
func (c *Compiler) MayKeep(one Connection) (bool, error) {
	one = one.plain()
	if !one.valid() || slices.ContainsFunc(c.services, func(s Service) bool { return s.Expression != "" }) {
		return true, nil
	}
	exact := c.exact
	if len(c.connections) > 0 {
		exact = func() (*Program, error) { return build(c.services, c.compiled, nil) }
	}
	p, err := exact()
	if err != nil {
		return true, err
	}
	return p.Run(bareSegment(one.A, one.B), Meta{}) > 0 || p.Run(bareSegment(one.B, one.A), Meta{}) > 0, nil
}

// bareSegment is an Ethernet frame with a TCP segment without payload.
func bareSegment(src, dst netip.AddrPort) []byte {
	f := make([]byte, 14, 14+40+20)
	tcp := make([]byte, 20)
	binary.BigEndian.PutUint16(tcp, src.Port())
	binary.BigEndian.PutUint16(tcp[2:], dst.Port())
	tcp[12] = 5 << 4
	if src.Addr().Is4() {
		binary.BigEndian.PutUint16(f[12:], typeIPv4)
		f = append(f, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, protoTCP, 0, 0)
	} else {
		binary.BigEndian.PutUint16(f[12:], typeIPv6)
		f = append(f, 0x60, 0, 0, 0, 0, 20, protoTCP, 64)
	}
	return slices.Concat(f, src.Addr().AsSlice(), dst.Addr().AsSlice(), tcp)
}

// leaveOut drops what parse has found to be a segment of one of the connections, and goes on with the rest.
func (b *builder) leaveOut() {
	if len(b.connections) == 0 {
		return
	}
	b.explain("own connections")
	pass, four, six := b.label(), b.label(), b.label()
	b.add(bpf.LoadScratch{Dst: bpf.RegA, N: slotKind})
	if b.addr4 {
		b.branch(jeq, protoTCP, four, next)
	}
	if b.addr6 {
		b.branch(jeq, protoTCP|kindV6, six, next)
	}
	b.goTo(pass)
	for _, v6 := range []bool{false, true} {
		start, loaded := four, b.addr4
		if v6 {
			start, loaded = six, b.addr6
		}
		if !loaded { // then nothing jumps there
			continue
		}
		b.place(start)
		b.add(bpf.LoadScratch{Dst: bpf.RegA, N: slotSport})
		for _, c := range b.connections {
			if c.A.Addr().Is6() == v6 {
				b.dropFlow(c.A, c.B)
				b.dropFlow(c.B, c.A)
			}
		}
		b.goTo(pass)
	}
	b.place(pass)
}

// dropFlow drops a segment from src to dst. It wants the source port in A, and leaves it there if it does not.
func (b *builder) dropFlow(src, dst netip.AddrPort) {
	reload, end := b.label(), b.label()
	b.branch(jeq, uint32(src.Port()), next, end)
	b.add(bpf.LoadScratch{Dst: bpf.RegA, N: slotDport})
	b.branch(jeq, uint32(dst.Port()), next, reload)
	b.sameAddress(slotSrc, src.Addr(), reload)
	b.sameAddress(slotDst, dst.Addr(), reload)
	b.goTo(b.drop)
	b.place(reload)
	b.add(bpf.LoadScratch{Dst: bpf.RegA, N: slotSport})
	b.place(end)
}

// sameAddress goes to miss unless the address in the slots from first is addr.
func (b *builder) sameAddress(first int, addr netip.Addr, miss label) {
	for i, p := 0, netip.PrefixFrom(addr, addr.BitLen()); i < addr.BitLen()/32; i++ {
		b.add(bpf.LoadScratch{Dst: bpf.RegA, N: first + i})
		b.branch(jeq, word(p, i), next, miss)
	}
}

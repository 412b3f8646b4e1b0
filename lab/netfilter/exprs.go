package netfilter

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// layout is where a family has its addresses: bytes from the start of the network header.
type layout struct {
	family      uint32
	source      uint32
	destination uint32
	length      uint32 // of an address
	prohibited  uint8  // code of the unreachable error that says so: RFC 1812, RFC 4443
}

var (
	ipv4       = layout{family: unix.NFPROTO_IPV4, source: 12, destination: 16, length: 4, prohibited: 13}
	ipv6Layout = layout{family: unix.NFPROTO_IPV6, source: 8, destination: 24, length: 16, prohibited: 1}
)

// register is the one that everything is loaded into.
const register = 1

func (b *builder) nat(n NAT) []expr.Any {
	exprs := append(link(expr.MetaKeyOIFNAME, n.Out), b.prefix(b.layout.source, n.From)...)
	random, fully := n.Ports == RandomPorts, n.Ports == FullyRandom
	if !n.To.IsValid() {
		return append(exprs, &expr.Masq{Random: random, FullyRandom: fully})
	}
	return append(exprs, &expr.Immediate{Register: register, Data: n.To.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: b.layout.family, RegAddrMin: register, Random: random, FullyRandom: fully})
}

func (b *builder) match(m Match) []expr.Any {
	exprs := append(link(expr.MetaKeyIIFNAME, m.In), link(expr.MetaKeyOIFNAME, m.Out)...)
	exprs = append(exprs, b.prefix(b.layout.source, m.Source)...)
	exprs = append(exprs, b.prefix(b.layout.destination, m.Destination)...)
	protocol := m.Protocol
	if m.Opening || m.Do == Reset {
		protocol = unix.IPPROTO_TCP
	}
	if protocol != 0 {
		exprs = append(exprs, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}, equal([]byte{protocol}))
	}
	exprs = append(exprs, port(0, m.SourcePort)...)
	exprs = append(exprs, port(2, m.Port)...)
	if m.Opening {
		const flags, syn, ack = 13, 0x02, 0x10 // offset in the TCP header, and bits
		exprs = append(exprs, load(expr.PayloadBaseTransportHeader, flags, 1), mask([]byte{syn | ack}), equal([]byte{syn}))
	}
	if m.State != AnyState {
		exprs = append(exprs, &expr.Ct{Key: expr.CtKeySTATE, Register: register}, mask(native(uint32(m.State))), notEqual(native(0)))
	}
	if m.Chance > 0 && m.Chance < 1 {
		const steps = 1 << 16
		exprs = append(exprs, &expr.Numgen{Register: register, Modulus: steps, Type: unix.NFT_NG_RANDOM},
			&expr.Byteorder{SourceRegister: register, DestRegister: register, Op: expr.ByteorderHton, Len: 4, Size: 4},
			&expr.Cmp{Op: expr.CmpOpLt, Register: register, Data: binary.BigEndian.AppendUint32(nil, uint32(m.Chance*steps))})
	}
	return append(exprs, b.verdict(m.Do))
}

func (b *builder) verdict(v Verdict) expr.Any {
	switch v {
	case Drop:
		return &expr.Verdict{Kind: expr.VerdictDrop}
	case Prohibit:
		return &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: b.layout.prohibited} // ICMPX is for tables of both families
	case Reset:
		return &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}
	}
	return &expr.Verdict{Kind: expr.VerdictAccept}
}

func link(key expr.MetaKey, name string) []expr.Any {
	if name == "" {
		return nil
	}
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{&expr.Meta{Key: key, Register: register}, equal(padded)}
}

func (b *builder) prefix(offset uint32, p netip.Prefix) []expr.Any {
	if !p.IsValid() || p.Bits() == 0 {
		return nil
	}
	bits := net.CIDRMask(p.Bits(), p.Addr().BitLen())
	return []expr.Any{load(expr.PayloadBaseNetworkHeader, offset, b.layout.length), mask(bits), equal(p.Masked().Addr().AsSlice())}
}

func port(offset uint32, number uint16) []expr.Any {
	if number == 0 {
		return nil
	}
	return []expr.Any{load(expr.PayloadBaseTransportHeader, offset, 2), equal(binary.BigEndian.AppendUint16(nil, number))}
}

func load(base expr.PayloadBase, offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
}

func mask(bits []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: uint32(len(bits)), Mask: bits, Xor: make([]byte, len(bits))}
}

func equal(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: data} }

func notEqual(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: data}
}

func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

package adversary

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// tape is a capture in the making.
type tape struct {
	*rand.Rand
	packets []packet
	file    int // that what is written now goes to
	ports   uint16
}

func newTape(seed uint64) *tape { return &tape{Rand: rand.New(rand.NewPCG(seed, 7)), ports: 32768} }

// packet is the facts of a packet. What it carries is left out, as the recorder does, except for data.
type packet struct {
	at       time.Duration // since the beginning
	file     int
	link     string // that saw it
	src, dst netip.AddrPort
	ttl      uint8
	id       uint16
	protocol uint8

	flags       uint8 // TCP from here on
	seq, ack    uint32
	window      uint16
	stamp, echo uint32 // 0: no timestamps
	payload     int

	data []byte // of UDP, behind its header

	code  uint8   // of ICMP: why it could not be delivered (RFC 792)
	quote *packet // that could not
}

// Protocols and flags, as RFC 791 and RFC 9293 number them.
const (
	icmp = 1
	tcp  = 6
	udp  = 17

	fin = 1
	syn = 2
	rst = 4
	psh = 8
	ack = 16
)

// framing is how packets are written down.
type framing struct {
	name string
	ipv6 bool
	vlan bool
	link uint16 // of pcapng
}

// Links, as pcapng numbers them.
const (
	ethernet = 1
	raw      = 101
	cooked   = 113
)

var framings = []framing{
	{name: "ipv4", link: ethernet},
	{name: "ipv6", link: ethernet, ipv6: true},
	{name: "vlan", link: ethernet, vlan: true},
	{name: "cooked", link: cooked},
	{name: "raw-ipv6", link: raw, ipv6: true},
}

// frame is a captured frame.
type frame struct {
	at   int64 // ns since 1970
	link string
	data []byte
	wire int // its length on the wire
}

// began is when every tape begins.
var began = time.Date(2026, 3, 1, 2, 14, 0, 0, time.UTC).UnixNano()

// files writes the tape down, a capture for each file.
func (t *tape) files(f framing) (captures [][]byte) {
	all := map[int][]frame{}
	for _, p := range t.packets {
		data, wire := f.render(p)
		all[p.file] = append(all[p.file], frame{began + int64(p.at), p.link, data, wire})
	}
	for n := range len(all) {
		slices.SortStableFunc(all[n], func(a, b frame) int { return cmp.Compare(a.at, b.at) })
		captures = append(captures, capture(all[n], f.link))
	}
	return captures
}

func (f framing) render(p packet) (data []byte, wire int) {
	body := p.body(f)
	length := len(body) + p.payload
	kind := uint16(0x0800)
	var head []byte
	src, dst := f.addr(p.src.Addr()), f.addr(p.dst.Addr())
	if f.ipv6 {
		kind = 0x86dd
		head = append([]byte{0x60, 0, 0, 0, byte(length >> 8), byte(length), p.next(), p.ttl}, src.AsSlice()...)
	} else {
		head = []byte{0x45, 0, byte((length + 20) >> 8), byte(length + 20), byte(p.id >> 8), byte(p.id), 0x40, 0, p.ttl, p.protocol, 0, 0}
		head = append(head, src.AsSlice()...)
	}
	head = append(append(head, dst.AsSlice()...), body...)
	head = append(f.lead(kind), head...)
	return head, len(head) + p.payload
}

// next is the protocol as IPv6 numbers it.
func (p packet) next() byte {
	if p.protocol == icmp {
		return 58
	}
	return p.protocol
}

// addr is the address in the framing's family.
func (f framing) addr(a netip.Addr) netip.Addr {
	if !f.ipv6 {
		return a
	}
	six := [16]byte{0: 0xfd, 1: 0x10}
	four := a.As4()
	copy(six[12:], four[:])
	return netip.AddrFrom16(six)
}

// lead is what comes before the IP header.
func (f framing) lead(kind uint16) []byte {
	type16 := binary.BigEndian.AppendUint16
	switch {
	case f.link == raw:
		return nil
	case f.link == cooked:
		return type16([]byte{0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0}, kind)
	case f.vlan:
		return type16([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 42}, kind)
	}
	return type16([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}, kind)
}

// body is the transport header, and what is kept of the rest.
func (p packet) body(f framing) []byte {
	be := binary.BigEndian
	ports := be.AppendUint16(be.AppendUint16(nil, p.src.Port()), p.dst.Port())
	switch p.protocol {
	case udp:
		return append(append(be.AppendUint16(ports, uint16(8+len(p.data)+p.payload)), 0, 0), p.data...)
	case icmp:
		head := []byte{3, p.code, 0, 0, 0, 0, 0, 0}
		if f.ipv6 {
			head = []byte{1, map[uint8]byte{0: 0, 1: 3, 3: 4}[p.code], 0, 0, 0, 0, 0, 0} // RFC 4443, section 3.1
		}
		quoted, _ := framing{ipv6: f.ipv6, link: raw}.render(*p.quote)
		return append(head, quoted...)
	}
	b := be.AppendUint32(be.AppendUint32(ports, p.seq), p.ack)
	var options []byte
	if p.flags&syn != 0 {
		options = []byte{2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 7, 1, 1}
	}
	if p.stamp != 0 {
		options = be.AppendUint32(be.AppendUint32(append(options, 1, 1, 8, 10), p.stamp), p.echo)
	}
	b = be.AppendUint16(append(b, byte(5+len(options)/4)<<4, p.flags), p.window)
	return append(append(b, 0, 0, 0, 0), options...)
}

// capture writes frames as pcapng (draft-ietf-opsawg-pcapng), times in ns. An interface without a name has none.
func capture(frames []frame, link uint16) []byte {
	le := binary.LittleEndian
	var out bytes.Buffer
	block := func(kind uint32, body []byte) {
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
		size := uint32(len(body) + 12)
		out.Write(le.AppendUint32(le.AppendUint32(nil, kind), size))
		out.Write(le.AppendUint32(body, size))
	}
	option := func(b []byte, code uint16, value []byte) []byte {
		b = append(le.AppendUint16(le.AppendUint16(b, code), uint16(len(value))), value...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		return b
	}
	block(0x0a0d0d0a, append(le.AppendUint32(nil, 0x1a2b3c4d), 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255))
	ids := map[string]uint32{}
	for _, f := range frames {
		if _, known := ids[f.link]; !known {
			ids[f.link] = uint32(len(ids))
			b := append(le.AppendUint16(nil, link), 0, 0, 0, 0, 4, 0)
			if f.link != "" {
				b = option(b, 2, []byte(f.link))
			}
			block(1, option(option(b, 9, []byte{9}), 0, nil))
		}
		b := le.AppendUint32(le.AppendUint32(nil, ids[f.link]), uint32(uint64(f.at)>>32))
		b = le.AppendUint32(le.AppendUint32(b, uint32(f.at)), uint32(len(f.data)))
		block(6, append(le.AppendUint32(b, uint32(f.wire)), f.data...))
	}
	return out.Bytes()
}

package frame

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func TestOptions(t *testing.T) {
	sack := func(blocks ...uint32) (b []byte) {
		b = []byte{optSACK, byte(2 + 4*len(blocks))}
		for _, v := range blocks {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		return b
	}
	ts := []byte{optStamps, 10, 0, 0, 0, 7, 0, 0, 0, 8}
	for _, c := range []struct {
		name    string
		flags   uint8
		options []byte
		want    Packet
	}{
		{"none", ACK, nil, Packet{}},
		{"of a SYN", SYN, slices.Concat([]byte{2, 4, 5, 180, 4, 2}, ts, []byte{1, 3, 3, 7}), Packet{Scaled: true, Scale: 7, Stamped: true, TSVal: 7, TSEcr: 8}},
		{"scale without SYN", ACK, []byte{3, 3, 7, 0}, Packet{}},
		{"scale beyond the greatest", SYN, []byte{3, 3, 200, 0}, Packet{Scaled: true, Scale: 14}},
		{"stamps and SACK", ACK, slices.Concat([]byte{1, 1}, ts, []byte{1, 1}, sack(1, 2, 3, 4)), Packet{Stamped: true, TSVal: 7, TSEcr: 8, SACKs: 2, SACK: [2]uint32{1, 2}}},
		{"SACK of half a block", ACK, slices.Concat([]byte{1, 1}, sack(1)), Packet{}},
		{"unknown", ACK, slices.Concat([]byte{253, 6, 1, 2, 3, 4}, ts), Packet{Stamped: true, TSVal: 7, TSEcr: 8}},
		{"behind the end", ACK, slices.Concat([]byte{0, 1}, ts), Packet{}},
		{"of length 0", ACK, slices.Concat([]byte{253, 0}, ts), Packet{}},
		{"of length 1", ACK, slices.Concat([]byte{253, 1}, ts), Packet{}},
		{"longer than all", ACK, []byte{1, 1, 253, 3}, Packet{}},
		{"without a length", ACK, []byte{1, 1, 1, 253}, Packet{}},
	} {
		header := make([]byte, tcpHeader)
		header[1], header[3] = 1, 2
		options := append(slices.Clone(c.options), make([]byte, -len(c.options)&3)...)
		header[12], header[13] = byte((tcpHeader+len(options))/4)<<4, c.flags
		b := made(t, ip4(layers.IPProtocolTCP), gopacket.Payload(append(header, options...)))
		want := c.want
		want.Protocol, want.TTL, want.IPID, want.Flags = TCP, 63, 4711, c.flags
		want.Src, want.Dst = endpoint(client4, 1), endpoint(server4, 2)
		check(t, c.name, decode(Raw, b, len(b)), want)
	}
}

// TestCut captures every length of a segment's headers: what is read is right, and what is not there is zero.
func TestCut(t *testing.T) {
	full := made(t, ip4(layers.IPProtocolTCP), tcpSegment(), payload)
	for n := range len(full) + 1 {
		want := wantSegment(10)
		at := n - ipv4Header
		if at < 32 {
			want.Cut, want.Stamped, want.TSVal, want.TSEcr = true, false, 0, 0
		}
		if at < 16 {
			want.Window = 0
		}
		if at < 14 {
			want.Flags, want.Payload = 0, 0
		}
		if at < 12 {
			want.Ack = 0
		}
		if at < 8 {
			want.Seq = 0
		}
		if at < 4 {
			want.Src.Port, want.Dst.Port = 0, 0
		}
		if at < 0 {
			want = Packet{}
		}
		check(t, "", decode(Raw, full[:n], len(full)), want)
	}
	b := made(t, ip4(layers.IPProtocolTCP), gopacket.Payload(full[20:52]))
	b[20+12] = 4 << 4
	want := wantSegment(12) // an offset that is not valid counts as none
	want.Stamped, want.TSVal, want.TSEcr = false, 0, 0
	check(t, "data offset 4", decode(Raw, b, len(b)), want)
}

func TestUDP(t *testing.T) {
	query := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1}
	answer := slices.Clone(query)
	answer[2], answer[3] = 0x81, 0x83
	base := func(src, dst uint16, n uint32) Packet {
		return Packet{Protocol: UDP, TTL: 63, IPID: 4711, Src: endpoint(client4, src), Dst: endpoint(server4, dst), Payload: n}
	}
	asked := base(40000, 53, 19)
	asked.DNS, asked.DNSID = true, 0x1234
	answered := base(53, 40000, 19)
	answered.DNS, answered.DNSID, answered.Response, answered.RCode = true, 0x1234, true, 3
	for _, c := range []struct {
		name     string
		src, dst layers.UDPPort
		data     []byte
		want     Packet
	}{
		{"query", 40000, 53, query, asked},
		{"answer", 53, 40000, answer, answered},
		{"multicast DNS", 5353, 5353, query, base(5353, 5353, 19)},
		{"less than a header", 40000, 53, query[:11], base(40000, 53, 11)},
	} {
		b := made(t, ip4(layers.IPProtocolUDP), &layers.UDP{SrcPort: c.src, DstPort: c.dst}, gopacket.Payload(c.data))
		check(t, c.name, decode(Raw, b, len(b)), c.want)
	}
	b := made(t, ip4(layers.IPProtocolUDP), &layers.UDP{SrcPort: 1, DstPort: 2}, payload)
	for n := 20; n < 28; n++ {
		want := base(1, 2, 10)
		want.Cut = true
		if n < 24 {
			want.Src.Port, want.Dst.Port = 0, 0
		}
		check(t, "cut", decode(Raw, b[:n], len(b)), want)
	}
	// Over TCP a message that is the whole segment has its length before it.
	segment := func(data []byte) Packet {
		b := made(t, ip4(layers.IPProtocolTCP), &layers.TCP{SrcPort: 53, DstPort: 40000, ACK: true}, gopacket.Payload(data))
		return decode(Raw, b, len(b))
	}
	if p := segment(append([]byte{0, 19}, answer...)); !p.DNS || p.DNSID != 0x1234 || !p.Response || p.RCode != 3 {
		t.Errorf("DNS over TCP: %+v", p)
	}
	for _, data := range [][]byte{answer, append([]byte{0, 20}, answer...), {0, 0}} {
		if p := segment(data); p.DNS {
			t.Errorf("the middle of a message over TCP is read as one: %+v", p)
		}
	}
}

func TestICMP(t *testing.T) {
	inner := made(t, ip4(layers.IPProtocolTCP), tcpSegment(), payload)
	inner6 := made(t, ip6(layers.IPProtocolUDP), &layers.UDP{SrcPort: 40000, DstPort: 53}, payload)
	quote := Quote{Protocol: TCP, Src: endpoint(client4, 40000), Dst: endpoint(server4, 5432), Seq: 100}
	quote6 := Quote{Protocol: UDP, Src: endpoint(client6, 40000), Dst: endpoint(server6, 53)}
	v4 := func(typ, code uint8, quoted []byte) Packet {
		b := made(t, ip4(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code)}, gopacket.Payload(quoted))
		return decode(Raw, b, len(b))
	}
	v6 := func(typ, code uint8, quoted []byte) Packet {
		b := made(t, ip6(layers.IPProtocolICMPv6), &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, code)}, gopacket.Payload(append(make([]byte, 4), quoted...)))
		return decode(Raw, b, len(b))
	}
	want4 := Packet{Protocol: ICMP, TTL: 63, IPID: 4711, Src: endpoint(client4, 0), Dst: endpoint(server4, 0)}
	want6 := Packet{Protocol: ICMPv6, IPv6: true, TTL: 61, Src: endpoint(client6, 0), Dst: endpoint(server6, 0)}
	is := func(p Packet, typ, code uint8, size int, q *Quote) Packet {
		p.Type, p.Code, p.Payload = typ, code, uint32(size)
		if q != nil {
			p.Quoted, p.Quote = true, *q
		}
		return p
	}
	bare := quote // a later fragment, or one of which only the header was quoted, has no ports
	bare.Src.Port, bare.Dst.Port, bare.Seq = 0, 0, 0
	ports := quote
	ports.Seq = 0
	later := slices.Clone(inner)
	later[7] = 1
	other := slices.Clone(inner)
	other[9] = 132
	unknown := bare
	unknown.Protocol = 132
	half := slices.Clone(inner6)
	half[6] = routing
	cutChain := quote6
	cutChain.Protocol, cutChain.Src.Port, cutChain.Dst.Port = 0, 0, 0
	for _, c := range []struct {
		name      string
		got, want Packet
	}{
		{"unreachable", v4(3, 13, inner[:28]), is(want4, 3, 13, 28, &quote)},
		{"time exceeded, all quoted", v4(11, 0, inner), is(want4, 11, 0, len(inner), &quote)},
		{"ports alone", v4(3, 1, inner[:24]), is(want4, 3, 1, 24, &ports)},
		{"header alone", v4(3, 1, inner[:20]), is(want4, 3, 1, 20, &bare)},
		{"less than a header", v4(3, 1, inner[:19]), is(want4, 3, 1, 19, nil)},
		{"later fragment", v4(3, 4, later), is(want4, 3, 4, len(later), &bare)},
		{"another protocol", v4(3, 2, other), is(want4, 3, 2, len(other), &unknown)},
		{"echo", v4(8, 0, inner), is(want4, 8, 0, len(inner), nil)},
		{"ICMPv6 unreachable", v6(1, 4, inner6), is(want6, 1, 4, len(inner6), &quote6)},
		{"ICMPv6 too big", v6(2, 0, inner6[:48]), is(want6, 2, 0, 48, &quote6)},
		{"ICMPv6, chain cut", v6(3, 0, half[:41]), is(want6, 3, 0, 41, &cutChain)},
		{"neighbour solicitation", v6(135, 0, inner6), is(want6, 135, 0, len(inner6), nil)},
	} {
		check(t, c.name, c.got, c.want)
	}
	b := made(t, ip4(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1)}, gopacket.Payload(inner))
	for n := 20; n < 28; n++ {
		p := decode(Raw, b[:n], len(b))
		if !p.Cut || p.Quoted || (n >= 22) != (p.Type == 3) || p.Payload != uint32(len(inner)) {
			t.Errorf("%d bytes: %+v", n, p)
		}
	}
}

package frame

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// TestPeer decodes random packets, and holds what gopacket's decoder says of them against it.
func TestPeer(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	read := map[uint8]int{}
	for range 20_000 {
		data := random(t, rnd)
		p := decode(Ethernet, data, len(data))
		want := peer(data)
		if p != want {
			t.Fatalf("seed %d, frame %x:\n got %+v\nwant %+v", seed, data, p, want)
		}
		read[p.Protocol]++
	}
	for _, protocol := range []uint8{TCP, UDP, ICMP, ICMPv6} {
		if read[protocol] < 1000 {
			t.Errorf("protocol %d was there %d times of 20,000, want at least 1,000", protocol, read[protocol])
		}
	}
}

// random is a frame with random addresses, headers, options and payload.
func random(t *testing.T, rnd *rand.Rand) []byte {
	port := func() uint16 { return uint16(rnd.Uint32()) | 64 } // not that of DNS, which gopacket would read differently
	bytes := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	data := gopacket.Payload(bytes(rnd.IntN(60)))
	v6 := rnd.IntN(2) == 0
	var transport gopacket.SerializableLayer
	var protocol layers.IPProtocol
	switch rnd.IntN(3) {
	case 0:
		tcp := &layers.TCP{SrcPort: layers.TCPPort(port()), DstPort: layers.TCPPort(port()), Seq: rnd.Uint32(), Ack: rnd.Uint32(),
			FIN: rnd.IntN(4) == 0, SYN: rnd.IntN(2) == 0, RST: rnd.IntN(4) == 0, PSH: rnd.IntN(2) == 0, ACK: rnd.IntN(2) == 0, URG: rnd.IntN(9) == 0, Window: uint16(rnd.Uint32())}
		for _, o := range []layers.TCPOption{stamps(rnd.Uint32(), rnd.Uint32()), nop, {OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{byte(rnd.IntN(15))}}, {OptionType: layers.TCPOptionKindSACK, OptionLength: 10, OptionData: bytes(8)}, {OptionType: 200, OptionLength: 5, OptionData: bytes(3)}} {
			if rnd.IntN(2) == 0 {
				tcp.Options = append(tcp.Options, o)
			}
		}
		transport, protocol = tcp, layers.IPProtocolTCP
	case 1:
		transport, protocol = &layers.UDP{SrcPort: layers.UDPPort(port()), DstPort: layers.UDPPort(port())}, layers.IPProtocolUDP
	case 2:
		if v6 {
			transport, protocol = &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, uint8(rnd.Uint32()))}, layers.IPProtocolICMPv6
			data = append(bytes(4), data...)
		} else {
			transport, protocol = &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(uint8(13+rnd.IntN(20)), uint8(rnd.Uint32()))}, layers.IPProtocolICMPv4
		}
	}
	var parts []gopacket.SerializableLayer
	typ := layers.EthernetTypeIPv4
	if v6 {
		typ = layers.EthernetTypeIPv6
	}
	if tag := &(layers.Dot1Q{VLANIdentifier: uint16(rnd.IntN(4096)), Type: typ}); rnd.IntN(3) == 0 {
		parts = append(parts, ether(layers.EthernetTypeDot1Q), tag)
	} else {
		parts = append(parts, ether(typ))
	}
	if v6 {
		ip := ip6(protocol)
		ip.SrcIP, ip.DstIP, ip.HopLimit = bytes(16), bytes(16), uint8(rnd.Uint32())
		parts = append(parts, ip)
	} else {
		ip := ip4(protocol)
		ip.SrcIP, ip.DstIP, ip.TTL, ip.Id = bytes(4), bytes(4), uint8(rnd.Uint32()), uint16(rnd.Uint32())
		for range rnd.IntN(3) {
			ip.Options = append(ip.Options, layers.IPv4Option{OptionType: 200, OptionLength: 4, OptionData: bytes(2)})
		}
		parts = append(parts, ip)
	}
	frame := made(t, append(parts, transport, data)...)
	return append(frame, make([]byte, max(0, 60-len(frame)))...) // as Ethernet pads
}

// peer is what gopacket reads.
func peer(data []byte) (p Packet) {
	packet := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
	if tag, ok := packet.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q); ok {
		p.VLAN = tag.VLANIdentifier
	}
	switch ip := packet.NetworkLayer().(type) {
	case *layers.IPv4:
		p.TTL, p.IPID, p.Protocol = ip.TTL, ip.Id, uint8(ip.Protocol)
		src, _ := netip.AddrFromSlice(ip.SrcIP.To4())
		dst, _ := netip.AddrFromSlice(ip.DstIP.To4())
		p.Src, p.Dst = endpoint(src, 0), endpoint(dst, 0)
		p.Payload = uint32(ip.Length) - uint32(ip.IHL)*4
	case *layers.IPv6:
		p.IPv6, p.TTL, p.Protocol = true, ip.HopLimit, uint8(ip.NextHeader)
		p.Src.Addr, p.Dst.Addr = [16]byte(ip.SrcIP), [16]byte(ip.DstIP)
		p.Payload = uint32(ip.Length)
	}
	for _, layer := range packet.Layers() {
		switch l := layer.(type) {
		case *layers.TCP:
			p.tcpOfPeer(l)
		case *layers.UDP:
			p.Src.Port, p.Dst.Port = uint16(l.SrcPort), uint16(l.DstPort)
			p.Payload -= 8
		case *layers.ICMPv4:
			p.Type, p.Code = l.TypeCode.Type(), l.TypeCode.Code()
			p.Payload -= 8
		case *layers.ICMPv6:
			p.Type, p.Code = l.TypeCode.Type(), l.TypeCode.Code()
			p.Payload -= 8
		}
	}
	return p
}

func (p *Packet) tcpOfPeer(l *layers.TCP) {
	p.Src.Port, p.Dst.Port = uint16(l.SrcPort), uint16(l.DstPort)
	p.Seq, p.Ack, p.Window = l.Seq, l.Ack, l.Window
	p.Payload -= uint32(l.DataOffset) * 4
	for i, set := range []bool{l.FIN, l.SYN, l.RST, l.PSH, l.ACK, l.URG} {
		if set {
			p.Flags |= 1 << i
		}
	}
	for _, o := range l.Options {
		switch o.OptionType {
		case layers.TCPOptionKindTimestamps:
			p.Stamped, p.TSVal, p.TSEcr = true, binary.BigEndian.Uint32(o.OptionData), binary.BigEndian.Uint32(o.OptionData[4:])
		case layers.TCPOptionKindWindowScale:
			if l.SYN {
				p.Scaled, p.Scale = true, o.OptionData[0]
			}
		case layers.TCPOptionKindSACK:
			p.SACKs, p.SACK = 1, [2]uint32{binary.BigEndian.Uint32(o.OptionData), binary.BigEndian.Uint32(o.OptionData[4:])}
		}
	}
}

// FuzzDecode takes any bytes as a frame of any link: it must not panic, must forget the packet before, and what is
// captured of a packet must not change what the whole of it says.
func FuzzDecode(f *testing.F) {
	tcp := made(f, ether(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcpSegment(), payload)
	quoted := made(f, ip6(layers.IPProtocolICMPv6), &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 4)}, gopacket.Payload(append(make([]byte, 4), tcp[14:]...)))
	dns := made(f, ip4(layers.IPProtocolUDP), &layers.UDP{SrcPort: 53, DstPort: 40000}, gopacket.Payload(make([]byte, 20)))
	f.Add(uint16(Ethernet), tcp, len(tcp))
	f.Add(uint16(Raw), quoted, len(quoted))
	f.Add(uint16(Null), slices.Concat([]byte{2, 0, 0, 0}, dns), 0)
	f.Add(uint16(Cooked2), slices.Concat([]byte{8, 0}, make([]byte, 18), tcp[14:]), 180_000)
	f.Fuzz(func(t *testing.T, link uint16, data []byte, original int) {
		original = min(max(original, len(data)), 1<<30)
		var whole Packet
		whole.Decode(Link(link), data, original)
		if again := decode(Link(link), data, original); again != whole {
			t.Fatalf("after another packet\n%+v\nafter none\n%+v", again, whole)
		}
		if whole.Protocol == 0 && whole != (Packet{VLAN: whole.VLAN, In: whole.In, Out: whole.Out}) {
			t.Fatalf("of no known protocol, but %+v", whole)
		}
		for n := range data {
			if cut := decode(Link(link), data[:n], original); !cut.within(&whole) {
				t.Fatalf("of %d bytes\n%+v\nof all %d\n%+v", n, cut, len(data), whole)
			}
		}
	})
}

// within says whether what is known of p is known of the whole packet as well.
func (p *Packet) within(whole *Packet) bool {
	if p.Protocol == 0 {
		return true
	}
	same := p.Protocol == whole.Protocol && p.Src.Addr == whole.Src.Addr && p.Dst.Addr == whole.Dst.Addr && p.TTL == whole.TTL && p.Fragment == whole.Fragment
	if p.Src.Port != 0 {
		same = same && p.Src.Port == whole.Src.Port
	}
	if !p.Cut {
		same = same && !whole.Cut && p.Payload == whole.Payload && p.Flags == whole.Flags && p.Stamped == whole.Stamped
	}
	return same
}

// BenchmarkDecode reads the headers of a segment with timestamps, which most packets are.
func BenchmarkDecode(b *testing.B) {
	for name, data := range map[string][]byte{
		"IPv4": made(b, ether(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcpSegment()),
		"IPv6": made(b, ether(layers.EthernetTypeIPv6), ip6(layers.IPProtocolTCP), tcpSegment()),
	} {
		b.Run(name, func(b *testing.B) {
			var p Packet
			b.ReportAllocs()
			for b.Loop() {
				p.Decode(Ethernet, data, 1500)
			}
			if !p.Stamped {
				b.Fatal("the timestamps were not read")
			}
		})
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	data := made(t, ether(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcpSegment())
	var p Packet
	if n := testing.AllocsPerRun(1000, func() { p.Decode(Ethernet, data, len(data)) }); n != 0 {
		t.Errorf("%v allocations a packet, want none", n)
	}
}

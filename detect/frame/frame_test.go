package frame

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var payload = gopacket.Payload("0123456789")

func TestLinks(t *testing.T) {
	v4 := made(t, ip4(layers.IPProtocolTCP), tcpSegment(), payload)
	v6 := made(t, ip6(layers.IPProtocolTCP), tcpSegment(), payload)
	cooked := func(kind byte, typ uint16) []byte {
		return binary.BigEndian.AppendUint16([]byte{0, kind, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0}, typ)
	}
	cooked2 := func(kind byte, typ uint16) []byte {
		b := binary.BigEndian.AppendUint16(nil, typ)
		return append(b, 0, 0, 0, 0, 1, 2, 0, 1, kind, 6, 1, 2, 3, 4, 5, 6, 0, 0)
	}
	ethernet := func(types ...byte) []byte { return append(make([]byte, 12), types...) }
	for _, c := range []struct {
		name    string
		link    Link
		header  []byte
		packet  []byte
		vlan    uint16
		in, out bool
	}{
		{name: "Ethernet", link: Ethernet, header: ethernet(8, 0), packet: v4},
		{name: "Ethernet, IPv6", link: Ethernet, header: ethernet(0x86, 0xDD), packet: v6},
		{name: "802.1Q", link: Ethernet, header: ethernet(0x81, 0, 0xE0, 5, 8, 0), packet: v4, vlan: 5},
		{name: "802.1ad", link: Ethernet, header: ethernet(0x88, 0xA8, 0x0F, 0xFF, 0x81, 0, 0, 7, 0x86, 0xDD), packet: v6, vlan: 4095},
		{name: "QinQ of old", link: Ethernet, header: ethernet(0x91, 0, 0, 9, 0x81, 0, 0, 7, 8, 0), packet: v4, vlan: 9},
		{name: "cooked, to us", link: Cooked, header: cooked(0, 0x0800), packet: v4, in: true},
		{name: "cooked, outgoing", link: Cooked, header: cooked(4, 0x86DD), packet: v6, out: true},
		{name: "cooked 2, to others", link: Cooked2, header: cooked2(3, 0x0800), packet: v4, in: true},
		{name: "cooked 2, outgoing", link: Cooked2, header: cooked2(4, 0x86DD), packet: v6, out: true},
		{name: "cooked 2 with a tag", link: Cooked2, header: append(cooked2(4, 0x8100), 0, 3, 8, 0), packet: v4, vlan: 3, out: true},
		{name: "raw", link: Raw, packet: v4},
		{name: "raw, IPv6", link: Raw, packet: v6},
		{name: "raw of BSD", link: 12, packet: v4},
		{name: "raw of OpenBSD", link: 14, packet: v6},
		{name: "raw IPv4", link: 228, packet: v4},
		{name: "raw IPv6", link: 229, packet: v6},
		{name: "null, little-endian", link: Null, header: []byte{2, 0, 0, 0}, packet: v4},
		{name: "null, big-endian", link: Null, header: []byte{0, 0, 0, 2}, packet: v4},
		{name: "null of Darwin", link: Null, header: []byte{30, 0, 0, 0}, packet: v6},
		{name: "null of FreeBSD", link: Null, header: []byte{28, 0, 0, 0}, packet: v6},
		{name: "loop", link: Loop, header: []byte{0, 0, 0, 24}, packet: v6},
	} {
		data := append(slices.Clone(c.header), c.packet...)
		want := wantSegment(10)
		if c.packet[0]>>4 == 6 {
			want = wantSegment6(10)
		}
		want.VLAN, want.In, want.Out = c.vlan, c.in, c.out
		check(t, c.name, decode(c.link, data, len(data)), want)
		if !c.link.Known() {
			t.Errorf("%s: link %d is not known", c.name, c.link)
		}
		for n := range c.header { // less than a link header says nothing of the packet
			if got := decode(c.link, data[:n], len(data)); got.Protocol != 0 {
				t.Errorf("%s, %d bytes of the header: %+v", c.name, n, got)
			}
		}
	}
	if got := InterfaceIndex(Cooked2, cooked2(0, 0x0800)); got != 0x0102 {
		t.Errorf("interface %d, want 258", got)
	}
	if InterfaceIndex(Cooked2, make([]byte, 19)) != 0 || InterfaceIndex(Ethernet, v4) != 0 {
		t.Error("an interface is known that no frame names")
	}
	check(t, "another link", decode(147, v4, len(v4)), Packet{})
	if Link(147).Known() {
		t.Error("link 147 is known")
	}
}

func TestIPv4(t *testing.T) {
	ip := ip4(layers.IPProtocolTCP)
	ip.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
	b := made(t, ip, tcpSegment(), payload)
	check(t, "options", decode(Raw, b, len(b)), wantSegment(10))

	ip = ip4(layers.IPProtocolTCP)
	ip.Flags = layers.IPv4MoreFragments
	b = made(t, ip, tcpSegment(), payload)
	check(t, "first fragment", decode(Raw, b, len(b)), wantSegment(10))
	ip.FragOffset = 1
	b = made(t, ip, payload)
	want := Packet{Protocol: TCP, TTL: 63, IPID: 4711, Src: endpoint(client4, 0), Dst: endpoint(server4, 0), Payload: 10, Fragment: true}
	check(t, "later fragment", decode(Raw, b, len(b)), want)

	b = made(t, ether(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcpSegment())
	padded := append(b, make([]byte, 12)...)
	check(t, "trailer", decode(Ethernet, padded, len(padded)), wantSegment(0))

	b = made(t, ether(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcpSegment(), payload)
	check(t, "headers alone", decode(Ethernet, b[:66], len(b)), wantSegment(10))
	binary.BigEndian.PutUint16(b[16:], 0)
	check(t, "BIG TCP", decode(Ethernet, b, 180_000), wantSegment(180_000-66))
	check(t, "more captured than there was", decode(Ethernet, b, 60), wantSegment(10))

	for name, change := range map[string]func(b []byte){
		"version 5":                   func(b []byte) { b[0] = 0x55 },
		"short header":                func(b []byte) { b[0] = 0x44 },
		"length shorter than headers": func(b []byte) { b[2], b[3] = 0, 19 },
		"another protocol":            func(b []byte) { b[9] = 132 },
	} {
		b := made(t, ip4(layers.IPProtocolTCP), tcpSegment(), payload)
		change(b)
		check(t, name, decode(rawIPv4, b, len(b)), Packet{})
	}
	// An authentication header of 24 bytes stands before TCP.
	inner := made(t, ip4(layers.IPProtocolTCP), tcpSegment(), payload)
	ah := append([]byte{TCP, 4}, make([]byte, 22)...)
	b = slices.Concat(inner[:20], ah, inner[20:])
	b[9] = authentication
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	check(t, "authentication header", decode(Raw, b, len(b)), wantSegment(10))
	check(t, "authentication header, cut", decode(Raw, b[:21], len(b)), Packet{})
}

func TestIPv6(t *testing.T) {
	plain := made(t, ip6(layers.IPProtocolTCP), tcpSegment(), payload)
	with := func(next byte, headers ...byte) []byte {
		b := slices.Concat(plain[:40], headers, plain[40:])
		b[6] = next
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		return b
	}
	eight := func(next, length byte) []byte { return append([]byte{next, length}, make([]byte, 6+int(length)*8)...) }
	chainOf := func(n int) (headers []byte) {
		for range n - 1 {
			headers = append(headers, eight(destination, 0)...)
		}
		return append(headers, eight(TCP, 0)...)
	}
	for name, b := range map[string][]byte{
		"hop-by-hop":     with(hopByHop, eight(TCP, 1)...),
		"all":            with(hopByHop, slices.Concat(eight(destination, 0), eight(routing, 2), eight(fragment, 0), []byte{authentication, 0, 0, 1, 0, 0, 0, 9}, []byte{TCP, 2}, make([]byte, 14))...),
		"as many as are": with(destination, chainOf(maxHeaders-1)...),
	} {
		check(t, name, decode(Raw, b, len(b)), wantSegment6(10))
	}
	b := with(destination, chainOf(maxHeaders)...)
	check(t, "more than are followed", decode(Raw, b, len(b)), Packet{})
	b = with(fragment, TCP, 0, 0, 8, 0, 0, 0, 9)
	want := Packet{Protocol: TCP, IPv6: true, TTL: 61, Src: endpoint(client6, 0), Dst: endpoint(server6, 0), Payload: 32 + 10, Fragment: true}
	check(t, "later fragment", decode(Raw, b, len(b)), want)
	b = with(hopByHop, TCP, 200, 0, 0)
	check(t, "a header longer than the packet", decode(Raw, b, len(b)), Packet{})
	for n := 40; n < 48; n++ {
		check(t, "a header that is cut", decode(Raw, with(routing, eight(TCP, 0)...)[:n], 90), cutSegment6(n >= 42))
	}

	b = with(hopByHop, TCP, 0, jumboPayload, 4, 0, 1, 0x11, 0x70) // 70,000 bytes behind the header
	binary.BigEndian.PutUint16(b[4:], 0)
	check(t, "jumbogram", decode(Raw, b, 70_040), wantSegment6(70_000-8-32))
	b = slices.Clone(plain)
	binary.BigEndian.PutUint16(b[4:], 0)
	check(t, "BIG TCP", decode(Raw, b, 180_000), wantSegment6(180_000-40-32))
	check(t, "version 4", decode(rawIPv6, made(t, ip4(layers.IPProtocolTCP), tcpSegment()), 52), Packet{})
}

// cutSegment6 is what is known of a segment behind an extension header whose length is there or not.
func cutSegment6(known bool) Packet {
	if !known {
		return Packet{}
	}
	return Packet{Protocol: TCP, IPv6: true, TTL: 61, Src: endpoint(client6, 0), Dst: endpoint(server6, 0), Cut: true}
}

package frame

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// made is what a test has gopacket write, with right lengths and checksums.
func made(t testing.TB, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	for i, p := range parts {
		if i == 0 {
			continue
		}
		if n, ok := parts[i-1].(gopacket.NetworkLayer); ok {
			switch l := p.(type) {
			case *layers.TCP:
				l.SetNetworkLayerForChecksum(n)
			case *layers.UDP:
				l.SetNetworkLayerForChecksum(n)
			case *layers.ICMPv6:
				l.SetNetworkLayerForChecksum(n)
			}
		}
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(b.Bytes())
}

var (
	client4 = netip.MustParseAddr("10.20.1.11")
	server4 = netip.MustParseAddr("10.99.0.5")
	client6 = netip.MustParseAddr("2001:db8::11")
	server6 = netip.MustParseAddr("2001:db8:ffff::5")
)

func ether(typ layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: typ}
}

func ip4(protocol layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 63, Id: 4711, Protocol: protocol, SrcIP: client4.AsSlice(), DstIP: server4.AsSlice()}
}

func ip6(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 61, NextHeader: next, SrcIP: client6.AsSlice(), DstIP: server6.AsSlice()}
}

func stamps(value, echo uint32) layers.TCPOption {
	b := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, value), echo)
	return layers.TCPOption{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: b}
}

var nop = layers.TCPOption{OptionType: layers.TCPOptionKindNop, OptionLength: 1}

func tcpSegment() *layers.TCP {
	return &layers.TCP{SrcPort: 40000, DstPort: 5432, Seq: 100, Ack: 200, ACK: true, PSH: true, Window: 501,
		Options: []layers.TCPOption{nop, nop, stamps(7, 8)}}
}

// wantSegment is what tcpSegment is, with a payload of so many bytes, in IPv4.
func wantSegment(payload uint32) Packet {
	return Packet{
		Protocol: TCP, TTL: 63, IPID: 4711, Payload: payload, Src: endpoint(client4, 40000), Dst: endpoint(server4, 5432),
		Seq: 100, Ack: 200, Flags: ACK | PSH, Window: 501, Stamped: true, TSVal: 7, TSEcr: 8,
	}
}

// wantSegment6 is the same in IPv6.
func wantSegment6(payload uint32) Packet {
	p := wantSegment(payload)
	p.IPv6, p.TTL, p.IPID = true, 61, 0
	p.Src, p.Dst = endpoint(client6, 40000), endpoint(server6, 5432)
	return p
}

func endpoint(a netip.Addr, port uint16) Endpoint { return Endpoint{Addr: a.As16(), Port: port} }

// decode reads into a packet that holds something else, of which nothing may stay.
func decode(link Link, data []byte, original int) Packet {
	before := Packet{
		Protocol: ICMP, IPv6: true, TTL: 1, IPID: 2, VLAN: 3, Cut: true, Fragment: true, Src: endpoint(server6, 1), Dst: endpoint(client6, 2),
		Payload: 4, Seq: 5, Ack: 6, Flags: 7, Window: 8, Scaled: true, Scale: 9, Stamped: true, TSVal: 10, TSEcr: 11, SACKs: 12, SACK: [2]uint32{13, 14},
		DNS: true, DNSID: 15, Response: true, RCode: 1, Type: 2, Code: 3, Quoted: true,
		Quote: Quote{Protocol: 4, Src: endpoint(server6, 5), Dst: endpoint(client6, 6), Seq: 7},
	}
	before.Decode(link, data, original)
	return before
}

func check(t *testing.T, name string, got, want Packet) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
	}
}

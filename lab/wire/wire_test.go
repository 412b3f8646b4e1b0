package wire

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/ringside/ringside/pcapng"
)

// frame is a frame as another implementation writes it.
func frame(t testing.TB, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, parts...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

var (
	client4, server4 = netip.MustParseAddrPort("10.20.1.11:5432"), netip.MustParseAddrPort("10.99.0.5:5432")
	client6, server6 = netip.MustParseAddrPort("[fd00::11]:40001"), netip.MustParseAddrPort("[fd99::5]:5432")
)

func ethernet(t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: t}
}

func ip4(src, dst netip.AddrPort, p layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 63, Id: 77, Protocol: p, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
}

func ip6(src, dst netip.AddrPort, p layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 63, NextHeader: p, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
}

func tcp(src, dst netip.AddrPort, seq uint32, flags uint8) *layers.TCP {
	return &layers.TCP{
		SrcPort: layers.TCPPort(src.Port()), DstPort: layers.TCPPort(dst.Port()), Seq: seq, Ack: 7, Window: 100,
		FIN: flags&FIN != 0, SYN: flags&SYN != 0, RST: flags&RST != 0, PSH: flags&PSH != 0, ACK: flags&ACK != 0,
	}
}

func TestParse(t *testing.T) {
	payload := gopacket.Payload(make([]byte, 100))
	udp := &layers.UDP{SrcPort: 5353, DstPort: 53}
	quote4 := gopacket.Payload(frame(t, ip4(client4, server4, 6), tcp(client4, server4, 5, SYN))[:28])
	quote6 := gopacket.Payload(append(make([]byte, 4), frame(t, ip6(client6, server6, 6), tcp(client6, server6, 5, SYN))...))
	tests := []struct {
		name string
		data []byte
		want Packet
	}{
		{"TCP", frame(t, ethernet(0x800), ip4(client4, server4, 6), tcp(client4, server4, 5, PSH|ACK), payload),
			Packet{Protocol: 6, Src: client4, Dst: server4, Seq: 5, Ack: 7, Window: 100, Flags: PSH | ACK, Payload: 100}},
		{"TCP over IPv6, tagged twice", frame(t, ethernet(0x88a8), &layers.Dot1Q{Type: 0x8100}, &layers.Dot1Q{Type: 0x86dd}, ip6(server6, client6, 6), tcp(server6, client6, 9, RST), payload),
			Packet{Protocol: 6, Src: server6, Dst: client6, Seq: 9, Ack: 7, Window: 100, Flags: RST, Payload: 100}},
		{"UDP", frame(t, ethernet(0x800), ip4(client4, server4, 17), udp, payload),
			Packet{Protocol: 17, Src: netip.AddrPortFrom(client4.Addr(), 5353), Dst: netip.AddrPortFrom(server4.Addr(), 53), Payload: 100}},
		{"ICMP", frame(t, ethernet(0x800), ip4(server4, client4, 1), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 13)}, quote4),
			Packet{Protocol: 1, Src: netip.AddrPortFrom(server4.Addr(), 0), Dst: netip.AddrPortFrom(client4.Addr(), 0), Type: 3, Code: 13,
				Quoted: &Packet{Protocol: 6, TTL: 63, Src: client4, Dst: server4, Seq: 5}}},
		{"ICMPv6", frame(t, ethernet(0x86dd), ip6(server6, client6, 58), &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 1)}, quote6),
			Packet{Protocol: 58, Src: netip.AddrPortFrom(server6.Addr(), 0), Dst: netip.AddrPortFrom(client6.Addr(), 0), Type: 1, Code: 1,
				Quoted: &Packet{Protocol: 6, TTL: 63, Src: client6, Dst: server6, Seq: 5}}},
	}
	for _, tt := range tests {
		tt.want.TTL = 63
		if tt.want.Src.Addr().Is4() {
			tt.want.ID = 77
		}
		for _, snap := range []int{len(tt.data), len(tt.data) - tt.want.Payload} { // whole, and headers only
			got, ok := parse(tt.data[:snap], len(tt.data))
			same := ok && (got.Quoted == nil) == (tt.want.Quoted == nil) && (got.Quoted == nil || *got.Quoted == *tt.want.Quoted)
			want := tt.want
			got.Quoted, want.Quoted = nil, nil
			if !same || got != want {
				t.Errorf("%s, %d of %d bytes: %+v (%v), want %+v", tt.name, snap, len(tt.data), got, ok, want)
			}
		}
	}
	fragment := ip4(client4, server4, 6)
	fragment.FragOffset = 100
	for name, data := range map[string][]byte{
		"ARP":      frame(t, ethernet(0x806), payload),
		"fragment": frame(t, ethernet(0x800), fragment, tcp(client4, server4, 5, ACK)),
		"cut":      frame(t, ethernet(0x800), ip4(client4, server4, 6), tcp(client4, server4, 5, ACK))[:40],
		"empty":    nil,
	} {
		if p, ok := parse(data, len(data)); ok {
			t.Errorf("%s: read as %+v", name, p)
		}
	}
}

// capture is a file of these frames, a millisecond apart.
func capture(frames ...[]byte) []byte {
	file := pcapng.AppendSection(nil, "test", "")
	file = pcapng.AppendInterface(file, pcapng.Interface{Name: "eth0"})
	for i, f := range frames {
		block := make([]byte, pcapng.PacketSize(len(f)))
		pcapng.PutPacket(block, 0, int64(i)*1e6, uint32(len(f)), 0, f, nil)
		file = append(file, block...)
	}
	return file
}

func TestConversations(t *testing.T) {
	send := func(src, dst netip.AddrPort, seq uint32, flags uint8, size int) []byte {
		return frame(t, ethernet(0x800), ip4(src, dst, 6), tcp(src, dst, seq, flags), gopacket.Payload(make([]byte, size)))
	}
	const end = 0xfffffff0 // sequence numbers wrap within the conversation
	c, err := Read(bytes.NewReader(capture(
		send(client4, server4, end, SYN, 0),
		send(client4, server4, end, SYN, 0), // again
		send(server4, client4, 100, SYN|ACK, 0),
		send(client4, server4, end+1, ACK, 0),
		send(client4, server4, end+1, ACK, 50),
		send(server4, client4, 101, PSH|ACK, 200),
		send(client4, server4, 0x23, ACK, 10),
		send(client4, server4, 0x23, ACK, 10), // again
		send(server4, client4, 401, ACK, 100), // before its time
		send(server4, client4, 301, ACK, 100),
		send(server4, client4, 501, ACK|FIN, 0),
		send(client4, server4, 0x2d, RST, 0),
		frame(t, ethernet(0x800), ip4(client4, server4, 17), &layers.UDP{SrcPort: 1, DstPort: 5432}),
	)))
	if err != nil {
		t.Fatal(err)
	}
	if n := c.Count(func(p *Packet) bool { return p.Is(SYN) }); n != 2 || len(c) != 13 {
		t.Errorf("%d SYNs among %d packets, want 2 of 13", n, len(c))
	}
	all := c.Conversations(server4)
	v := all[Key{"eth0", client4, server4}]
	if len(all) != 1 || v == nil {
		t.Fatalf("conversations %v", all)
	}
	at := func(ms int64) time.Time { return time.Unix(0, ms*1e6) }
	client, server := v.FromClient, v.FromServer
	if !v.Opened || client.Packets != 7 || client.SYNs != 2 || client.Data != 3 || client.Again != 2 || client.Gaps != 0 || client.RST != at(11) || !client.FIN.IsZero() || client.First != at(0) || client.Last != at(11) {
		t.Errorf("from the client: %+v", client)
	}
	if server.Packets != 5 || server.SYNs != 1 || server.Data != 3 || server.Again != 1 || server.Gaps != 1 || server.FIN != at(10) || !server.RST.IsZero() {
		t.Errorf("from the server: %+v", server)
	}
}

func TestDamagedCaptures(t *testing.T) {
	good := capture(frame(t, ethernet(0x800), ip4(client4, server4, 6), tcp(client4, server4, 5, ACK)))
	orphan := pcapng.AppendSection(nil, "test", "")
	orphan = append(orphan, good[len(good)-pcapng.PacketSize(54):]...)
	for name, b := range map[string][]byte{"torn": good[:len(good)-1], "a packet without interface": orphan, "text": []byte("no capture, but long enough to be read as one")} {
		if c, err := Read(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: read as %v", name, c)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(frame(f, ethernet(0x800), ip4(client4, server4, 6), tcp(client4, server4, 5, ACK)), 1000)
	f.Add(frame(f, ethernet(0x86dd), ip6(client6, server6, 58), &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 1)}, gopacket.Payload(make([]byte, 60))), 100)
	f.Fuzz(func(t *testing.T, b []byte, original int) {
		p, ok := parse(b, original)
		if ok && (!p.Src.IsValid() || !p.Dst.IsValid() || p.Payload < 0) {
			t.Errorf("%+v", p)
		}
	})
}

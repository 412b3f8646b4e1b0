package wire

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/pcapng"
)

// Flags of the TCP header (RFC 9293).
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// Packet is one IPv4 or IPv6 packet at one interface.
type Packet struct {
	Time      time.Time
	Interface string
	Protocol  uint8          // unix.IPPROTO_TCP, _UDP, _ICMP or _ICMPV6
	TTL       uint8          // or hop limit
	ID        uint16         // IPv4 identification
	Src, Dst  netip.AddrPort // port 0 with ICMP

	Flags    uint8 // TCP, as are Seq and Ack
	Seq, Ack uint32
	Window   uint16 // as in the header, not scaled
	Payload  int    // bytes behind the transport header, as sent; captured or not

	Type, Code uint8   // ICMP
	Quoted     *Packet // that an ICMP error quotes: Protocol, addresses, ports and Seq
}

// Is says whether exactly flags are set, but for PSH.
func (p *Packet) Is(flags uint8) bool { return p.Flags&^PSH == flags && p.Protocol == unix.IPPROTO_TCP }

// Has says whether a TCP packet has all of flags set.
func (p *Packet) Has(flags uint8) bool {
	return p.Flags&flags == flags && p.Protocol == unix.IPPROTO_TCP
}

// Capture is the packets of a capture.
type Capture []Packet

// Read reads a capture of the recorder, uncompressed pcapng. What is neither IPv4 nor IPv6 is left out.
func Read(r io.Reader) (Capture, error) {
	var packets Capture
	var names []string
	for w := pcapng.NewWalker(r); ; {
		b, err := w.Next()
		if err == io.EOF {
			return packets, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read capture at byte %d: %w", w.Offset(), err)
		}
		switch b.Type {
		case pcapng.TypeSection:
			names = nil
		case pcapng.TypeInterface:
			i, err := b.Interface()
			if err != nil {
				return nil, fmt.Errorf("read capture at byte %d: %w", b.Offset, err)
			}
			names = append(names, i.Name)
		case pcapng.TypePacket:
			e, err := b.Packet()
			if err != nil || uint64(e.ID) >= uint64(len(names)) {
				return nil, fmt.Errorf("read capture at byte %d: a packet of interface %d of %d: %w", b.Offset, e.ID, len(names), err)
			}
			if p, ok := parse(e.Data, int(e.Original)); ok {
				p.Time, p.Interface = time.Unix(0, e.NS), names[e.ID]
				packets = append(packets, p)
			}
		}
	}
}

var be = binary.BigEndian

// parse reads an Ethernet frame that was so many bytes long; data may be shorter.
func parse(data []byte, original int) (p Packet, ok bool) {
	const ethernet, tag = 14, 4
	at := ethernet - 2
	for len(data) >= at+2+tag && (be.Uint16(data[at:]) == unix.ETH_P_8021Q || be.Uint16(data[at:]) == unix.ETH_P_8021AD) {
		at += tag
	}
	if len(data) < at+2 {
		return p, false
	}
	return parseIP(data[at+2:], original-at-2)
}

// parseIP reads an IP packet. length is that of the packet as sent; IP's own may be 0 in a large frame.
func parseIP(b []byte, length int) (p Packet, ok bool) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		header := int(b[0]&15) * 4
		if total := int(be.Uint16(b[2:])); total != 0 {
			length = total
		}
		p.Protocol, p.TTL, p.ID = b[9], b[8], be.Uint16(b[4:])
		p.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), 0)
		p.Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:])), 0)
		if fragment := be.Uint16(b[6:])&0x1fff != 0; fragment || header < 20 || len(b) < header {
			return p, false
		}
		return p, p.transport(b[header:], length-header)
	case len(b) >= 40 && b[0]>>4 == 6: // hosts of the laboratory send no extension headers
		if payload := int(be.Uint16(b[4:])); payload != 0 {
			length = payload + 40
		}
		p.Protocol, p.TTL = b[6], b[7]
		p.Src = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:])), 0)
		p.Dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[24:])), 0)
		return p, p.transport(b[40:], length-40)
	}
	return p, false
}

// transport reads the transport header of a segment or datagram that was so many bytes long.
func (p *Packet) transport(b []byte, length int) bool {
	ports := func() {
		p.Src = netip.AddrPortFrom(p.Src.Addr(), be.Uint16(b))
		p.Dst = netip.AddrPortFrom(p.Dst.Addr(), be.Uint16(b[2:]))
	}
	switch {
	case p.Protocol == unix.IPPROTO_TCP && len(b) >= 20:
		ports()
		p.Seq, p.Ack, p.Flags, p.Window = be.Uint32(b[4:]), be.Uint32(b[8:]), b[13], be.Uint16(b[14:])
		p.Payload = max(length-int(b[12]>>4)*4, 0)
	case p.Protocol == unix.IPPROTO_UDP && len(b) >= 8:
		ports()
		p.Payload = max(length-8, 0)
	case p.Protocol == unix.IPPROTO_ICMP && len(b) >= 8, p.Protocol == unix.IPPROTO_ICMPV6 && len(b) >= 8:
		p.Type, p.Code = b[0], b[1]
		p.quote(b[8:])
	default:
		return false
	}
	return true
}

// quote reads the packet that an ICMP error quotes, of which eight bytes behind the IP header are certain (RFC 792).
func (p *Packet) quote(b []byte) {
	v4 := p.Protocol == unix.IPPROTO_ICMP && (p.Type == 3 || p.Type == 11 || p.Type == 12)
	v6 := p.Protocol == unix.IPPROTO_ICMPV6 && p.Type < 128
	if !v4 && !v6 {
		return
	}
	q, _ := parseIP(b, len(b))
	header := 40
	if v4 && len(b) > 0 {
		header = int(b[0]&15) * 4
	}
	if !q.Src.IsValid() || len(b) < header+4 {
		return
	}
	q.Src = netip.AddrPortFrom(q.Src.Addr(), be.Uint16(b[header:]))
	q.Dst = netip.AddrPortFrom(q.Dst.Addr(), be.Uint16(b[header+2:]))
	p.Quoted = &Packet{Protocol: q.Protocol, TTL: q.TTL, Src: q.Src, Dst: q.Dst}
	if q.Protocol == unix.IPPROTO_TCP && len(b) >= header+8 {
		p.Quoted.Seq = be.Uint32(b[header+4:])
	}
}

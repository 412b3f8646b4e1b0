package wire

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Count is how many packets a condition holds for.
func (c Capture) Count(holds func(*Packet) bool) (n int) {
	for i := range c {
		if holds(&c[i]) {
			n++
		}
	}
	return n
}

// Key names a connection at an interface, by its addresses there.
type Key struct {
	Interface      string
	Client, Server netip.AddrPort
}

// Conversation is a TCP connection as one interface saw it. A segment is counted as sent
// again if what it begins with, or something behind it, was seen before in the same direction.
type Conversation struct {
	Key
	Opened bool // its SYN was seen

	FromClient, FromServer Direction
}

// Direction is one direction of a connection.
type Direction struct {
	Packets     int
	SYNs        int       // SYN, or SYN with ACK
	Data        int       // segments with payload
	Again       int       // SYNs and segments with payload that were sent again, or are late
	Gaps        int       // segments with payload behind something that was not seen: lost before the interface, or late
	FIN, RST    time.Time // the first of them; zero: none
	First, Last time.Time // of all packets

	next uint32 // sequence number behind what was seen
	any  bool   // next is known
}

// Conversations returns the TCP connections to servers. A client's port may be a server's by chance, so these are told by
// address and port. It takes packets in the order of the capture; one interface's are in order of time there, but for
// a few ms.
func (c Capture) Conversations(servers ...netip.AddrPort) map[Key]*Conversation {
	all := map[Key]*Conversation{}
	for i := range c {
		p := &c[i]
		if p.Protocol != unix.IPPROTO_TCP {
			continue
		}
		out := slices.Contains(servers, p.Dst)
		key := Key{p.Interface, p.Src, p.Dst}
		if !out {
			if !slices.Contains(servers, p.Src) {
				continue
			}
			key.Client, key.Server = p.Dst, p.Src
		}
		v := all[key]
		if v == nil {
			v = &Conversation{Key: key}
			all[key] = v
		}
		if out {
			v.Opened = v.Opened || p.Is(SYN)
			v.FromClient.add(p)
		} else {
			v.FromServer.add(p)
		}
	}
	return all
}

func (d *Direction) add(p *Packet) {
	d.Packets++
	if d.First.IsZero() {
		d.First = p.Time
	}
	d.Last = p.Time
	if p.Has(FIN) && d.FIN.IsZero() {
		d.FIN = p.Time
	}
	if p.Has(RST) {
		if d.RST.IsZero() {
			d.RST = p.Time
		}
		return
	}
	length := uint32(p.Payload)
	if p.Has(SYN) {
		d.SYNs++
		length++
	}
	if p.Payload > 0 {
		d.Data++
	}
	if length > 0 && d.any && int32(p.Seq-d.next) > 0 {
		d.Gaps++
	}
	end := p.Seq + length
	switch {
	case length > 0 && d.any && int32(p.Seq-d.next) < 0: // RFC 9293: sequence numbers wrap
		d.Again++
	case !d.any || int32(end-d.next) > 0:
		d.next, d.any = end, true
	}
}

package capture

import (
	"context"

	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/pcapng"
	"golang.org/x/sys/unix"
)

// Hardware types whose frames begin with an Ethernet header, linux/if_arp.h.
const (
	hatypeEther    = 1
	hatypeLoopback = 772
)

const (
	macLength = 14 // of an Ethernet header
	tagLength = 4  // of an 802.1Q tag
)

// header is what encode reads of a packet's header in the ring: struct tpacket3_hdr and struct sockaddr_ll.
type header [48 + 20]byte

// encode puts a block's packets into chunks. The only copy of a packet is made here. now is the wall clock's time, in ns,
// before the block was found ready.
func (r *reader) encode(ctx context.Context, b block, now int64) error {
	if err := r.refresh(ctx); err != nil {
		return err
	}
	policy := r.policy.Load().needed(b.earliest())
	end := r.end.Load()
	special := policy != nil || b.earliest() < r.since || end != 0 && b.latest() >= end
	off, packets := b.first(), b.packets()
	for range packets {
		h := (*header)(b[off:])
		e := r.seen.last
		if index := int32(native.Uint32(h[pktIndex:])); index != r.seen.index {
			e = r.lookup(index, native.Uint16(h[pktHatype:]))
		}
		at := off + int(native.Uint16(h[pktMac:]))
		p := packet{
			data:     b[at : at+int(native.Uint32(h[pktSnap:]))],
			original: native.Uint32(h[pktLen:]),
			ns:       int64(native.Uint32(h[pktSec:]))*1e9 + int64(native.Uint32(h[pktNsec:])),
			flags:    pcapng.Inbound,
		}
		if h[pktType] == unix.PACKET_OUTGOING {
			p.flags = pcapng.Outbound
		}
		off += int(native.Uint32(h[pktNext:]))
		if special || !e.plain || native.Uint32(h[pktStatus:])&unix.TP_STATUS_VLAN_VALID != 0 {
			if !r.special(&p, e, policy, h) {
				r.counts.filtered.Add(1)
				continue
			}
		}
		captured := len(p.head) + len(p.data)
		if r.chunk.Room() < pcapng.PacketSize(captured)+noteRoom {
			if err := r.turn(ctx); err != nil {
				return err
			}
		}
		if uint32(captured) < p.original {
			if captured == pcapng.SnapLen {
				r.chunk.Summary.CutLimit++
			} else {
				r.chunk.Summary.CutPolicy++
			}
		}
		r.chunk.Packet(e.id, p.ns, p.original, p.flags, p.head, p.data)
	}
	r.counts.received.Add(uint64(packets))
	if b.latest() <= now { // else the clock was set back since, and they are from a time still to come
		r.advance(b.latest() - int64(disorder))
	}
	return nil
}

// packet is one packet on its way from the ring to a chunk. data is borrowed from the block, head from the reader.
type packet struct {
	head, data []byte
	original   uint32
	ns         int64
	flags      uint32
}

// special does what most packets do not need, and says whether the packet is to be kept: leave out what another ring
// has or the policy omits, finish a coarsened or replaced filter, put a stripped tag back, make up an Ethernet header.
func (r *reader) special(p *packet, e *entry, policy eras, h *header) bool {
	if end := r.end.Load(); p.ns < r.since || end != 0 && p.ns >= end || !e.keeps(p) {
		return false
	}
	if policy != nil {
		n := policy.at(p.ns).keeps(p.data, meta(p, h))
		if n == 0 {
			return false
		}
		p.data = p.data[:min(n, len(p.data))]
	}
	switch {
	case !e.ethernet:
		r.makeLink(p, h)
	case native.Uint32(h[pktStatus:])&unix.TP_STATUS_VLAN_VALID != 0 && len(p.data) >= macLength-2:
		r.putTag(p, h)
	}
	p.data = p.data[:min(len(p.data), pcapng.SnapLen-len(p.head))]
	return true
}

// putTag puts a stripped VLAN tag back between the addresses and the type.
func (r *reader) putTag(p *packet, h *header) {
	typ, tci := tpid(h), uint16(native.Uint32(h[pktTCI:]))
	const addresses = macLength - 2
	head := append(r.scratch[:0], p.data[:addresses]...)
	head = append(head, byte(typ>>8), byte(typ), byte(tci>>8), byte(tci))
	p.head, p.data = head, p.data[addresses:]
	p.original += tagLength
}

// tpid is the type of a stripped tag.
func tpid(h *header) uint16 {
	if native.Uint32(h[pktStatus:])&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		return native.Uint16(h[pktTPID:])
	}
	return unix.ETH_P_8021Q
}

// makeLink replaces the link header of an interface that is not Ethernet, of whatever length, by an Ethernet header
// with addresses of zeros and the protocol the kernel names.
func (r *reader) makeLink(p *packet, h *header) {
	link := int(native.Uint16(h[pktNet:])) - int(native.Uint16(h[pktMac:]))
	link = max(0, min(link, len(p.data)))
	head := append(r.scratch[:0], make([]byte, macLength-2)...)
	head = append(head, h[pktProtocol], h[pktProtocol+1])
	p.head, p.data = head, p.data[link:]
	p.original += uint32(macLength - link)
}

// meta is what the kernel's filter knows of a packet beside its bytes.
func meta(p *packet, h *header) filter.Meta {
	m := filter.Meta{
		Length:   int(p.original),
		Protocol: uint16(h[pktProtocol])<<8 | uint16(h[pktProtocol+1]),
		IfIndex:  int(native.Uint32(h[pktIndex:])),
		HaType:   native.Uint16(h[pktHatype:]),
		PktType:  h[pktType],
	}
	if native.Uint32(h[pktStatus:])&unix.TP_STATUS_VLAN_VALID != 0 {
		m.VLAN, m.VLANTCI, m.VLANTPID = true, uint16(native.Uint32(h[pktTCI:])), tpid(h)
	}
	return m
}

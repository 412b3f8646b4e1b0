package pcapng

// Directions of a packet, as the epb_flags option states them (draft-ietf-opsawg-pcapng, section 4.3.1).
const (
	Inbound  uint32 = 1
	Outbound uint32 = 2
)

const (
	packetFixed    = 28 // everything before the data
	packetFlags    = 12 // epb_flags option and opt_endofopt
	packetOverhead = packetFixed + packetFlags + 4
	epbFlags       = 2
)

// PacketSize is the size in bytes of the Enhanced Packet Block of a packet with captured bytes stored.
func PacketSize(captured int) int { return packetOverhead + (captured+3)&^3 }

// PutPacket writes one Enhanced Packet Block to the start of dst and returns its size. The stored packet is head
// followed by tail, so that a tag can be put back or a link header replaced without a copy in between; head is usually
// empty. dst must have PacketSize(len(head)+len(tail)) bytes, and ns is the time since 1970 in nanoseconds.
// It allocates nothing.
func PutPacket(dst []byte, id uint32, ns int64, original, flags uint32, head, tail []byte) int {
	captured := len(head) + len(tail)
	size := packetOverhead + (captured+3)&^3
	dst = dst[:size:size]
	le.PutUint32(dst[0:], TypePacket)
	le.PutUint32(dst[4:], uint32(size))
	le.PutUint32(dst[8:], id)
	le.PutUint32(dst[12:], uint32(uint64(ns)>>32))
	le.PutUint32(dst[16:], uint32(ns))
	le.PutUint32(dst[20:], uint32(captured))
	le.PutUint32(dst[24:], original)
	end := size - packetFlags - 4
	if captured&3 != 0 {
		le.PutUint32(dst[end-4:], 0) // the padding; the data then overwrites what is its own
	}
	n := packetFixed
	if len(head) > 0 {
		n += copy(dst[n:], head)
	}
	copy(dst[n:], tail)
	le.PutUint32(dst[end:], epbFlags|4<<16)
	le.PutUint32(dst[end+4:], flags)
	le.PutUint32(dst[end+8:], 0)
	le.PutUint32(dst[size-4:], uint32(size))
	return size
}

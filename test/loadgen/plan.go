package loadgen

import (
	"encoding/binary"
	"math/rand/v2"
)

// Plan says what one source sends. The zero value of a field other than ID and Port leaves the feature out.
type Plan struct {
	ID    uint32 // of the source, below 1<<24
	Port  uint16 // TCP port of the service; even numbers are sent to it, odd ones from it
	Sizes []int  // of whole frames in bytes without FCS; raised to what the headers need; none: 60
	V6    bool   // IPv6 too
	Tags  bool   // VLAN tags too: one (0x8100), or two (0x88a8 and 0x8100)
	Flows int    // number of client ports; 0 means 64
}

// Shape is what one packet of a plan looks like.
type Shape struct {
	V6   bool
	Tags []uint16 // VLAN ids, the outer first
	Size int      // of the frame in bytes, tags included
}

const countBits = 40

// Number returns the number of the plan's n-th packet.
func (p Plan) Number(n int) uint64 { return uint64(p.ID)<<countBits | uint64(n) }

// Split is the inverse of Plan.Number.
func Split(number uint64) (id uint32, n int) {
	return uint32(number >> countBits), int(number & (1<<countBits - 1))
}

// Shape returns the shape of packet n, the same at every call.
func (p Plan) Shape(n int) Shape {
	r := rand.NewPCG(uint64(p.ID), uint64(n))
	bits := r.Uint64()
	s := Shape{V6: p.V6 && bits&1 == 1, Size: 60}
	if p.Tags {
		switch vid := uint16(1 + bits>>8%4094); bits >> 1 % 4 {
		case 0:
			s.Tags = []uint16{vid}
		case 1:
			s.Tags = []uint16{vid, vid ^ 1}
		}
	}
	if len(p.Sizes) > 0 {
		s.Size = p.Sizes[bits>>32%uint64(len(p.Sizes))]
	}
	s.Size = max(s.Size, s.headers())
	return s
}

const (
	ethernet = 14
	tag      = 4
	tcp      = 20
)

func (s Shape) network() int { return ethernet + tag*len(s.Tags) }

func (s Shape) transport() int {
	if s.V6 {
		return s.network() + 40
	}
	return s.network() + 20
}

// headers is the length of everything before the payload, which a recording without payload stores.
func (s Shape) headers() int { return s.transport() + tcp }

// Headers is how many bytes of the frame come before the payload.
func (s Shape) Headers() int { return s.headers() }

// Append appends packet n to dst.
func (p Plan) Append(dst []byte, n int) []byte {
	return p.appendShape(dst, p.Shape(n), n)
}

func (p Plan) appendShape(dst []byte, s Shape, n int) []byte {
	number := p.Number(n)
	flows := p.Flows
	if flows == 0 {
		flows = 64
	}
	client := uint16(20000 + n%flows)
	source, target := client, p.Port
	if n&1 == 1 {
		source, target = p.Port, client
	}
	be := binary.BigEndian
	dst = append(dst, 2, 0, 0, 0, 0, 9, 2, 0, 0, byte(p.ID>>16), byte(p.ID>>8), byte(p.ID))
	for i, vid := range s.Tags {
		tpid := uint16(0x8100)
		if i == 0 && len(s.Tags) == 2 {
			tpid = 0x88a8
		}
		dst = be.AppendUint16(be.AppendUint16(dst, tpid), vid)
	}
	if s.V6 {
		dst = append(dst, 0x86, 0xdd, 0x60, 0, 0, 0)
		dst = be.AppendUint16(dst, uint16(s.Size-s.transport()))
		dst = append(dst, 6, 64)
		dst = append(dst, 0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
		dst = append(dst, 0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2)
	} else {
		dst = append(dst, 0x08, 0x00, 0x45, 0)
		dst = be.AppendUint16(dst, uint16(s.Size-s.network()))
		dst = append(dst, 0, 0, 0, 0, 64, 6, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2)
	}
	dst = be.AppendUint16(be.AppendUint16(dst, source), target)
	dst = be.AppendUint32(be.AppendUint32(dst, uint32(number)), uint32(number>>32))
	dst = append(dst, 5<<4, 0x10, 1, 0, 0, 0, 0, 0)
	for i := s.headers(); i < s.Size; i++ {
		dst = append(dst, byte(i))
	}
	return dst
}

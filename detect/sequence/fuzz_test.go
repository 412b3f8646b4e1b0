package sequence

import (
	"encoding/binary"
	"testing"

	"github.com/ringside/ringside/detect/frame"
)

// FuzzNext takes any segments. What is said of them must not contradict itself, must not depend on where the numbers of either
// side begin, and must be the same without the short cut for what most segments are.
func FuzzNext(f *testing.F) {
	f.Add(uint32(0), uint32(0), []byte("\x00\x02\x00\x00\x00\x00\x01\x01\x12\x00\x00\x00\x00\x01\x00\x10\x00\x00\x00\x00\x01"))
	f.Add(uint32(1)<<31, uint32(77), []byte("\x00\x10\x00\x01\x00\x02\x64\x00\x10\x00\x01\x00\x02\x64\x01\x10\x00\x02\x00\x01\x00"))
	f.Add(uint32(5), uint32(1)<<31, []byte("\x00\x02\x00\x00\x00\x00\x05\x03\x12\x00\x00\x00\x01\x05\x02\x10\x00\x01\x00\x01\x05"+
		"\x02\x18\x00\x01\x00\x01\x25\x03\x10\x00\x01\x00\x05\x05\x03\x18\x00\x01\x00\x05\x35\x02\x10\x00\x05\x00\x0a\x05"))
	f.Fuzz(func(t *testing.T, a, b uint32, steps []byte) {
		begin := [2]uint32{a, b}
		var plain, moved State
		p := frame.Packet{Protocol: frame.TCP, Time: 1}
		for ; len(steps) >= 7; steps = steps[7:] {
			from := int(steps[0] & 1)
			p.Time += int64(steps[0]>>1) << 22 // up to half a second
			p.Flags = steps[1] & 0x3f
			p.Cut, p.Scaled, p.Scale = steps[1]&0x40 != 0, steps[1]&0x80 != 0, steps[1]>>4&7
			p.Seq, p.Ack = uint32(int16(binary.BigEndian.Uint16(steps[2:]))), uint32(int16(binary.BigEndian.Uint16(steps[4:])))
			p.Payload = uint32(steps[6]>>4) * uint32(steps[6]>>4)
			p.Window = uint16(steps[6]&15) * 100
			judged := plain
			got := plain.Next(from, &p)
			if long := judged.judge(from, &p); long != got || judged != plain {
				t.Fatalf("%v and %+v, but judged at length %v and %+v", got, plain, long, judged)
			}
			check(t, got, &plain)
			shifted := p
			shifted.Seq += begin[from]
			shifted.Ack += begin[1-from]
			if other := moved.Next(from, &shifted); other != got {
				t.Fatalf("%v, but %v where the numbers begin at %v", got, other, begin)
			}
		}
	})
}

func check(t *testing.T, f Flags, s *State) {
	t.Helper()
	if f&(FastRetransmission|Spurious|TimeOut|TailLoss) != 0 && f&Retransmission == 0 {
		t.Fatalf("%v and not sent again", f)
	}
	for _, both := range []Flags{
		TimeOut | TailLoss, FastRetransmission | TimeOut, FastRetransmission | Spurious, Retransmission | OutOfOrder, KeepAlive | Retransmission,
		DuplicateAck | WindowUpdate, LostSegment | Retransmission&^Spurious, ZeroWindowProbe | ZeroWindow,
	} {
		if f.Has(both) && !(both.Has(LostSegment) && f.Has(Spurious)) {
			t.Fatalf("%v at the same time", f)
		}
	}
	for i := range s.sides {
		d := &s.sides[i]
		if d.has&knownNext != 0 && Before(d.next, d.unbroken) {
			t.Fatalf("unbroken up to %d, behind %d, the highest that was sent", d.unbroken, d.next)
		}
		if d.duplicates < unseen || d.has&knownNext == 0 && s.Outstanding(i) != 0 {
			t.Fatalf("side %d is %+v", i, *d)
		}
	}
}

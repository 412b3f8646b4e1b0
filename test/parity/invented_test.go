package parity

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/ringside/ringside/detect/frame"
)

// TestInvented compares connections that no kernel would make: segments of any size, number and window in any order, over
// the wrap of the numbers, with ends in the middle and beginnings anew.
func TestInvented(t *testing.T) {
	need(t, "tshark")
	seed := uint64(1)
	if os.Getenv("RINGSIDE_SEED") == "random" {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	frames := 20_000
	if os.Getenv("RINGSIDE_PROOFS") != "" {
		frames = 100_000
	}
	all := make(scores, len(compared))
	all.compare(t, invented(frames, rand.New(rand.NewPCG(seed, 0))))
	all.judge(t)
	for k, c := range compared {
		if all[k].both < least {
			t.Errorf("%s: both say it of %d segments, want at least %d to compare", c.field, all[k].both, least)
		}
	}
}

// talker is one end of an invented connection.
type talker struct {
	first, next, ack uint32
	window           uint16
	scale            int  // of a SYN; -1: it has none
	repeat           int  // how often the next acknowledgement is repeated
	opened           bool // by a handshake that was captured
}

// connection is what was invented of one so far.
type connection struct {
	ends   [2]talker
	opened int // segments of the handshake that were sent
}

// invented is connections of so many frames altogether.
func invented(frames int, r *rand.Rand) *view {
	v := &view{name: "invented"}
	var all [64]connection
	for c := range all {
		all[c] = begin(r)
	}
	ns := int64(1_800_000_000_000_000_000)
	for len(v.frames) < frames {
		c, n := r.IntN(len(all)), r.IntN(8)+1 // a few in a row
		renewed := r.IntN(100) == 0
		for i := range n {
			if renewed && i == 1 {
				all[c] = begin(r)
			}
			from, header, payload := all[c].say(r, renewed && i == 0)
			ns += r.Int64N(1_500_000)
			v.frames = append(v.frames, record{ns, uint32(34 + len(header) + payload), ethernet(c, from, header, payload)})
		}
	}
	return v
}

// begin makes a connection, half of them without their handshake, of numbers that wrap soon on one side.
func begin(r *rand.Rand) connection {
	a, b := r.Uint32()|1, -uint32(r.IntN(40_000))|1
	c := connection{opened: r.IntN(2) * 3}
	c.ends[0] = talker{first: a, next: a + 1, ack: b + 1, window: 500, scale: r.IntN(9) - 1, opened: c.opened == 0}
	c.ends[1] = talker{first: b, next: b + 1, ack: a + 1, window: 500, scale: r.IntN(9) - 1, opened: c.opened == 0}
	if c.ends[0].scale < 0 {
		c.ends[1].scale = -1 // RFC 7323, section 2.2: only in answer to one
	}
	return c
}

var (
	payloads = []int{0, 0, 0, 0, 1, 1, 2, 100, 100, 1448, 1448, 1448, 30_000}
	windows  = []uint16{0, 0, 100, 501, 65535}
)

// say makes the next segment: first those of a handshake, then mostly one that fits what was said before. It returns the
// header, and the length of what follows it. The last one has FIN.
func (c *connection) say(r *rand.Rand, last bool) (from int, header []byte, payload int) {
	if d := c.ends[0]; last {
		return 0, tcp(d.next, d.ack, frame.FIN|frame.ACK, d.window, d.scale), 0
	}
	if c.opened < 3 {
		from, flags := c.opened%2, [3]uint8{frame.SYN, frame.SYN | frame.ACK, frame.ACK}[c.opened]
		c.opened++
		d := &c.ends[from]
		seq := d.first
		if flags == frame.ACK {
			seq = d.next
		}
		return from, tcp(seq, d.ack, flags, d.window, d.scale), 0
	}
	from = r.IntN(2)
	header, payload = c.ends[from].say(&c.ends[1-from], r)
	return from, header, payload
}

// say makes a segment of an open connection, at times any other than due.
func (d *talker) say(other *talker, r *rand.Rand) (header []byte, payload int) {
	seq, flags := d.next, uint8(frame.ACK)
	payload = payloads[r.IntN(len(payloads))]
	if d.repeat > 0 {
		d.repeat--
		return tcp(seq, d.ack, flags, d.window, d.scale), 0
	}
	switch r.IntN(60) {
	case 0, 1, 2:
		seq -= uint32(r.IntN(4000)) // again
	case 3, 4, 5, 6, 7:
		seq = other.ack // again, what the other side asks for
	case 8:
		seq += uint32(r.IntN(3000)) // behind a gap
	case 9, 10:
		seq-- // a keep-alive, or a probe
		payload = r.IntN(3)
	case 11:
		flags |= frame.FIN
	case 12:
		if d.opened && r.IntN(4) == 0 {
			seq, flags, payload = d.first, frame.SYN, 0
		}
	case 13:
		if r.IntN(8) == 0 {
			flags, payload = frame.RST|uint8(r.IntN(2)*frame.ACK), 0
		}
	case 14, 15, 16, 17, 18, 19:
		payload = int(d.left(other)) // all that the other side takes
	case 20, 21, 22:
		d.repeat = r.IntN(6)
		payload = 0
	}
	switch r.IntN(6) {
	case 0:
		d.ack = other.next
	case 1:
		d.ack += uint32(r.IntN(1500))
	}
	if r.IntN(4) == 0 {
		d.window = windows[r.IntN(len(windows))]
	}
	if end := seq + uint32(payload); int32(end-d.next) > 0 && flags&(frame.RST|frame.SYN) == 0 {
		d.next = end
	}
	return tcp(seq, d.ack, flags, d.window, d.scale), payload
}

// left is what the window of the other side has room for.
func (d *talker) left(other *talker) uint32 {
	if n := other.ack + uint32(other.window)<<max(0, other.scale) - d.next; n < 60_000 {
		return n
	}
	return 1
}

func tcp(seq, ack uint32, flags uint8, window uint16, scale int) []byte {
	h := make([]byte, 20, 24)
	be := binary.BigEndian
	be.PutUint32(h[4:], seq)
	if flags&frame.ACK != 0 {
		be.PutUint32(h[8:], ack)
	}
	be.PutUint16(h[14:], window)
	if flags&frame.SYN != 0 && scale >= 0 {
		h = append(h, 3, 3, uint8(scale), 0) // RFC 7323, section 2.2
	}
	h[12], h[13] = uint8(len(h)/4)<<4, flags
	return h
}

// ethernet is a frame of connection c that has the header and none of the payload, as where only headers are captured.
func ethernet(c, from int, header []byte, payload int) []byte {
	b := make([]byte, 34, 34+len(header))
	be := binary.BigEndian
	be.PutUint16(b[12:], 0x0800)
	b[14], b[22], b[23] = 0x45, 64, frame.TCP
	be.PutUint16(b[16:], uint16(20+len(header)+payload))
	address := [2][]byte{{10, 0, 0, 1}, {10, 0, 0, 2}}
	copy(b[26:], address[from])
	copy(b[30:], address[1-from])
	port := [2]uint16{uint16(20_000 + c), 8000}
	be.PutUint16(header, port[from])
	be.PutUint16(header[2:], port[1-from])
	return append(b, header...)
}

package sequence

import (
	"testing"
	"time"

	"github.com/ringside/ringside/detect/frame"
)

// Sides of the connections here, and where their numbers begin: the client's wrap after some 1000 bytes.
const (
	client = 0
	server = 1
)

var initial = [2]uint32{1<<32 - 1000, 5_000_000}

// segment is one step: when it is seen, in milliseconds, and what is due of it. seq and ack count from the first byte.
type segment struct {
	at       float64
	from     int
	flags    uint8 // ACK if 0
	seq, ack int
	payload  uint32
	window   uint16 // 500 if 0; closed is 0
	want     Flags
}

const closed = 0xffff // stands for a window of 0

func (g segment) packet() *frame.Packet {
	p := &frame.Packet{
		Protocol: frame.TCP, Time: 1_800_000_000_000_000_000 + int64(g.at*1e6), Payload: g.payload, Window: 500, Flags: frame.ACK,
		Seq: initial[g.from] + 1 + uint32(g.seq),
	}
	if g.flags != 0 {
		p.Flags = g.flags
	}
	if p.Flags&frame.ACK != 0 {
		p.Ack = initial[1-g.from] + 1 + uint32(g.ack)
	}
	switch g.window {
	case 0:
	case closed:
		p.Window = 0
	default:
		p.Window = g.window
	}
	if p.Flags&frame.SYN != 0 {
		p.Seq--
		p.Scaled, p.Scale = true, 2
	}
	return p
}

// open is a handshake with a round trip of 10 ms.
var open = []segment{
	{at: 0, from: client, flags: frame.SYN},
	{at: 9, from: server, flags: frame.SYN | frame.ACK},
	{at: 10, from: client},
}

func TestNext(t *testing.T) {
	for _, c := range []struct {
		name     string
		segments []segment
	}{
		{"nothing special", append(open[:3:3],
			segment{at: 11, from: client, payload: 100},
			segment{at: 20, from: server, ack: 100},
			segment{at: 21, from: server, ack: 100, payload: 3000},
			segment{at: 22, from: client, seq: 100, ack: 3000, payload: 5000}, // over the wrap
			segment{at: 30, from: server, seq: 3000, ack: 5100},
			segment{at: 31, from: client, seq: 5100, ack: 3000, flags: frame.FIN | frame.ACK},
			segment{at: 39, from: server, seq: 3000, ack: 5101, flags: frame.FIN | frame.ACK},
			segment{at: 40, from: client, seq: 5101, ack: 3001},
		)},
		{"time-out", append(open[:3:3],
			segment{at: 11, from: client, payload: 100},
			segment{at: 12, from: client, seq: 100, payload: 100},
			segment{at: 222, from: client, payload: 100, want: Retransmission | TimeOut},
			segment{at: 622, from: client, payload: 100, want: Retransmission | TimeOut},
			segment{at: 630, from: server, ack: 100},
			segment{at: 631, from: client, seq: 100, payload: 100, want: Retransmission},
		)},
		{"SYN again", []segment{
			{at: 0, from: client, flags: frame.SYN},
			{at: 1010, from: client, flags: frame.SYN, want: Retransmission | TimeOut},
			{at: 3020, from: client, flags: frame.SYN, want: Retransmission | TimeOut},
			{at: 3030, from: server, flags: frame.SYN | frame.ACK},
		}},
		{"tail loss", append(open[:3:3],
			segment{at: 11, from: client, payload: 100},
			segment{at: 11, from: client, seq: 100, payload: 100},
			segment{at: 34, from: client, seq: 100, payload: 100, want: Retransmission | TailLoss},
			segment{at: 260, from: client, payload: 100, want: Retransmission | TimeOut},
		)},
		{"captured twice", append(open[:3:3],
			segment{at: 11, from: client, payload: 100},
			segment{at: 11.01, from: client, payload: 100, want: Retransmission},
		)},
		{"fast", append(open[:3:3],
			segment{at: 30, from: client, payload: 100},
			segment{at: 30, from: client, seq: 200, payload: 100, want: LostSegment},
			segment{at: 31, from: client, seq: 300, payload: 100},
			segment{at: 39, from: server, ack: 100},
			segment{at: 40, from: server, ack: 100, want: DuplicateAck},
			segment{at: 41, from: server, ack: 100, want: DuplicateAck},
			segment{at: 50, from: client, seq: 100, payload: 100, want: Retransmission | FastRetransmission},
		)},
		{"out of order", append(open[:3:3],
			segment{at: 30, from: client, seq: 100, payload: 100, want: LostSegment},
			segment{at: 39, from: client, payload: 100, want: OutOfOrder},
			segment{at: 40, from: client, seq: 200, payload: 100},
		)},
		{"too late for out of order", append(open[:3:3],
			segment{at: 30, from: client, seq: 100, payload: 100, want: LostSegment},
			segment{at: 41, from: client, payload: 100, want: Retransmission},
		)},
		{"spurious", append(open[:3:3],
			segment{at: 11, from: client, payload: 100},
			segment{at: 20, from: server, ack: 100},
			segment{at: 240, from: client, payload: 100, want: Retransmission | Spurious | TimeOut},
		)},
		{"closed window, as Linux probes it", append(open[:3:3],
			segment{at: 11, from: client, payload: 500, want: WindowFull}, // that of a SYN is not scaled
			segment{at: 20, from: server, ack: 500},
			segment{at: 21, from: client, seq: 500, payload: 2000, want: WindowFull}, // 500 << 2
			segment{at: 30, from: server, ack: 2500, window: closed, want: ZeroWindow},
			segment{at: 230, from: client, seq: 2499, want: KeepAlive},
			segment{at: 240, from: server, ack: 2500, window: closed, want: ZeroWindow},
			segment{at: 300, from: server, ack: 2500, window: 700, want: WindowUpdate},
			segment{at: 301, from: client, seq: 2500, payload: 10},
		)},
		{"closed window, probed by a byte", append(open[:3:3],
			segment{at: 11, from: client, payload: 300},
			segment{at: 20, from: server, ack: 300, window: closed, want: ZeroWindow},
			segment{at: 230, from: client, seq: 300, payload: 1, want: ZeroWindowProbe},
			segment{at: 240, from: server, ack: 300, window: closed, want: ZeroWindow | ZeroWindowProbeAck},
			segment{at: 300, from: server, ack: 300, want: WindowUpdate},
			segment{at: 301, from: client, seq: 300, payload: 100},
		)},
		{"keep-alive", append(open[:3:3],
			segment{at: 11, from: client, payload: 300},
			segment{at: 20, from: server, ack: 300},
			segment{at: 9000, from: client, seq: 299, want: KeepAlive},
			segment{at: 9010, from: server, ack: 300, want: KeepAliveAck},
			segment{at: 18000, from: client, seq: 299, payload: 1, want: KeepAlive},
			segment{at: 18010, from: server, ack: 300, want: KeepAliveAck},
			segment{at: 18100, from: client, seq: 300, payload: 100},
			segment{at: 18110, from: server, ack: 300, want: DuplicateAck},
		)},
		{"not captured", append(open[:3:3],
			segment{at: 11, from: client, payload: 100},
			segment{at: 20, from: server, ack: 5000, want: AckedUnseen},
			segment{at: 21, from: server, ack: 5000, want: DuplicateAck},
			segment{at: 22, from: client, seq: 5000, payload: 100, want: LostSegment},
			segment{at: 30, from: server, ack: 5100, want: AckedUnseen},
			segment{at: 31, from: client, seq: 5100, payload: 100},
		)},
		{"from its middle", []segment{
			{at: 0, from: server, seq: 7000, ack: 400, payload: 100},
			{at: 9, from: client, seq: 400, ack: 7100},
			{at: 20, from: server, seq: 7100, ack: 400, payload: 100},
			{at: 230, from: server, seq: 7100, ack: 400, payload: 100, want: Retransmission | TimeOut},
		}},
		{"acknowledged before it was captured", []segment{
			{at: 0, from: server, seq: 7000, ack: 900},
			{at: 500, from: client, seq: 400, ack: 7000, payload: 100, want: Retransmission | Spurious},
		}},
		{"port used again", append(open[:3:3],
			segment{at: 11, from: client, payload: 100},
			segment{at: 12, from: client, seq: 100, flags: frame.FIN | frame.ACK},
			segment{at: 500, from: client, seq: 90_000, flags: frame.SYN, want: PortReused},
			segment{at: 509, from: server, seq: 77_000, ack: 90_000, flags: frame.SYN | frame.ACK},
			segment{at: 510, from: client, seq: 90_000, ack: 77_000},
		)},
		{"SYN that is answered after the end was not captured", append(open[:3:3],
			segment{at: 11, from: client, payload: 100},
			segment{at: 500, from: client, seq: 90_000, flags: frame.SYN, want: PortReused},
			segment{at: 1500, from: client, seq: 90_000, flags: frame.SYN, want: Retransmission | TimeOut},
			segment{at: 1509, from: server, seq: 77_000, ack: 90_000, flags: frame.SYN | frame.ACK},
			segment{at: 1510, from: client, seq: 90_000, ack: 77_000},
			segment{at: 1511, from: client, seq: 90_000, ack: 77_000, payload: 500, want: WindowFull},
		)},
		{"SYN whose answer was not captured", append(open[:3:3],
			segment{at: 500, from: client, seq: 90_000, flags: frame.SYN, want: PortReused},
			segment{at: 510, from: client, seq: 90_000, ack: 77_000},
			segment{at: 520, from: server, seq: 77_000, ack: 90_000, payload: 10},
		)},
		{"SYN that is answered by a challenge, a reset of the connection before, and a SYN with ACK", append(open[:3:3],
			segment{at: 500, from: client, seq: 90_000, flags: frame.SYN, want: PortReused},
			segment{at: 509, from: server, want: DuplicateAck},
			segment{at: 510, from: client, flags: frame.RST, want: Reset},
			segment{at: 1500, from: client, seq: 90_000, flags: frame.SYN, want: Retransmission | TimeOut},
			segment{at: 1509, from: server, seq: 77_000, ack: 90_000, flags: frame.SYN | frame.ACK},
			segment{at: 1510, from: client, seq: 90_000, ack: 77_000},
		)},
		{"SYN that is answered by a challenge", append(open[:3:3],
			segment{at: 11, from: client, payload: 100},
			segment{at: 500, from: client, seq: 90_000, flags: frame.SYN, want: PortReused},
			segment{at: 509, from: server, ack: 100},
			segment{at: 520, from: client, seq: 100, payload: 100},
			segment{at: 529, from: server, ack: 200},
		)},
		{"reset with what was lost before it", append(open[:3:3],
			segment{at: 11, from: client, seq: 300, flags: frame.RST, window: closed, want: Reset},
			segment{at: 23, from: client, payload: 300, want: Retransmission | TailLoss},
		)},
		{"reset that nobody takes", append(open[:3:3],
			segment{at: 11, from: server, seq: 1 << 20, flags: frame.RST, window: closed, want: Reset},
			segment{at: 12, from: server, payload: 100},
			segment{at: 13, from: client, ack: 100},
		)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s State
			for i, g := range c.segments {
				if got := s.Next(g.from, g.packet()); got != g.want {
					t.Fatalf("segment %d is %v, want %v", i, got, g.want)
				}
			}
		})
	}
}

// after is the state when all segments have passed.
func after(segments ...segment) *State {
	var s State
	for _, g := range append(open[:3:3], segments...) {
		s.Next(g.from, g.packet())
	}
	return &s
}

func TestLook(t *testing.T) {
	s := after(
		segment{at: 11, from: client, payload: 100},
		segment{at: 12, from: client, seq: 100, payload: 200},
		segment{at: 20, from: server, ack: 100, window: 700},
		segment{at: 21, from: server, ack: 100, window: 700},
		segment{at: 22, from: server, ack: 100, window: 700},
		segment{at: 240, from: client, seq: 100, payload: 200},
		segment{at: 640, from: client, seq: 100, payload: 200},
	)
	if seq, ok := s.Sent(client); !ok || seq != initial[client]+301 {
		t.Errorf("sent %d %v, want %d", seq, ok, initial[client]+301)
	}
	if ack, ok := s.Acked(client); !ok || ack != initial[client]+101 {
		t.Errorf("acked %d %v, want %d", ack, ok, initial[client]+101)
	}
	if ack, ok := s.LastAck(server); !ok || ack != initial[client]+101 {
		t.Errorf("last acknowledgement %d %v, want %d", ack, ok, initial[client]+101)
	}
	if n := s.Outstanding(client); n != 200 {
		t.Errorf("outstanding %d, want 200", n)
	}
	if n := s.Outstanding(server); n != 0 {
		t.Errorf("outstanding of the server %d, want 0", n)
	}
	if n, ok := s.Window(server); !ok || n != 2800 || !s.Scaled(server) {
		t.Errorf("window %d %v, scaled %v, want 700 << 2", n, ok, s.Scaled(server))
	}
	if n := s.DuplicateAcks(server); n != 2 {
		t.Errorf("%d duplicates, want 2", n)
	}
	if n := s.Repeats(client); n != 2 {
		t.Errorf("%d repeats, want 2", n)
	}
	if d := s.RTT(); d != 10*time.Millisecond {
		t.Errorf("round trip %v, want 10ms", d)
	}
	s.Next(server, segment{at: 650, from: server, ack: 300}.packet())
	if n := s.Repeats(client); n != 0 {
		t.Errorf("%d repeats after an acknowledgement, want 0", n)
	}
	if n := s.Outstanding(client); n != 0 {
		t.Errorf("outstanding %d after an acknowledgement, want 0", n)
	}
}

func TestNothingKnown(t *testing.T) {
	var s State
	s.Next(client, &frame.Packet{Protocol: frame.TCP, Cut: true})                  // less than the flags
	s.Next(client, &frame.Packet{Protocol: frame.TCP, Flags: frame.RST, Seq: 100}) // made up
	if s != (State{}) {
		t.Errorf("the state is %+v, want nothing", s)
	}
	for side := range 2 {
		_, sent := s.Sent(side)
		_, acked := s.Acked(side)
		_, last := s.LastAck(side)
		_, window := s.Window(side)
		if sent || acked || last || window || s.Scaled(side) || s.Outstanding(side) != 0 || s.RTT() != 0 {
			t.Errorf("side %d is said to be known", side)
		}
	}
}

// A SYN whose options were not captured says nothing of the factor.
func TestCutSYN(t *testing.T) {
	var s State
	p := segment{from: client, flags: frame.SYN}.packet()
	p.Cut, p.Scaled, p.Scale = true, false, 0
	s.Next(client, p)
	if s.Scaled(client) || s.Scaled(server) {
		t.Error("the factor is said to be known")
	}
	p.Cut = false
	s.Next(client, p)
	if !s.Scaled(client) || !s.Scaled(server) {
		t.Error("a SYN without a factor says that there is none on either side")
	}
}

func TestFlags(t *testing.T) {
	for f, want := range map[Flags]string{
		0:                               "",
		Retransmission | TimeOut:        "retransmission,time_out",
		ZeroWindow | ZeroWindowProbeAck: "zero_window,zero_window_probe_ack",
		TailLoss:                        "tail_loss",
	} {
		if got := f.String(); got != want {
			t.Errorf("%b is %q, want %q", f, got, want)
		}
	}
	if f := Retransmission | TimeOut; !f.Has(TimeOut) || f.Has(TimeOut|Spurious) {
		t.Error("Has wants all")
	}
}

package sequence

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/ringside/ringside/detect/frame"
)

// TestSize holds the state to what tens of thousands of connections can afford.
func TestSize(t *testing.T) {
	if size := unsafe.Sizeof(State{}); size > 144 {
		t.Errorf("a state takes %d bytes, want at most 144", size)
	}
}

// BenchmarkNext takes segments of 10,000 connections in random order: requests, answers and what acknowledges them.
func BenchmarkNext(b *testing.B) {
	const connections = 10_000
	states := make([]State, connections)
	order := make([]uint16, 1<<16)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range order {
		order[i] = uint16(r.IntN(connections))
	}
	turn := make([]uint8, connections)
	p := frame.Packet{Protocol: frame.TCP, Flags: frame.ACK, Window: 500}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c := order[i&(len(order)-1)]
		s := &states[c]
		side := int(turn[c] & 1)
		turn[c]++
		p.Time += 1000
		p.Payload = 100
		p.Seq = s.sides[side].next
		p.Ack = s.sides[1-side].next
		s.Next(side, &p)
	}
}

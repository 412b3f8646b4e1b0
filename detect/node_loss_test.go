package detect_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/frame"
)

// TestLossOfMany finds each of the connections of a busy node that go on from other ports within the same second.
func TestLossOfMany(t *testing.T) {
	const many = 8000
	w, server := &wire{}, endpoint("10.99.0.5", 5432)
	r := rand.New(rand.NewPCG(1, 2))
	list := make([]*conn, many)
	for i := range list {
		list[i] = &conn{w, endpoint("10.20.0.10", uint16(10000+i)), server, r.Uint32(), r.Uint32()}
		list[i].open(time.Duration(i) * time.Millisecond / 4)
	}
	at := 4 * time.Second
	for i, c := range list {
		at := at + time.Duration(i)*time.Millisecond/8
		c.up(at, frame.ACK|frame.PSH, 100)
		c.down(at+roundTrip, frame.ACK|frame.PSH, 100)
		c.up(at+2*roundTrip, frame.ACK, 0)
	}
	at += 2 * time.Second
	for i, c := range list {
		at := at + time.Duration(r.IntN(1000))*time.Millisecond
		c.client.Port = uint16(40000 + i)
		c.up(at, frame.ACK|frame.PSH, 100)
		c.send(at+roundTrip, frame.Packet{Protocol: frame.TCP, Src: c.server, Dst: c.client, Seq: c.s, Flags: frame.RST})
	}
	found := w.detect().Findings
	if len(found) != 1 || found[0].Class != detect.ConntrackLoss || found[0].Rule != "port-migration" || found[0].Count != many {
		t.Errorf("found %+v, want one finding of %d connections", found, many)
	}
}

package track

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/ringside/ringside/detect/frame"
)

func endpoint(n uint32, port uint16) frame.Endpoint {
	var e frame.Endpoint
	e.Addr[10], e.Addr[11] = 0xff, 0xff
	binary.BigEndian.PutUint32(e.Addr[12:], n)
	e.Port = port
	return e
}

// TestEviction fills a table far beyond its limit: what is in it is found, what gave way is gone, and the count is exact.
func TestEviction(t *testing.T) {
	const limit, all = 1000, 20000
	table := NewTable(limit)
	server := endpoint(0x0a630005, 5432)
	table.Gone = func(c *Conversation) {
		if c.Serial == 0 {
			t.Fatal("nothing gave way")
		}
	}
	serials := map[uint16]uint64{}
	for i := range all {
		p := frame.Packet{Time: int64(i) * int64(time.Millisecond), Protocol: frame.TCP, Flags: frame.SYN, Src: endpoint(1, uint16(20000+i)), Dst: server}
		serials[p.Src.Port] = table.Packet(&p, table.Hash(&p)).Serial
	}
	if table.Len() != limit || table.Evicted != all-limit || table.Total != all {
		t.Fatalf("%d conversations, %d evicted of %d", table.Len(), table.Evicted, table.Total)
	}
	found := 0
	for port, serial := range serials {
		if c := table.Find(0, server, endpoint(1, port)); c != nil {
			if found++; c.Serial != serial || c.Client.Port != port {
				t.Fatalf("port %d is conversation %d from port %d, not %d", port, c.Serial, c.Client.Port, serial)
			}
		}
	}
	each := 0
	table.Each(func(*Conversation) { each++ })
	if found != limit || each != limit {
		t.Fatalf("%d found, %d visited, of %d", found, each, limit)
	}
}

// TestLeastActive holds that a flood of SYNs does not drive out connections that talk.
func TestLeastActive(t *testing.T) {
	table := NewTable(1000)
	server := endpoint(0x0a630005, 5432)
	talk := func(port uint16, at int64) {
		for _, p := range []frame.Packet{
			{Flags: frame.SYN, Src: endpoint(1, port), Dst: server},
			{Flags: frame.SYN | frame.ACK, Src: server, Dst: endpoint(1, port), Ack: 1},
			{Flags: frame.ACK, Src: endpoint(1, port), Dst: server, Seq: 1, Ack: 1},
		} {
			p.Time, p.Protocol = at, frame.TCP
			table.Packet(&p, table.Hash(&p))
		}
	}
	for i := range 100 {
		talk(uint16(1000+i), int64(i))
	}
	for i := range 100_000 {
		p := frame.Packet{Time: int64(time.Second) + int64(i), Protocol: frame.TCP, Flags: frame.SYN, Src: endpoint(uint32(2+i), 4242), Dst: server}
		table.Packet(&p, table.Hash(&p))
	}
	for i := range 100 {
		if table.Find(0, server, endpoint(1, uint16(1000+i))) == nil {
			t.Fatalf("connection %d gave way to a SYN of a flood", i)
		}
	}
}

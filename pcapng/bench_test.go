package pcapng

import (
	"fmt"
	"testing"
)

func BenchmarkPutPacket(b *testing.B) {
	for _, size := range []int{64, 1400} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			dst, data := make([]byte, PacketSize(size)), make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				PutPacket(dst, 1, 1795375200_000000000, uint32(size), Inbound, nil, data)
			}
		})
	}
}

func BenchmarkChunkPacket(b *testing.B) {
	for _, size := range []int{64, 1400} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			c, table, data := NewChunk(make([]byte, ChunkSize)), &Table{}, make([]byte, size)
			c.Reset(table, "eth0", 1)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if c.Room() < PacketSize(size) {
					c.Reset(table, "eth0", 1)
				}
				c.Packet(1, 1795375200_000000000, uint32(size), Inbound, nil, data)
			}
		})
	}
}

// Putting a packet into a chunk must not allocate: it is done a million times a second.
func TestPacketsAllocateNothing(t *testing.T) {
	c, table, data := NewChunk(make([]byte, ChunkSize)), &Table{}, make([]byte, 64)
	c.Reset(table, "eth0", 1)
	c.Packet(7, 1, 64, Inbound, nil, data) // makes room for the count of interface 7
	if n := testing.AllocsPerRun(1000, func() {
		if c.Room() < PacketSize(64) {
			c.Reset(table, "eth0", 1)
		}
		c.Packet(7, 1, 64, Inbound, nil, data)
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

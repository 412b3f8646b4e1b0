package capture

import (
	"context"
	"math"
	"testing"

	"github.com/ringside/ringside/pcapng"
)

// BenchmarkEncode is the cost of one packet from a ring block to a chunk, without the kernel.
func BenchmarkEncode(b *testing.B) {
	for _, size := range []int{64, 1400} {
		b.Run(map[int]string{64: "64B", 1400: "1400B"}[size], func(b *testing.B) {
			blk := make(block, blockSize)
			packets := fillBlock(blk, size)
			sink := recycler{free: make(chan *pcapng.Chunk, 1)}
			sink.free <- pcapng.NewChunk(make([]byte, pcapng.ChunkSize))
			dir := newDirectory(rules{{Name: "*"}})
			dir.known[7] = &iface{link: link{name: "up0", index: 7, up: true}, state: StateRecording, ring: "up0", received: dir.counter("up0")}
			dir.list(dir.known[7])
			r, err := newReader("up0", &ring{retire: minRetire}, 0, dir, sink)
			if err != nil {
				b.Fatal(err)
			}
			if err := r.begin(context.Background()); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for n := 0; n < b.N; n += packets {
				r.seen.generation = dir.generation.Load()
				if err := r.encode(context.Background(), blk, math.MaxInt64); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// fillBlock lays packets into a block as the kernel does, and returns how many.
func fillBlock(b block, size int) int {
	const first, mac = 48, 82
	stride := (mac + size + 7) &^ 7
	n := (len(b) - first) / stride
	native.PutUint32(b[blkPackets:], uint32(n))
	native.PutUint32(b[blkFirst:], first)
	for i := range n {
		h := b[first+i*stride:]
		native.PutUint32(h[pktNext:], uint32(stride))
		native.PutUint32(h[pktSec:], 1_700_000_000)
		native.PutUint32(h[pktNsec:], uint32(i))
		native.PutUint32(h[pktSnap:], uint32(size))
		native.PutUint32(h[pktLen:], uint32(size))
		native.PutUint16(h[pktMac:], mac)
		native.PutUint16(h[pktNet:], mac+macLength)
		native.PutUint32(h[pktIndex:], 7)
		native.PutUint16(h[pktHatype:], hatypeEther)
	}
	return n
}

// recycler is a sink that gives its only chunk back at once.
type recycler struct{ free chan *pcapng.Chunk }

func (r recycler) Get(context.Context) (*pcapng.Chunk, error) { return <-r.free, nil }
func (r recycler) Put(c *pcapng.Chunk)                        { r.free <- c }
func (r recycler) Note(pcapng.Note)                           {}

package series

import "math/bits"

// Cells are a quarter of an octave wide, from 2^firstOctave ns (16 µs) to 2^lastOctave ns (69 s); the first cell takes what is
// shorter, the last what is longer.
const (
	firstOctave = 14
	lastOctave  = 36
	perOctave   = 4
	cells       = (lastOctave-firstOctave)*perOctave + 2
)

// bucket is a Bucket that still takes something: percentiles are in its cells.
type bucket struct {
	Bucket // without P50 and P95
	cells  [cells]uint32
}

// cell is where an answer that took so many ns is counted.
func cell(ns int64) int {
	if ns < 1<<firstOctave {
		return 0
	}
	if ns >= 1<<lastOctave {
		return cells - 1
	}
	octave := bits.Len64(uint64(ns)) - 1
	quarter := int(ns>>(octave-2)) & (perOctave - 1)
	return 1 + (octave-firstOctave)*perOctave + quarter
}

// middle is what an answer of a cell is taken to be, in ns.
func middle(cell int) int64 {
	if cell == 0 {
		return 1 << (firstOctave - 1)
	}
	octave, quarter := firstOctave+(cell-1)/perOctave, int64((cell-1)%perOctave)
	width := int64(1) << (octave - 2)
	return (perOctave+quarter)*width + width/2
}

// merge adds what another bucket has.
func (b *bucket) merge(o *bucket) {
	b.Answers += o.Answers
	b.Max = max(b.Max, o.Max)
	b.Connects += o.Connects
	b.ConnectMax = max(b.ConnectMax, o.ConnectMax)
	b.Refused += o.Refused
	b.Unanswered += o.Unanswered
	b.Resets += o.Resets
	b.Retransmitted += o.Retransmitted
	b.ZeroWindows += o.ZeroWindows
	b.TimeOuts += o.TimeOuts
	b.Bytes += o.Bytes
	if o.Answers > 0 {
		for i, n := range o.cells {
			b.cells[i] += n
		}
	}
}

// finish is the bucket with its percentiles.
func (b *bucket) finish() Bucket {
	out := b.Bucket
	out.P50, out.P95 = b.percentile(50), b.percentile(95)
	return out
}

// percentile is the response time that so many percent of the answers did not exceed.
func (b *bucket) percentile(percent uint64) int64 {
	if b.Answers == 0 {
		return 0
	}
	rank := (b.Answers*percent + 99) / 100
	var n uint64
	for i, c := range b.cells[:cells-1] {
		if n += uint64(c); n >= rank {
			return min(middle(i), b.Max)
		}
	}
	return b.Max
}

package rotate

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/ringside/ringside/pcapng"
)

// seedSegment is a small whole segment: two chunks, a note, and an interface that came later.
func seedSegment() []byte {
	b := newBuilder("eth0", "veth1")
	b.chunk("eth0", 0, 5, 60)
	b.table.Add(pcapng.Interface{Name: "veth2"})
	b.chunk("shared", 2, 5, 60, pcapng.Note{Kind: pcapng.NoteDropped, Ring: "shared", From: second, To: second + 9, Packets: 3})
	return b.out
}

// Whatever a dead process left: the walk ends, the chunks it finds lie in what is kept, can be read, and are found
// again when the rest has been cut off.
func FuzzRecovery(f *testing.F) {
	seed := seedSegment()
	f.Add(seed)
	f.Add(seed[:len(seed)-5000])
	f.Add(seed[:4096+300])
	f.Add(bytes.Repeat([]byte{0}, 8192))
	f.Add([]byte{})
	for _, off := range []int{4, 4100, 4104, 8192, 8200, 8300} {
		b := bytes.Clone(seed)
		b[off] ^= 0x41
		f.Add(b)
	}
	buf, err := readBuffer()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file := &segmentFile{ReaderAt: bytes.NewReader(b), buf: buf}
		x, end, err := rebuild(file, int64(len(b)))
		if err != nil {
			if !errors.Is(err, errNoSegment) {
				t.Fatal(err)
			}
			return
		}
		if end > int64(len(b)) || x.Bytes != end {
			t.Fatalf("%d bytes are kept of %d, the index says %d", end, len(b), x.Bytes)
		}
		must(t, x.check())
		w := &Window{asked: span{math.MinInt64, math.MaxInt64}}
		o := &output{received: make([]uint64, len(x.Table)), first: map[string]uint32{}}
		remap := make([]uint32, len(x.Table))
		for i := range x.chunks {
			c, err := file.view(x.chunks[i].Offset, int(x.chunks[i].Data))
			must(t, err)
			if _, err := w.cut(o, c, &x.chunks[i], remap); err != nil {
				t.Errorf("chunk %d: %v", i, err)
			}
		}
		y, again, err := rebuild(&segmentFile{ReaderAt: bytes.NewReader(b[:end]), buf: buf}, end)
		if err != nil || again != end || y.Segment != x.Segment {
			t.Errorf("after cutting to %d: %+v to %d, %v; before %+v", end, y.Segment, again, err, x.Segment)
		}
	})
}

// Arbitrary bytes as an index are refused, or describe chunks that lie in the segment and survive encoding.
func FuzzIndex(f *testing.F) {
	x := &index{Segment: Segment{Sequence: 1, Name: baseName(1, at(0)) + suffixSealed, Bytes: 20000}, Table: tables("eth0").Interfaces()}
	x.add(Entry{Offset: 4096, Length: 4096, Data: 200, Summary: pcapng.Summary{Ring: "eth0", From: second, To: second + 1, Packets: 1, First: second, Last: second}}, nil)
	seed, err := x.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, false)
	f.Add(seed[len(indexMagic)+9:], true)
	f.Add([]byte("{}\n[]\n"), true)
	f.Add([]byte("{\"bytes\":100}\n[{\"offset\":-5,\"length\":9223372036854775807}]\n"), true)
	f.Fuzz(func(t *testing.T, b []byte, sum bool) {
		if sum { // get past the checksum
			b = withChecksum(b)
		}
		x, err := decodeIndex(b, true)
		if err != nil {
			return
		}
		end := int64(0)
		for _, e := range x.chunks {
			if e.Offset < end || e.Data > e.Length || e.Offset+e.Length > x.Bytes {
				t.Fatalf("chunk %+v in a segment of %d bytes", e, x.Bytes)
			}
			end = e.Offset + e.Length
		}
		again, err := x.encode()
		must(t, err)
		if y, err := decodeIndex(again, true); err != nil || len(y.chunks) != len(x.chunks) || y.Segment != x.Segment {
			t.Errorf("after encoding %+v, %v; before %+v", y, err, x)
		}
	})
}

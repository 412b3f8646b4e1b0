package pcapng

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// Arbitrary bytes: a walk ends, its blocks are what lies in the bytes, and decoding one never panics.
func FuzzWalk(f *testing.F) {
	b := make([]byte, PacketSize(61))
	PutPacket(b, 1, 2, 3, Inbound, nil, make([]byte, 61))
	seed := AppendSummary(append(AppendInterface(AppendSection(nil, "a", "b"), Interface{Name: "eth0", Filter: "tcp"}), b...), Summary{Ring: "r"})
	f.Add(seed)
	f.Add(AppendNote(nil, Note{Kind: NoteGap}))
	f.Add(AppendStatistics(nil, 1, 2, 3, 4))
	f.Add(seed[:len(seed)-3])
	f.Fuzz(func(t *testing.T, b []byte) {
		w := NewWalker(bytes.NewReader(b))
		for end := int64(0); ; {
			blk, err := w.Next()
			if w.Offset() > int64(len(b)) {
				t.Fatalf("offset %d in %d bytes", w.Offset(), len(b))
			}
			if err != nil {
				if err != io.EOF && !errors.Is(err, ErrTorn) || w.Offset() != end {
					t.Fatalf("the walk ends at %d of %d with %v", w.Offset(), end, err)
				}
				return
			}
			if blk.Offset != end || !bytes.Equal(blk.Raw, b[end:end+int64(len(blk.Raw))]) {
				t.Fatalf("block at %d is not what lies there", blk.Offset)
			}
			end += int64(len(blk.Raw))
			if p, err := blk.Packet(); err == nil && len(p.Data) > len(blk.Body) {
				t.Fatalf("packet of %d bytes in a block of %d", len(p.Data), len(blk.Raw))
			}
			_, _ = blk.Interface()
			_, _ = blk.Note()
			_, _ = blk.Summary()
		}
	})
}

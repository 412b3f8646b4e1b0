package input

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"testing"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/pcapng"
)

// FuzzRead takes any bytes as a file. Whatever it is, every packet comes once, with a number and a known vantage, and the
// end comes.
func FuzzRead(f *testing.F) {
	f.Add(synthetic(3, 2))
	f.Add(classic(little, magicNano, 276, 0, segment(1), segment(2)))
	f.Add(classic(big, magicModified, 1, 8, segment(1)))
	for _, o := range []order{little, big} {
		f.Add(slices.Concat(section(o), describe(o, frame.Ethernet, 60, text(o, interfaceName, "eth0")...), enhanced(o, 0, 9, segment(1), option(o, droppedCount, 1, 0, 0, 0, 0, 0, 0, 0)...),
			old(o, 0, 3, 1, segment(2)), simple(o, 66, segment(3)), section(binary.BigEndian), block(o, pcapng.TypeStatistics, make([]byte, 12))))
	}
	f.Add(pcapng.AppendNote(synthetic(1, 1), pcapng.Note{Kind: pcapng.NoteDropped, Ring: "(shared)", To: 1}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if compression(data[:min(len(data), 4)]) != "" {
			return // what others unpack is not fuzzed here
		}
		r, err := Open([]Source{{Name: "fuzz", In: bytes.NewReader(data)}}, Options{Loss: func(Loss) {}, Problem: func(Problem) {}})
		if err != nil {
			return
		}
		defer r.Close()
		seen := map[uint64]bool{}
		for {
			p, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.Number == 0 || seen[p.Number] || int(p.Vantage) >= len(r.Interfaces()) {
				t.Fatalf("packet %d again, or of vantage %d of %d", p.Number, p.Vantage, len(r.Interfaces()))
			}
			seen[p.Number] = true
		}
		if facts := r.Files()[0]; uint64(len(seen)) > facts.Packets || facts.Bytes > int64(len(data)) {
			t.Fatalf("%d packets of %+v", len(seen), facts)
		}
	})
}

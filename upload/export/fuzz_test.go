package export

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ringside/ringside/pcapng"
)

// Arbitrary bytes are refused, or come out as whole blocks with all their packets, sorted or not.
func FuzzWrite(f *testing.F) {
	seed := pcapng.AppendInterface(pcapng.AppendSection(nil, "a", "b"), pcapng.Interface{Name: "eth0"})
	for i := range 3 {
		p := make([]byte, pcapng.PacketSize(10))
		pcapng.PutPacket(p, 0, int64(10-i), 10, pcapng.Inbound, nil, make([]byte, 10))
		seed = append(seed, p...)
	}
	seed = pcapng.AppendStatistics(seed, 0, 1, 2, 3)
	f.Add(seed)
	f.Add(append(seed[:len(seed):len(seed)], seed...)) // a second section
	f.Add(pcapng.AppendStatistics(nil, 7, 1, 2, 3))
	f.Add(seed[:len(seed)-1])
	path := filepath.Join(f.TempDir(), "x")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		in, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		sources := []Source{{Node: "n", File: in, Marks: []Mark{{At: time.Unix(0, 9), Text: "x"}, {At: time.Unix(0, 8), After: true, Interface: "eth0", Text: "y"}}}}
		var first uint64
		for i, o := range []Options{{}, {Sorted: true}} {
			var out bytes.Buffer
			n, err := Write(context.Background(), &out, sources, o)
			if err != nil {
				return
			}
			packets := uint64(0)
			w := pcapng.NewWalker(&out)
			for {
				blk, err := w.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatalf("what is written ends with %v", err)
				}
				if blk.Type == pcapng.TypePacket {
					packets++
				}
			}
			if i == 0 {
				first = n
			}
			if packets != n || n != first {
				t.Fatalf("%d packets, %d are written, %d before", n, packets, first)
			}
			if _, err := Write(context.Background(), io.Discard, sources, Options{Pcap: true}); err != nil {
				t.Fatalf("as pcap: %v", err)
			}
		}
	})
}

package input

import (
	"bytes"
	"io"
	"testing"
)

// BenchmarkNext is what reading and decoding a packet costs, the SHA-256 of the file included.
func BenchmarkNext(b *testing.B) {
	const packets = 200_000
	for name, data := range map[string][]byte{"1 interface": synthetic(packets, 1), "4 interfaces": synthetic(packets, 4)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := Open([]Source{{Name: "bench", In: bytes.NewReader(data)}}, Options{})
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for ; err == nil; n++ {
					_, err = r.Next()
				}
				if err != io.EOF || n != packets+1 {
					b.Fatal(n, err)
				}
				r.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/packets, "ns/packet")
		})
	}
}

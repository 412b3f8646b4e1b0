package rotate

import (
	"context"
	"io"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/pcapng"
)

// BenchmarkWriter is the way of full chunks from Put to the disk: MB/s, and what it allocates a chunk. Whether somebody looks at
// them, or has stopped looking, must make no difference.
func BenchmarkWriter(b *testing.B) {
	b.Run("alone", func(b *testing.B) { benchmarkWriter(b, nil) })
	b.Run("tapped", func(b *testing.B) { benchmarkWriter(b, (*Lease).Release) })
	b.Run("stuck", func(b *testing.B) { benchmarkWriter(b, func(*Lease) {}) })
}

// benchmarkWriter has look called with every chunk, unless it is nil.
func benchmarkWriter(b *testing.B, look func(*Lease)) {
	cfg := Config{Dir: b.TempDir(), MaxSize: 64 << 20, Keep: Keep{Bytes: 512 << 20, Free: 0.0001}}
	s, err := Open(cfg, zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	if look != nil {
		tap := s.Tap()
		go func() {
			for l := tap.Next(ctx); l != nil; l = tap.Next(ctx) {
				look(l)
			}
		}()
	}
	table, data := tables("eth0"), make([]byte, 1400)
	ns := time.Now().UnixNano()
	b.SetBytes(pcapng.ChunkSize)
	b.ReportAllocs()
	for b.Loop() {
		c, err := s.Get(ctx)
		if err != nil {
			b.Fatal(err)
		}
		c.Reset(table, "eth0", ns)
		for c.Room() >= pcapng.PacketSize(len(data)) {
			c.Packet(0, ns, 1400, pcapng.Inbound, nil, data)
		}
		ns += 1e6
		c.Summary.To = ns
		s.Put(c)
	}
	cancel()
	<-done
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkWindow is the reading, checking and cutting of 32 MB.
func BenchmarkWindow(b *testing.B) {
	s, err := Open(Config{Dir: b.TempDir(), Keep: Keep{Free: 0.0001, Age: 1e6 * time.Hour}}, zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	table, data := tables("eth0"), make([]byte, 1400)
	for i := range int64(32) {
		c, _ := s.Get(ctx)
		c.Reset(table, "eth0", second+i*1e9)
		for n := int64(0); c.Room() >= pcapng.PacketSize(len(data)); n++ {
			c.Packet(0, second+i*1e9+n, 1400, pcapng.Inbound, nil, data)
		}
		c.Summary.To = second + (i+1)*1e9
		s.Put(c)
	}
	cancel()
	<-done
	defer s.Close()
	b.SetBytes(32 << 20)
	b.ReportAllocs()
	for b.Loop() {
		w, err := s.Window(b.Context(), at(0), at(32))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

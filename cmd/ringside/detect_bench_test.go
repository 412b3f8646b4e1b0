package main

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/config"
	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/rotate"
)

// BenchmarkDetection is what detection costs live: whole chunks of requests and answers, headers alone, of 10,000 connections in
// turn. cpu-ns/packet is the thread's own time, which other programs on the machine do not add to.
func BenchmarkDetection(b *testing.B) {
	const connections = 10_000
	const step = 10_000 // ns between packets, so that what waits for connections met in their middle is over soon
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	services := detectServices(config.Default().Capture.Services)
	table := new(pcapng.Table)
	table.Add(pcapng.Interface{Name: "eth0"})
	chunk := pcapng.NewChunk(make([]byte, pcapng.ChunkSize))
	seq := make([][2]uint32, connections)
	data := make([]byte, 66)
	copy(data[12:], "\x08\x00\x45\x00\x00\x98\x00\x00\x40\x00\x3f\x06") // 100 bytes of payload that are not recorded
	data[46], data[47], data[48] = 0x80, frame.ACK|frame.PSH, 0xff
	copy(data[54:], "\x01\x01\x08\x0a")
	var g looking
	now, n := time.Now().UnixNano(), 0
	fill := func() {
		chunk.Reset(table, "eth0", now)
		for chunk.Room() >= pcapng.PacketSize(len(data)) {
			i, side := n/2*7919%connections, n%2
			client, server := []byte{10, 0, byte(i >> 8), byte(i)}, []byte{10, 99, 0, byte(i % 4)}
			ports := [2]uint16{uint16(20000 + i), 5432}
			if side == 1 {
				client, server, ports[0], ports[1] = server, client, ports[1], ports[0]
			}
			copy(data[26:], client)
			copy(data[30:], server)
			binary.BigEndian.PutUint16(data[34:], ports[0])
			binary.BigEndian.PutUint16(data[36:], ports[1])
			binary.BigEndian.PutUint32(data[38:], seq[i][side])
			binary.BigEndian.PutUint32(data[42:], seq[i][1-side])
			binary.BigEndian.PutUint32(data[58:], uint32(now/1e6))
			seq[i][side] += 100
			chunk.Packet(0, now, 166, pcapng.Inbound+uint32(side), nil, data)
			now, n = now+step, n+1
		}
		chunk.Summary.To = now
	}
	next := func() *rotate.Lease {
		fill()
		return &rotate.Lease{Table: table, Summary: chunk.Summary, Blocks: chunk.Blocks()}
	}
	l := next()
	g.renew(detect.New(detect.Config{Services: services}), &services, l)
	for range 128 { // ten seconds
		g.look(l)
		l = next()
	}
	packets, spent := uint64(0), time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		l = next()
		b.StartTimer()
		began := threadTime(b)
		g.look(l)
		spent += threadTime(b) - began
		packets += chunk.Summary.Packets
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(packets), "cpu-ns/packet")
	b.ReportMetric(float64(g.detector.Live().Conversations), "connections")
}

// threadTime is the processor time of this thread.
func threadTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

package detect

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/ringside/ringside/detect/frame"
)

// BenchmarkPacket is a frame of one of 10,000 connections, from its bytes to the end of what detection does with it: requests
// and answers with headers alone, in turn. As in a chunk, the frames lie behind each other.
func BenchmarkPacket(b *testing.B) {
	const flows = 10000
	frames := make([][66]byte, 2*flows)
	for n := range frames {
		i, side := n/2*7919%flows, n%2
		f := &frames[n]
		f[12], f[13], f[14], f[22], f[23] = 8, 0, 0x45, 63, 6
		binary.BigEndian.PutUint16(f[16:], 52+100)
		client, server := f[26:30], f[30:34]
		ports := [2][]byte{f[34:36], f[36:38]}
		if side == 1 {
			client, server = server, client
			ports[0], ports[1] = ports[1], ports[0]
		}
		copy(client, []byte{10, 0, byte(i >> 8), byte(i)})
		copy(server, []byte{10, 99, 0, byte(i % 4)})
		binary.BigEndian.PutUint16(ports[0], uint16(20000+i))
		binary.BigEndian.PutUint16(ports[1], 5432)
		f[41+4*side] = 100 * byte(side)                    // an answer acknowledges the request
		f[46], f[47], f[48] = 0x80, frame.ACK|frame.PSH, 1 // eight words of header
		f[54], f[55], f[56], f[57] = 1, 1, 8, 10
	}
	d := New(Config{})
	d.Vantage("eth0", "")
	var batch [Batch]frame.Packet
	now := time.Now().UnixNano()
	next := func(n int) {
		f := &frames[n%len(frames)]
		p := &batch[n%Batch]
		p.Decode(frame.Ethernet, f[:], 166)
		if p.Time, p.Number = now+int64(n)*1000, uint64(n); n%Batch == Batch-1 {
			d.Packets(batch[:])
		}
		for _, field := range [2][]byte{f[38:42], f[42:46]} { // of its next time
			binary.BigEndian.PutUint32(field, binary.BigEndian.Uint32(field)+100)
		}
	}
	const settled = 5_000_000 // all connections are known, and compared
	for n := range settled {
		next(n)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := range b.N {
		next(settled + n)
	}
}

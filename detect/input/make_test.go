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

// order is both of what a file's numbers are written in.
type order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// block is a pcapng block of a body.
func block(o order, typ uint32, body []byte) []byte {
	body = append(body, make([]byte, -len(body)&3)...)
	n := uint32(len(body) + 12)
	return o.AppendUint32(append(o.AppendUint32(o.AppendUint32(nil, typ), n), body...), n)
}

func option(o order, code uint16, value ...byte) []byte {
	b := append(o.AppendUint16(o.AppendUint16(nil, code), uint16(len(value))), value...)
	return append(b, make([]byte, -len(value)&3)...)
}

func text(o order, code uint16, value string) []byte { return option(o, code, []byte(value)...) }

func section(o order, options ...byte) []byte {
	body := o.AppendUint16(o.AppendUint16(o.AppendUint32(nil, byteOrder), 1), 0)
	return block(o, pcapng.TypeSection, append(append(body, 255, 255, 255, 255, 255, 255, 255, 255), options...))
}

func describe(o order, link frame.Link, snap uint32, options ...byte) []byte {
	body := o.AppendUint32(o.AppendUint16(o.AppendUint16(nil, uint16(link)), 0), snap)
	return block(o, pcapng.TypeInterface, append(body, options...))
}

func enhanced(o order, id uint32, ticks uint64, data []byte, options ...byte) []byte {
	body := o.AppendUint32(o.AppendUint32(o.AppendUint32(nil, id), uint32(ticks>>32)), uint32(ticks))
	body = o.AppendUint32(o.AppendUint32(body, uint32(len(data))), 1500)
	body = append(append(body, data...), make([]byte, -len(data)&3)...)
	return block(o, pcapng.TypePacket, append(body, options...))
}

func old(o order, id, drops uint16, ticks uint64, data []byte, options ...byte) []byte {
	body := o.AppendUint32(o.AppendUint32(o.AppendUint16(o.AppendUint16(nil, id), drops), uint32(ticks>>32)), uint32(ticks))
	body = o.AppendUint32(o.AppendUint32(body, uint32(len(data))), 1500)
	body = append(append(body, data...), make([]byte, -len(data)&3)...)
	return block(o, typeOldPacket, append(body, options...))
}

func simple(o order, original uint32, data []byte) []byte {
	return block(o, typeSimplePacket, append(o.AppendUint32(nil, original), data...))
}

// segment is an Ethernet frame of a TCP segment with timestamps, without payload. n is its sequence number.
func segment(n uint32) []byte {
	b := make([]byte, 66)
	binary.BigEndian.PutUint16(b[12:], 0x0800)
	ip := b[14:]
	ip[0], ip[3], ip[8], ip[9] = 0x45, 52, 64, 6
	binary.BigEndian.PutUint32(ip[12:], 0x0A000001+n%10000)
	binary.BigEndian.PutUint32(ip[16:], 0x0A630005)
	tcp := ip[20:]
	binary.BigEndian.PutUint16(tcp, uint16(1024+n%10000))
	binary.BigEndian.PutUint16(tcp[2:], 5432)
	binary.BigEndian.PutUint32(tcp[4:], n)
	tcp[12], tcp[13] = 8<<4, 0x10
	copy(tcp[20:], []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2})
	return b
}

// synthetic is a file of so many packets, 10 µs apart, on so many interfaces in turn.
func synthetic(packets, interfaces int) []byte {
	b := pcapng.AppendSection(nil, "test", "")
	for i := range interfaces {
		b = pcapng.AppendInterface(b, pcapng.Interface{Name: string(rune('a' + i))})
	}
	one := make([]byte, 256)
	for n := range packets {
		size := pcapng.PutPacket(one, uint32(n%interfaces), 1_700_000_000_000_000_000+int64(n)*10_000, 1500, pcapng.Inbound, nil, segment(uint32(n)))
		b = append(b, one[:size]...)
	}
	return b
}

// result is everything that was read.
type result struct {
	packets    []frame.Packet
	interfaces []Interface
	files      []File
	losses     []Loss
	problems   []Problem
}

// read reads captures to their end.
func read(t testing.TB, sources ...Source) (g result) {
	t.Helper()
	r, err := Open(sources, Options{
		Loss:    func(l Loss) { g.losses = append(g.losses, l) },
		Problem: func(p Problem) { g.problems = append(g.problems, p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		g.packets = append(g.packets, *p)
	}
	g.interfaces, g.files = slices.Clone(r.Interfaces()), r.Files()
	return g
}

func readBytes(t testing.TB, parts ...[]byte) result {
	t.Helper()
	return read(t, Source{Name: "test", In: bytes.NewReader(slices.Concat(parts...))})
}

// numbers are those of the packets, in the order in which they came.
func (g *result) numbers() (list []uint64) {
	for _, p := range g.packets {
		list = append(list, p.Number)
	}
	return list
}

// times are those of the packets, in the order in which they came.
func (g *result) times() (list []int64) {
	for _, p := range g.packets {
		list = append(list, p.Time)
	}
	return list
}

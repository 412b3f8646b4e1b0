package input

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/ringside/ringside/pcapng"
)

// Types of blocks beside those that package pcapng has (draft-ietf-opsawg-pcapng, section 11.1).
const (
	typeOldPacket    = 2
	typeSimplePacket = 3
	typeJournal      = 9
	typeCustom       = 0x00000BAD
	typeCustomNoCopy = 0x40000BAD
)

const (
	byteOrder     = 0x1A2B3C4D
	blockHeader   = 8
	blockOverhead = 12
	packetFixed   = 28 // of enhanced and old packet blocks, before the data
	simpleFixed   = 12
)

// Options of packet blocks.
const (
	optEnd       = 0
	packetFlags  = 2
	droppedCount = 4
)

// ng reads the blocks of a pcapng file, of any number of sections.
type ng struct {
	big        bool
	ours       bool           // the section is Ringside's: its notes tell what it lacks, and when
	interfaces []ngInterface  // of the section, by id
	names      map[string]int // of the section's interfaces, how many have it
	rings      map[string]bool
	last       int64 // time of the last packet, for those that have none
}

func (g *ng) u16(b []byte) uint16 {
	if g.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (g *ng) u32(b []byte) uint32 {
	if g.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

// u64 reads a number whose high half stands first in both byte orders, such as a time.
func (g *ng) u64(b []byte) uint64 { return uint64(g.u32(b))<<32 | uint64(g.u32(b[4:])) }

// begin reads the first block.
func (g *ng) begin(f *file) error {
	_, err := g.block(f)
	return err
}

// next reads up to and with the next packet.
func (g *ng) next(f *file) error {
	for {
		if packet, err := g.block(f); packet || err != nil {
			return err
		}
	}
}

// block reads one block, and says whether it was a packet.
func (g *ng) block(f *file) (packet bool, err error) {
	head, err := f.in.peek(blockOverhead)
	if err == io.EOF {
		return false, err
	}
	if err != nil {
		return false, torn(err, "a block", len(head))
	}
	typ := g.u32(head)
	if typ == pcapng.TypeSection {
		if err := g.order(head[blockHeader:]); err != nil {
			return false, err
		}
	}
	length := g.u32(head[4:])
	if length < blockOverhead || length%4 != 0 {
		return false, fmt.Errorf("a block of type %#x and %d bytes is none: the file was not closed, or is damaged", typ, length)
	}
	if !g.wanted(typ) {
		return g.pass(f, typ, int64(length))
	}
	if length > maxRecord {
		return false, fmt.Errorf("a block of type %#x and %d bytes is not plausible: the file is damaged", typ, length)
	}
	b, err := f.in.peek(int(length))
	if err != nil {
		return false, torn(err, "a block", len(b))
	}
	if again := g.u32(b[length-4:]); again != length {
		return false, fmt.Errorf("the lengths of a block differ, %d and %d: the file is damaged", length, again)
	}
	if packet, err = g.read(f, typ, b); err != nil {
		return packet, err
	}
	f.in.took(int(length))
	return packet, nil
}

// order takes the byte order of a section.
func (g *ng) order(magic []byte) error {
	switch {
	case binary.LittleEndian.Uint32(magic) == byteOrder:
		g.big = false
	case binary.BigEndian.Uint32(magic) == byteOrder:
		g.big = true
	default:
		return fmt.Errorf("a section has the byte order magic %x: the file is damaged", magic)
	}
	return nil
}

func (g *ng) wanted(typ uint32) bool {
	switch typ {
	case pcapng.TypePacket, pcapng.TypeSection, pcapng.TypeInterface, pcapng.TypeStatistics, pcapng.TypeLocal, typeOldPacket, typeSimplePacket:
		return true
	}
	return false
}

// pass skips a block. Some are frames for tshark although they hold no packet, and count.
func (g *ng) pass(f *file, typ uint32, length int64) (bool, error) {
	if typ == typeJournal || typ == typeCustom || typ == typeCustomNoCopy {
		f.number++
	}
	start := f.in.off
	if err := f.in.skip(length); err != nil {
		there := f.in.off - start
		f.in.off = start // where the block is that is not all there
		return false, torn(err, "a block", int(there))
	}
	return false, nil
}

// read reads a whole block.
func (g *ng) read(f *file, typ uint32, b []byte) (packet bool, err error) {
	switch typ {
	case pcapng.TypePacket:
		return true, g.enhanced(f, b)
	case typeOldPacket:
		return true, g.old(f, b)
	case typeSimplePacket:
		return true, g.simple(f, b)
	case pcapng.TypeSection:
		return false, g.section(b)
	case pcapng.TypeInterface:
		return false, g.describe(f, b)
	case pcapng.TypeStatistics:
		g.statistics(f, b)
	case pcapng.TypeLocal:
		g.local(f, b)
	}
	return false, nil
}

func (g *ng) enhanced(f *file, b []byte) error {
	if len(b) < packetFixed+4 {
		return fmt.Errorf("a packet block of %d bytes is too short: the file is damaged", len(b))
	}
	return g.packet(f, b, g.u32(b[8:]), 0)
}

// old reads a packet block of the form before the enhanced one, which is the same but for 16 bits of interface and 16 bits
// of packets that were dropped before this.
func (g *ng) old(f *file, b []byte) error {
	if len(b) < packetFixed+4 {
		return fmt.Errorf("a packet block of %d bytes is too short: the file is damaged", len(b))
	}
	dropped := uint64(g.u16(b[10:]))
	if dropped == 0xFFFF { // not known
		dropped = 0
	}
	return g.packet(f, b, uint32(g.u16(b[8:])), dropped)
}

// packet reads what the two forms have in common.
func (g *ng) packet(f *file, b []byte, id uint32, dropped uint64) error {
	if id >= uint32(len(g.interfaces)) {
		return fmt.Errorf("a packet is of interface %d, of %d that are described: the file is damaged", id, len(g.interfaces))
	}
	captured, original := g.u32(b[20:]), g.u32(b[24:])
	end := uint64(packetFixed) + uint64(captured)
	if end > uint64(len(b)-4) {
		return fmt.Errorf("a packet of %d bytes is in a block of %d: the file is damaged", captured, len(b))
	}
	in := &g.interfaces[id]
	ns := in.clock.ns(g.u64(b[12:]))
	flags, more := g.packetOptions(b[min((end+3)&^3, uint64(len(b)-4)) : len(b)-4])
	if dropped += more; dropped > 0 {
		f.lose(in.lanes(), Loss{From: in.last, To: ns, Packets: dropped, Why: "the capture says that packets were dropped before this one"})
	}
	in.last, g.last = ns, ns
	f.packet(in.at, in.link, ns, original, flags, b[packetFixed:end])
	return nil
}

// packetOptions reads the direction of a packet, and how many were dropped before it.
func (g *ng) packetOptions(b []byte) (flags uint32, dropped uint64) {
	for len(b) >= 4 {
		code, length := g.u16(b), int(g.u16(b[2:]))
		if code == optEnd || 4+length > len(b) {
			break
		}
		switch {
		case code == packetFlags && length == 4:
			flags = g.u32(b[4:])
		case code == droppedCount && length == 8:
			dropped = g.number(b[4:12])
		}
		b = b[min(len(b), 4+(length+3)&^3):]
	}
	return flags, dropped
}

// number reads 64 bits in the byte order of the section.
func (g *ng) number(b []byte) uint64 {
	if g.big {
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}

// simple reads a packet without time, interface or options. It has the time of the packet before.
func (g *ng) simple(f *file, b []byte) error {
	if len(b) < simpleFixed+4 || len(g.interfaces) == 0 {
		return fmt.Errorf("a simple packet block of %d bytes, with %d interfaces described: the file is damaged", len(b), len(g.interfaces))
	}
	in, original := &g.interfaces[0], g.u32(b[8:])
	captured := min(uint64(original), uint64(len(b)-4-simpleFixed))
	if in.snap > 0 {
		captured = min(captured, uint64(in.snap))
	}
	f.packet(in.at, in.link, g.last, original, 0, b[simpleFixed:simpleFixed+captured])
	return nil
}

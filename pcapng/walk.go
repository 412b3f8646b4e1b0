package pcapng

import (
	"errors"
	"fmt"
	"io"
)

// Block is one block as it lies in a file. Body and Raw are borrowed: they are valid until the next call of the walker
// or change of the slice they came from.
type Block struct {
	Type   uint32
	Offset int64  // of the block in what is walked
	Raw    []byte // the whole block
	Body   []byte // without type and lengths
}

// ErrTorn means that what follows is no whole, valid block: zeros after a crash, a cut block, or damage.
var ErrTorn = errors.New("no whole block")

// Parse returns the block at the start of b. It returns ErrTorn, wrapped with the reason, if there is none, and
// io.EOF if b is empty.
func Parse(b []byte) (Block, error) {
	if len(b) == 0 {
		return Block{}, io.EOF
	}
	if len(b) < blockOverhead {
		return Block{}, fmt.Errorf("%w: %d bytes left", ErrTorn, len(b))
	}
	typ, length := le.Uint32(b), le.Uint32(b[4:])
	switch {
	case typ == 0:
		return Block{}, fmt.Errorf("%w: block type 0", ErrTorn)
	case length < blockOverhead || length%4 != 0 || length > maxBlock:
		return Block{}, fmt.Errorf("%w: block length %d", ErrTorn, length)
	case uint64(length) > uint64(len(b)):
		return Block{}, fmt.Errorf("%w: block of %d bytes, %d left", ErrTorn, length, len(b))
	case le.Uint32(b[length-4:]) != length:
		return Block{}, fmt.Errorf("%w: lengths %d and %d differ", ErrTorn, length, le.Uint32(b[length-4:]))
	}
	return Block{Type: typ, Raw: b[:length], Body: b[8 : length-4]}, nil
}

// IsSection reports whether b, of at least 12 bytes, is the beginning of a little-endian Section Header Block.
func IsSection(b []byte) bool {
	return len(b) >= 12 && le.Uint32(b) == TypeSection && le.Uint32(b[8:]) == byteOrderMagic
}

// Walker reads the blocks of a stream in order. It is not safe for concurrent use.
type Walker struct {
	r    io.Reader
	buf  []byte
	a, b int   // unread bytes are buf[a:b]
	off  int64 // of buf[a] in the stream
	err  error // of r
}

// NewWalker returns a walker over r.
func NewWalker(r io.Reader) *Walker { return &Walker{r: r, buf: make([]byte, 1<<20)} }

// Next returns the next block. It returns io.EOF after the last whole block at the stream's end, an error that wraps
// ErrTorn at anything that is no whole block, or the reader's own error. Offset then says how far the stream is good.
func (w *Walker) Next() (Block, error) {
	for {
		blk, err := Parse(w.buf[w.a:w.b])
		if err == nil {
			blk.Offset = w.off
			w.a += len(blk.Raw)
			w.off += int64(len(blk.Raw))
			return blk, nil
		}
		if w.err != nil {
			if w.err != io.EOF {
				return Block{}, w.err
			}
			return Block{}, err
		}
		// A length that cannot be whole is only known to be torn once maxBlock bytes are there or the stream has ended.
		if w.b-w.a >= maxBlock {
			return Block{}, err
		}
		w.fill()
	}
}

func (w *Walker) fill() {
	if w.a > 0 {
		w.b = copy(w.buf, w.buf[w.a:w.b])
		w.a = 0
	}
	n, err := w.r.Read(w.buf[w.b:])
	w.b += n
	w.err = err
}

// Offset is the number of bytes in whole blocks returned so far.
func (w *Walker) Offset() int64 { return w.off }

// Packet is a decoded Enhanced Packet Block. Data is borrowed like the block's.
type Packet struct {
	ID       uint32
	NS       int64 // nanoseconds since 1970
	Original uint32
	Flags    uint32
	Data     []byte
}

// Packet decodes an Enhanced Packet Block that PutPacket wrote; options other than epb_flags are skipped.
func (b Block) Packet() (Packet, error) {
	if b.Type != TypePacket || len(b.Body) < 20 {
		return Packet{}, fmt.Errorf("%w: block of type %#x and %d bytes is no packet", ErrTorn, b.Type, len(b.Raw))
	}
	captured := le.Uint32(b.Body[12:])
	if uint64(captured) > uint64(len(b.Body)-20) {
		return Packet{}, fmt.Errorf("%w: packet of %d bytes in a block of %d", ErrTorn, captured, len(b.Raw))
	}
	p := Packet{
		ID:       le.Uint32(b.Body),
		NS:       int64(uint64(le.Uint32(b.Body[4:]))<<32 | uint64(le.Uint32(b.Body[8:]))),
		Original: le.Uint32(b.Body[16:]),
		Data:     b.Body[20 : 20+captured],
	}
	eachOption(b.Body[20+(captured+3)&^3:], func(code uint16, value []byte) {
		if code == epbFlags && len(value) == 4 {
			p.Flags = le.Uint32(value)
		}
	})
	return p, nil
}

// Interface decodes an Interface Description Block. It refuses what libpcap would refuse beside ours: another link
// type, snapshot length or time resolution.
func (b Block) Interface() (Interface, error) {
	if b.Type != TypeInterface || len(b.Body) < 8 {
		return Interface{}, fmt.Errorf("block of type %#x and %d bytes is no interface", b.Type, len(b.Raw))
	}
	if link, snap := le.Uint16(b.Body), le.Uint32(b.Body[4:]); link != linkEthernet || snap != SnapLen {
		return Interface{}, fmt.Errorf("interface of link type %d and snapshot length %d, not Ethernet and %d", link, snap, SnapLen)
	}
	var i Interface
	resolution := byte(6)
	eachOption(b.Body[8:], func(code uint16, value []byte) {
		switch {
		case code == ifName:
			i.Name = string(value)
		case code == ifDescription:
			i.Description = string(value)
		case code == ifFilter && len(value) > 0:
			i.Filter = string(value[1:])
		case code == ifTsResol && len(value) == 1:
			resolution = value[0]
		}
	})
	if resolution != 9 {
		return Interface{}, fmt.Errorf("interface %q with if_tsresol %d, not nanoseconds", i.Name, resolution)
	}
	return i, nil
}

// eachOption calls f for every whole option in b, up to opt_endofopt.
func eachOption(b []byte, f func(code uint16, value []byte)) {
	for len(b) >= 4 {
		code, length := le.Uint16(b), int(le.Uint16(b[2:]))
		if code == optEnd || 4+length > len(b) {
			return
		}
		f(code, b[4:4+length])
		b = b[min(len(b), 4+(length+3)&^3):]
	}
}

// SetInterface changes the interface id of an Enhanced Packet Block in place, in the slice the block was parsed from.
func (b Block) SetInterface(id uint32) { le.PutUint32(b.Body, id) }

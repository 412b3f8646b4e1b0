package input

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ringside/ringside/detect/frame"
)

// Magic numbers of classic pcap (draft-ietf-opsawg-pcap, and libpcap's sf-pcap.c).
const (
	magicMicro    = 0xA1B2C3D4
	magicNano     = 0xA1B23C4D
	magicModified = 0xA1B2CD34 // Kuznetzov's: records name the interface by the kernel's number
)

const (
	pcapHeader     = 24
	recordHeader   = 16
	modifiedHeader = 24
)

// pcap reads the records of a classic file.
type pcap struct {
	big    bool
	link   frame.Link
	header int    // bytes of a record's
	tick   int64  // ns of the unit of the fraction of a second
	at     uint32 // as file.describe said
}

// newPcap returns a reader if head, of 4 bytes, begins a classic file.
func newPcap(head []byte) *pcap {
	for _, big := range []bool{false, true} {
		p := &pcap{big: big, header: recordHeader, tick: 1000}
		switch p.u32(head) {
		case magicNano:
			p.tick = 1
		case magicModified:
			p.header = modifiedHeader
		case magicMicro:
		default:
			continue
		}
		return p
	}
	return nil
}

func (p *pcap) u32(b []byte) uint32 {
	if p.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

// begin reads the header of the file.
func (p *pcap) begin(f *file) error {
	b, err := f.in.peek(pcapHeader)
	if err != nil {
		return errors.New("ends within the header of the file")
	}
	p.link = frame.Link(p.u32(b[20:])) // the high bits say how long the frames' checksums are
	f.in.took(pcapHeader)
	p.at, err = f.describe("", p.link)
	return err
}

// next reads one packet.
func (p *pcap) next(f *file) error {
	b, err := f.in.peek(p.header)
	if err == io.EOF {
		return err
	}
	if err != nil {
		return torn(err, "the header of a packet", len(b))
	}
	captured, original := p.u32(b[8:]), p.u32(b[12:])
	ns := int64(p.u32(b))*1e9 + int64(p.u32(b[4:]))*p.tick
	if captured > maxRecord {
		return fmt.Errorf("a packet of %d bytes is not plausible: the file is damaged", captured)
	}
	b, err = f.in.peek(p.header + int(captured))
	if err != nil {
		return torn(err, "a packet", len(b))
	}
	f.packet(p.at, p.link, ns, original, 0, b[p.header:])
	f.in.took(len(b))
	return nil
}

// torn says that a file ends, or cannot be read, within something of which n bytes are there.
func torn(err error, within string, n int) error {
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		return fmt.Errorf("the file ends within %s, %d bytes are left: whoever wrote it was stopped, or it was cut", within, n)
	}
	return fmt.Errorf("cannot be read any further: %w", err)
}

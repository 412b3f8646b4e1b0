package export

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ringside/ringside/pcapng"
)

// Source is a capture. Interfaces of several sources are told apart by the node's name before theirs.
type Source struct {
	Node  string // for "NODE/eth0"; "" to leave the names alone
	File  *os.File
	Marks []Mark

	Events []Event // of the host; for pcapng in the order of time alone
}

// Mark is a comment for the packet nearest to At, or, with After, for the first one that is not before it. With Frame it is
// for that one packet, if its time is At to the nanosecond: else the mark is not of this capture, and is left out.
type Mark struct {
	At        time.Time // between 1970 and 2262
	Frame     uint64    // number of the packet in the capture, from 1; 0 to go by time
	After     bool
	Interface string // whose packets are meant, if the capture has it; "" for all
	Text      string
}

// Options say what is written.
type Options struct {
	Pcap    bool   // classic pcap with nanoseconds, which has neither comments nor interfaces
	Sorted  bool   // by time; else in the order of the sources and of their files, so that frame numbers stay
	Comment string // of the section
}

// Write writes the packets of all sources, and returns how many there are. Sorting takes 24 bytes of memory a packet.
// A source that is no capture of Ringside's is an error that names it.
func Write(ctx context.Context, w io.Writer, sources []Source, o Options) (packets uint64, err error) {
	s, err := newSurvey(ctx, sources, o.Sorted)
	if err != nil {
		return 0, err
	}
	buffered := bufio.NewWriterSize(w, 1<<18)
	out, err := newOutput(buffered, s, o)
	if err != nil {
		return 0, err
	}
	if o.Sorted {
		err = s.sorted(ctx, out.packet)
	} else {
		err = s.inOrder(ctx, out.packet)
	}
	if err == nil {
		err = out.end()
	}
	if err == nil {
		err = buffered.Flush()
	}
	return s.packets, err
}

// packet is one as it lies in its source. It is borrowed until the next one.
type packet struct {
	pcapng.Packet
	block    pcapng.Block
	id       uint32   // of its interface, over all sources
	comments []string // for it
}

// inOrder visits all packets as they lie.
func (s *survey) inOrder(ctx context.Context, visit func(packet) error) error {
	for i := range s.sources {
		g := &s.sources[i]
		err := g.scan(ctx, func(b pcapng.Block, p pcapng.Packet, id uint32) error {
			return visit(packet{p, b, id, g.comments[b.Offset]})
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// sorted visits all packets by time.
func (s *survey) sorted(ctx context.Context, visit func(packet) error) error {
	var buf []byte
	for n, e := range s.index {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if int(e.length) > len(buf) {
			buf = make([]byte, max(int(e.length), 1<<16))
		}
		g := s.owner[e.id]
		if _, err := g.File.ReadAt(buf[:e.length], e.offset); err != nil {
			return g.wrap(e.offset, err)
		}
		b, err := pcapng.Parse(buf[:e.length])
		if err != nil {
			return g.wrap(e.offset, err)
		}
		p, err := b.Packet()
		if err != nil {
			return g.wrap(e.offset, err)
		}
		if err := visit(packet{p, b, e.id, g.comments[e.offset]}); err != nil {
			return err
		}
	}
	return nil
}

// scan walks the capture and visits packets, and, unless other is nil, interfaces and statistics, with the ids that
// interfaces have over all sources.
func (g *source) scan(ctx context.Context, visit func(b pcapng.Block, p pcapng.Packet, id uint32) error,
	other func(b pcapng.Block, id uint32) error) error {
	info, err := g.File.Stat()
	if err != nil {
		return err
	}
	w := pcapng.NewWalker(io.NewSectionReader(g.File, 0, info.Size()))
	section, next := g.first, g.first // ids of the section's first interface, and of the next one
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		b, err := w.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			switch b.Type {
			case pcapng.TypeSection:
				section = next
			case pcapng.TypeInterface:
				if other != nil {
					err = other(b, next)
				}
				next++
			case pcapng.TypeStatistics:
				if id := section + statisticsID(b); other != nil && id < next {
					err = other(b, id)
				}
			case pcapng.TypePacket:
				var p pcapng.Packet
				if p, err = b.Packet(); err == nil && p.ID >= next-section {
					err = fmt.Errorf("a packet of interface %d of %d", p.ID, next-section)
				}
				if err == nil {
					err = visit(b, p, section+p.ID)
				}
			}
		}
		if err != nil {
			return g.wrap(w.Offset(), err)
		}
	}
}

func (g *source) wrap(offset int64, err error) error {
	return fmt.Errorf("%s, offset %d: %w", g.File.Name(), offset, err)
}

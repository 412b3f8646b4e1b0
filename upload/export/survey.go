package export

import (
	"cmp"
	"context"
	"encoding/binary"
	"math"
	"slices"

	"github.com/ringside/ringside/pcapng"
)

// survey is what the first walk finds.
type survey struct {
	sources    []source
	table      []pcapng.Interface // over all sources
	owner      []*source          // by id
	statistics [][]byte           // by id, the last block; nil if there is none
	index      []entry            // by time, if asked for
	packets    uint64
	events     []hostEvent // by time
}

type source struct {
	Source
	first    uint32             // id of its first interface
	comments map[int64][]string // by the packet's offset
}

// entry is where a packet lies.
type entry struct {
	ns, offset int64
	length, id uint32
}

func newSurvey(ctx context.Context, sources []Source, index bool) (*survey, error) {
	s := &survey{events: hostEvents(sources)}
	for _, g := range sources {
		s.sources = append(s.sources, source{Source: g})
	}
	for i := range s.sources {
		if err := s.walk(ctx, &s.sources[i], index); err != nil {
			return nil, err
		}
	}
	// Offsets of one source are unique and ids grow with the sources, so the order is that of the input among equals.
	slices.SortFunc(s.index, func(a, b entry) int {
		if c := cmp.Compare(a.ns, b.ns); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(s.owner[a.id].first, s.owner[b.id].first), cmp.Compare(a.offset, b.offset))
	})
	return s, nil
}

func (s *survey) walk(ctx context.Context, g *source, index bool) error {
	g.first = uint32(len(s.table))
	marks := newMarks(g.Marks)
	err := g.scan(ctx, func(b pcapng.Block, p pcapng.Packet, id uint32) error {
		s.packets++
		marks.packet(p.NS, b.Offset, s.table[id].Name, g.Node)
		if index {
			s.index = append(s.index, entry{p.NS, b.Offset, uint32(len(b.Raw)), id})
		}
		return nil
	}, func(b pcapng.Block, id uint32) error {
		if b.Type == pcapng.TypeStatistics {
			s.statistics[id] = slices.Clone(b.Raw)
			return nil
		}
		i, err := b.Interface()
		if err != nil {
			return err
		}
		if g.Node != "" {
			i.Name = g.Node + "/" + i.Name
		}
		s.table, s.owner, s.statistics = append(s.table, i), append(s.owner, g), append(s.statistics, nil)
		return nil
	})
	g.comments = marks.resolve()
	return err
}

// statisticsID is the interface that an Interface Statistics Block is about.
func statisticsID(b pcapng.Block) uint32 {
	if len(b.Body) < 4 {
		return math.MaxUint32 / 2 // that of no interface
	}
	return binary.LittleEndian.Uint32(b.Body)
}

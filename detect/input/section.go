package input

import (
	"fmt"
	"math"
	"math/bits"
	"strings"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/pcapng"
)

// Options of sections, interfaces and statistics.
const (
	sectionApplication  = 4
	interfaceName       = 2
	interfaceResolution = 9
	interfaceOffset     = 14
	statisticsStart     = 2
	statisticsDropped   = 5
)

// ngInterface is an interface of a section.
type ngInterface struct {
	name    string
	link    frame.Link
	at      uint32 // as file.describe said
	snap    uint32
	clock   clock
	last    int64  // time of its last packet
	dropped uint64 // as the last statistics said
	told    int64  // time of these, 0 before
}

// lanes are those of the interface, none if it is not known which.
func (in *ngInterface) lanes() []uint32 {
	if in.link == frame.Cooked2 {
		return nil
	}
	return []uint32{in.at}
}

// clock is the unit of an interface's times.
type clock struct {
	perSecond uint64
	scale     uint64 // ns of a tick, 0 if that is no whole number
	offset    int64  // seconds
}

// newClock reads if_tsresol: a negative power of 10, or with the highest bit of 2.
func newClock(resolution byte) (clock, error) {
	exponent := resolution & 0x7F
	if resolution&0x80 != 0 {
		if exponent > 63 {
			return clock{}, fmt.Errorf("an interface counts time in 2^-%d s, which is not plausible: the file is damaged", exponent)
		}
		return clock{perSecond: 1 << exponent}, nil
	}
	if exponent > 19 {
		return clock{}, fmt.Errorf("an interface counts time in 10^-%d s, which is not plausible: the file is damaged", exponent)
	}
	c := clock{perSecond: 1}
	for range exponent {
		c.perSecond *= 10
	}
	if exponent <= 9 {
		c.scale = 1e9 / c.perSecond
	}
	return c, nil
}

// ns is a time since 1970; the greatest there is for what is later.
func (c *clock) ns(ticks uint64) int64 {
	if c.scale > 0 && c.offset == 0 && ticks <= math.MaxInt64/c.scale {
		return int64(ticks * c.scale)
	}
	seconds, rest := ticks/c.perSecond, ticks%c.perSecond
	const most = math.MaxInt64 / 2_000_000_000
	if seconds > most || c.offset > most || c.offset < -most {
		return math.MaxInt64
	}
	hi, lo := bits.Mul64(rest, 1e9)
	fraction, _ := bits.Div64(hi, lo, c.perSecond)
	return (int64(seconds)+c.offset)*1e9 + int64(fraction)
}

// section begins a section: interfaces of the one before are gone.
func (g *ng) section(b []byte) error {
	const fixed = 24
	if len(b) < fixed+4 {
		return fmt.Errorf("a section header of %d bytes is too short: the file is damaged", len(b))
	}
	if major := g.u16(b[12:]); major != 1 {
		return fmt.Errorf("a section of pcapng version %d is not read: convert the file with editcap -F pcapng", major)
	}
	g.interfaces, g.names, g.rings, g.ours = nil, map[string]int{}, map[string]bool{}, false
	g.options(b[fixed:len(b)-4], func(code uint16, value []byte) {
		if code == sectionApplication {
			g.ours = strings.HasPrefix(string(value), "ringside")
		}
	})
	return nil
}

// describe adds an interface.
func (g *ng) describe(f *file, b []byte) error {
	const fixed = 16
	if len(b) < fixed+4 {
		return fmt.Errorf("an interface description of %d bytes is too short: the file is damaged", len(b))
	}
	in := ngInterface{link: frame.Link(g.u16(b[8:])), snap: g.u32(b[12:])}
	name, resolution, offset := "", byte(6), int64(0)
	g.options(b[fixed:len(b)-4], func(code uint16, value []byte) {
		switch {
		case code == interfaceName:
			name = strings.TrimRight(string(value), "\x00")
		case code == interfaceResolution && len(value) == 1:
			resolution = value[0]
		case code == interfaceOffset && len(value) == 8:
			offset = int64(g.number(value))
		}
	})
	var err error
	if in.clock, err = newClock(resolution); err != nil {
		return err
	}
	in.clock.offset, in.name = offset, name
	if in.at, err = f.describe(g.distinct(name), in.link); err != nil {
		return err
	}
	g.interfaces = append(g.interfaces, in)
	return nil
}

// distinct is the name of the next interface. Two of one section are two places, such as eth0 of two hosts whose captures
// were merged; but Ringside describes one again that went and came back.
func (g *ng) distinct(name string) string {
	id := len(g.interfaces)
	if name == "" {
		if id == 0 {
			return ""
		}
		return fmt.Sprintf("#%d", id)
	}
	g.names[name]++
	if g.names[name] > 1 && !g.ours {
		return fmt.Sprintf("%s#%d", name, id)
	}
	return name
}

// statistics takes what other recorders say of drops: how many there were since their start.
func (g *ng) statistics(f *file, b []byte) {
	const fixed = 20
	if len(b) < fixed+4 || g.ours {
		return
	}
	id := g.u32(b[8:])
	if id >= uint32(len(g.interfaces)) {
		return
	}
	in := &g.interfaces[id]
	at, from, dropped := in.clock.ns(g.u64(b[12:])), in.told, uint64(0)
	g.options(b[fixed:len(b)-4], func(code uint16, value []byte) {
		switch {
		case code == statisticsDropped && len(value) == 8:
			dropped = g.number(value)
		case code == statisticsStart && len(value) == 8 && from == 0:
			from = in.clock.ns(g.u64(value))
		}
	})
	if dropped > in.dropped {
		if from == 0 {
			from = f.first
		}
		f.lose(in.lanes(), Loss{From: from, To: at, Packets: dropped - in.dropped,
			Why: "the capture says that packets were dropped, not when"})
	}
	in.dropped, in.told = dropped, at
}

// local reads Ringside's own blocks.
func (g *ng) local(f *file, b []byte) {
	if g.big {
		return
	}
	blk, err := pcapng.Parse(b)
	if err != nil {
		return
	}
	if s, err := blk.Summary(); err == nil {
		g.rings[s.Ring] = true
		return
	}
	n, err := blk.Note()
	if err != nil {
		return
	}
	why, ok := reasons[n.Kind]
	if !ok {
		return
	}
	if n.Text != "" {
		why += ": " + n.Text
	}
	f.lose(g.ofRing(n.Ring), Loss{From: n.From, To: n.To, Packets: n.Packets, Why: why})
}

// reasons are the notes that tell of packets that are missing.
var reasons = map[string]string{
	pcapng.NoteDropped:   "the kernel dropped packets, because the ring was full",
	pcapng.NoteUnwritten: "packets were captured and could not be written",
	pcapng.NoteGap:       "the recorder was not running",
	pcapng.NoteDamaged:   "a part of the recording is damaged",
}

// ofRing returns the vantages that a ring serves: the interface of that name, or for the shared ring all that have none of their
// own, as far as the file has told. None means all.
func (g *ng) ofRing(ring string) (list []uint32) {
	if ring == "" {
		return nil
	}
	named := g.names[ring] > 0
	for id := range g.interfaces {
		in := &g.interfaces[id]
		if named && in.name == ring || !named && !g.rings[in.name] {
			list = append(list, in.lanes()...)
		}
	}
	return list
}

// options calls each for every whole option, up to opt_endofopt.
func (g *ng) options(b []byte, each func(code uint16, value []byte)) {
	for len(b) >= 4 {
		code, length := g.u16(b), int(g.u16(b[2:]))
		if code == optEnd || 4+length > len(b) {
			return
		}
		each(code, b[4:4+length])
		b = b[min(len(b), 4+(length+3)&^3):]
	}
}

package input

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/pcapng"
)

// file is a source while it is read.
type file struct {
	r      *Reader
	name   string
	in     *stream
	format format
	window window

	lanes  map[place]uint32 // of the window, one for each place
	global []int            // vantages of the lanes
	cooks  []string         // names of what was described as Cooked2
	last   place            // of these, that of the last packet
	lastAt uint32

	number  uint64 // frames so far
	first   int64  // time of the first packet
	ended   bool
	problem error
}

// format reads one kind of files. Both methods hand packets to the file, and return io.EOF at the end or why they cannot
// go on.
type format interface {
	begin(*file) error
	next(*file) error
}

// place is what tells interfaces of a file apart.
type place struct {
	name  string
	link  frame.Link
	index uint32 // the kernel's, of Cooked2
}

// open finds out what a source is.
func (f *file) open(src *Source) (err error) {
	if f.in, err = open(src); err != nil {
		return err
	}
	f.window.newest = math.MinInt64
	head, err := f.in.peek(4)
	switch {
	case err == io.EOF:
		return errors.New("is empty")
	case err != nil && err != io.ErrUnexpectedEOF:
		return err
	case len(head) == 4 && be.Uint32(head) == pcapng.TypeSection: // the same in both byte orders
		f.format = &ng{}
	case len(head) == 4:
		if p := newPcap(head); p != nil {
			f.format = p
		}
	}
	if f.format == nil {
		return fmt.Errorf("is no capture, it begins with %x: pcap and pcapng are read, also in gzip and zstd; convert others with editcap -F pcapng", head)
	}
	return f.format.begin(f)
}

// fill reads ahead until the next packet is certain, or the file ends.
func (f *file) fill() {
	for !f.ended && !f.window.full() {
		if err := f.format.next(f); err != nil {
			f.end(err)
		}
	}
}

// end is told why there is no more.
func (f *file) end(err error) {
	f.ended = true
	if err != io.EOF {
		f.problem = err
		if report := f.r.o.Problem; report != nil {
			report(Problem{File: f.name, Offset: f.in.off, Packets: f.number, Err: err})
		}
	}
	if f.in.size > 0 {
		f.in.drain() // for the sum
	}
	f.in.Close()
}

// packet takes a frame from the format. data is borrowed.
func (f *file) packet(at uint32, link frame.Link, ns int64, original, flags uint32, data []byte) {
	f.number++
	if f.number == 1 {
		f.first = ns
	}
	if link == frame.Cooked2 {
		at = f.cooked(at, frame.InterfaceIndex(link, data))
	}
	n := f.window.alloc()
	p := &f.window.nodes[n].Packet
	p.Time, p.Number, p.Vantage = ns, f.number, uint16(f.global[at])
	p.In, p.Out = flags&3 == pcapng.Inbound, flags&3 == pcapng.Outbound
	p.Decode(link, data, int(original))
	f.window.push(n, at)
}

// describe takes an interface that the file describes, and returns the number that its packets are to have. One of Cooked2
// is many, which are found packet by packet.
func (f *file) describe(name string, link frame.Link) (uint32, error) {
	if link == frame.Cooked2 {
		f.cooks = append(f.cooks, name)
		return uint32(len(f.cooks) - 1), nil
	}
	return f.lane(place{name: name, link: link})
}

// cooked is the lane of the interface that a frame of Cooked2 names.
func (f *file) cooked(at, index uint32) uint32 {
	p := place{name: f.cooks[at], link: frame.Cooked2, index: index}
	if p == f.last {
		return f.lastAt
	}
	lane, err := f.lane(p)
	if err != nil { // there are too many for all to be told apart
		if len(f.global) == 0 {
			f.global = append(f.global, 0)
		}
		return f.lastAt
	}
	f.last, f.lastAt = p, lane
	return lane
}

// lane returns the number of a place within the file.
func (f *file) lane(p place) (uint32, error) {
	if at, ok := f.lanes[p]; ok {
		return at, nil
	}
	if len(f.r.interfaces) > math.MaxUint16 {
		return 0, fmt.Errorf("there are more than %d interfaces: analyse the files one by one", math.MaxUint16+1)
	}
	name := p.name
	if p.index != 0 {
		if name == "" {
			name = "any"
		}
		name = fmt.Sprintf("%s:%d", name, p.index)
	}
	at := uint32(len(f.global))
	f.lanes[p] = at
	f.global = append(f.global, len(f.r.interfaces))
	f.window.several = at > 0
	f.r.interfaces = append(f.r.interfaces, Interface{File: f.name, Name: name, Link: p.link})
	return at, nil
}

// lose passes on that packets are missing; lanes are those of which they are, none for all.
func (f *file) lose(lanes []uint32, l Loss) {
	if f.r.o.Loss == nil {
		return
	}
	l.File = f.name
	for _, at := range lanes {
		l.Interfaces = append(l.Interfaces, f.r.interfaces[f.global[at]].Name)
	}
	f.r.o.Loss(l)
}

func (f *file) facts() File {
	g, ok := f.format.(*ng)
	return File{Name: f.name, Packets: f.number, Bytes: f.in.total, SHA256: f.in.sha256(), Ours: ok && g.ours, Problem: f.problem}
}

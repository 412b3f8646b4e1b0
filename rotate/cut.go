package rotate

import (
	"fmt"
	"io"
	"slices"

	"github.com/ringside/ringside/pcapng"
)

// output writes a window's stream.
type output struct {
	w        io.Writer
	n        int64
	packets  uint64
	received []uint64          // by id in the window's table
	first    map[string]uint32 // least id with packets, by ring
	last     int64             // time of the last packet
}

func (o *output) write(b []byte) error {
	n, err := o.w.Write(b)
	o.n += int64(n)
	return err
}

// WriteTo writes the stream: a section header whose comment tells the coverage, all interfaces, the packets in the
// order of the disk, which is that of their rings, the notes of the window, and at the end statistics of exactly what
// was written. Packets are checked before they are written; a chunk that is damaged is left out and reported by
// Coverage, not by an error. An error is that of out.
func (w *Window) WriteTo(out io.Writer) (int64, error) {
	c := w.Coverage()
	blocks := pcapng.AppendSection(nil, application, c.comment())
	for _, i := range w.table {
		blocks = pcapng.AppendInterface(blocks, i)
	}
	o := &output{w: out, received: make([]uint64, len(w.table)), first: map[string]uint32{}, last: w.asked.from}
	if err := o.write(blocks); err != nil {
		return o.n, err
	}
	for i := range w.sources {
		if err := w.copySegment(o, &w.sources[i]); err != nil {
			return o.n, err
		}
	}
	err := o.write(w.statistics(o))
	w.account.packets, w.account.bytes = o.packets, uint64(o.n)
	return o.n, err
}

// copySegment writes what the window wants of a segment.
func (w *Window) copySegment(o *output, g *source) error {
	if g.lost {
		return nil
	}
	x, err := g.load(w.buf)
	if err != nil {
		w.lose(g, err)
		return nil
	}
	f, _, err := g.open(w.buf)
	if err != nil {
		for i := range x.chunks {
			if e := &x.chunks[i]; w.wants(e) {
				w.skip(g, e, err)
			}
		}
		return nil
	}
	defer f.Close()
	if err := o.write(w.notes(x)); err != nil {
		return err
	}
	remap := make([]uint32, len(x.Table))
	for i, in := range x.Table {
		remap[i] = w.ids[in]
	}
	for i := range x.chunks {
		e := &x.chunks[i]
		if !w.wants(e) {
			continue
		}
		b, err := f.view(e.Offset, int(e.Data))
		var kept []byte
		if err == nil {
			kept, err = w.cut(o, b, e, remap)
		}
		if err != nil {
			w.skip(g, e, err)
			continue
		}
		if err := o.write(kept); err != nil {
			return err
		}
	}
	return nil
}

// lose reports a segment that could be read when the window was opened.
func (w *Window) lose(g *source, err error) {
	g.lost = true
	lo, hi, ok := g.span()
	if !ok || lo >= w.asked.to || hi < w.asked.from { // it only explained what is missing, and survey has that
		return
	}
	w.account.damaged = append(w.account.damaged, Missing{
		Span: span{max(lo, w.asked.from), min(hi, w.asked.to)}.times(), Reason: MissingDamaged, Packets: g.Packets, Text: fmt.Sprintf("segment %s: %v", g.Name, err),
	})
}

// skip reports a chunk that is left out because it is damaged.
func (w *Window) skip(g *source, e *Entry, err error) {
	lo, hi := e.span()
	w.account.damaged = append(w.account.damaged, Missing{
		Span: span{max(lo, w.asked.from), min(hi, w.asked.to)}.times(), Ring: e.Ring, Reason: MissingDamaged, Packets: e.Packets,
		Text: fmt.Sprintf("segment %s, offset %d: %v", g.Name, e.Offset, err),
	})
}

// notes returns the notes of a segment that belong to the window, as blocks.
func (w *Window) notes(x *index) (blocks []byte) {
	scratch := account{asked: w.asked}
	for _, n := range x.Noted {
		if scratch.keep(n) {
			blocks = pcapng.AppendNote(blocks, n)
		}
	}
	return blocks
}

// cut reduces a chunk to its packets in the window, in place, and gives them the window's interface ids. It counts
// them only when it has found the whole chunk valid.
func (w *Window) cut(o *output, b []byte, e *Entry, remap []uint32) ([]byte, error) {
	if int64(len(b)) < e.Data {
		return nil, fmt.Errorf("%w: the file ends in it", pcapng.ErrTorn)
	}
	counts := make(map[uint32]uint64, len(e.Counts))
	n, packets, last := 0, uint64(0), o.last
	for off := 0; off < len(b); {
		blk, err := pcapng.Parse(b[off:])
		if err != nil {
			return nil, err
		}
		off += len(blk.Raw)
		if blk.Type != pcapng.TypePacket {
			continue // notes come from the index, statistics at the end
		}
		p, err := storedPacket(blk, len(remap))
		if err != nil {
			return nil, err
		}
		packets++
		if p.NS < w.asked.from || p.NS >= w.asked.to {
			continue
		}
		id := remap[p.ID]
		if id != p.ID {
			blk.SetInterface(id)
		}
		counts[id]++
		last = max(last, p.NS)
		n += copy(b[n:], blk.Raw)
	}
	if packets != e.Packets {
		return nil, fmt.Errorf("%w: %d packets, the index says %d", pcapng.ErrTorn, packets, e.Packets)
	}
	o.count(e.Ring, counts)
	o.last = last
	return b[:n], nil
}

func (o *output) count(ring string, counts map[uint32]uint64) {
	for id, n := range counts {
		o.received[id] += n
		o.packets += n
		if first, ok := o.first[ring]; !ok || id < first {
			o.first[ring] = id
		}
	}
}

// statistics returns the totals of every interface that has packets in the window. The drops of a ring are stated on
// the first of its interfaces, so that the sum is right.
func (w *Window) statistics(o *output) (blocks []byte) {
	dropped := make([]uint64, len(w.table))
	for _, n := range w.account.notes {
		if id, ok := o.first[n.Ring]; ok && n.Kind == pcapng.NoteDropped {
			dropped[id] += n.Packets
		}
	}
	for id, n := range o.received {
		if n > 0 {
			blocks = pcapng.AppendStatistics(blocks, uint32(id), o.last, n+dropped[id], dropped[id])
		}
	}
	return slices.Clip(blocks)
}

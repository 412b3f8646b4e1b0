package rotate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/ringside/ringside/pcapng"
)

// errNoSegment means that a file does not begin with a section header: it is set aside.
var errNoSegment = errors.New("it does not begin with a pcapng section header")

// rebuilder makes an index from the blocks of a segment alone.
type rebuilder struct {
	f     *segmentFile
	size  int64
	x     *index
	rings map[uint32]string // ring by interface id, from the summaries so far
	to    map[string]int64  // covered, by ring; forgotten at damage
	hole  int               // 1 + position of the note of damage that no chunk has followed yet

	// What has been walked since the last summary:
	start  int64 // offset
	data   int64 // end of the last packet or note
	sum    pcapng.Summary
	counts map[uint32]uint64
	notes  []pcapng.Note
	idbs   int // interfaces
}

// rebuild walks a segment of size bytes and returns its index and the offset of the end of its last whole block: what
// follows is torn. Damage in the middle is skipped to the next page at which whole blocks begin, and noted. It returns
// errNoSegment if the first block is no section header, or the error of reading.
func rebuild(f *segmentFile, size int64) (x *index, end int64, err error) {
	r := &rebuilder{f: f, size: size, x: &index{}, rings: map[uint32]string{}, to: map[string]int64{}, counts: map[uint32]uint64{}}
	for at := int64(0); ; {
		good, err := r.walk(at)
		if errors.Is(err, errNoSegment) {
			return nil, 0, err
		}
		end = max(end, good)
		r.flush(good, pcapng.Summary{}, false)
		if err == nil {
			break
		}
		if !errors.Is(err, pcapng.ErrTorn) {
			return nil, 0, err
		}
		if at, err = r.resume(good); err != nil {
			return nil, 0, err
		}
		if at < 0 {
			break
		}
		r.damage(good, at)
	}
	r.x.Bytes = end
	r.x.State = StateRecovered
	r.x.setTable(r.x.Table)
	r.x.note(nil)
	return r.x, end, nil
}

// walk reads blocks from at until the end, where it returns nil, or damage. good is the end of the last whole block.
func (r *rebuilder) walk(at int64) (good int64, err error) {
	r.start, r.data, r.idbs = at, at, 0
	w := pcapng.NewWalker(&stream{r.f, at})
	for {
		b, err := w.Next()
		good = at + w.Offset()
		switch {
		case err == nil:
		case at == 0 && good == 0 && (err == io.EOF || errors.Is(err, pcapng.ErrTorn)):
			return 0, errNoSegment
		case err == io.EOF:
			return good, nil
		default:
			return good, err
		}
		if at == 0 && b.Offset == 0 && b.Type != pcapng.TypeSection {
			return 0, errNoSegment
		}
		if err := r.block(b, at+b.Offset); err != nil {
			return at + b.Offset, err
		}
	}
}

// block takes over one block, which begins at off.
func (r *rebuilder) block(b pcapng.Block, off int64) error {
	end := off + int64(len(b.Raw))
	if end-r.start > maxChunk && off > r.start { // no chunk is so long: its summary was lost
		r.flush(off, pcapng.Summary{}, false)
	}
	switch b.Type {
	case pcapng.TypePacket:
		return r.packet(b, end)
	case pcapng.TypeInterface:
		i, err := b.Interface()
		if err != nil {
			return fmt.Errorf("%w: %w", pcapng.ErrTorn, err)
		}
		r.x.Table = append(r.x.Table, i)
		r.idbs++
	case pcapng.TypeLocal:
		if n, err := b.Note(); err == nil {
			r.note(n)
			r.data = end
		} else if s, err := b.Summary(); err == nil {
			r.flush(end, s, true)
		}
	}
	return nil
}

func (r *rebuilder) packet(b pcapng.Block, end int64) error {
	p, err := storedPacket(b, len(r.x.Table))
	if err != nil {
		return err
	}
	if r.sum.Packets == 0 {
		r.sum.First, r.sum.Last = p.NS, p.NS
	}
	r.sum.First, r.sum.Last = min(r.sum.First, p.NS), max(r.sum.Last, p.NS)
	r.sum.Packets++
	r.counts[p.ID]++
	r.data = end
	return nil
}

// note keeps a note. That which begins a segment is the segment's own.
func (r *rebuilder) note(n pcapng.Note) {
	if n.Kind == noteSegment {
		r.x.anchor = anchor{Boot: n.Text, Wall: n.To, Created: n.From}
		return
	}
	r.notes = append(r.notes, n)
	if n.Kind == pcapng.NoteDropped {
		r.sum.Dropped += n.Packets
	}
}

// flush ends the chunk that began at r.start at end. stated is the summary it ends with, if whole; otherwise the
// writer died in it, or its end is damaged, and what can be known is taken from its packets.
func (r *rebuilder) flush(end int64, stated pcapng.Summary, whole bool) {
	if whole && stated.Ring == "" && r.sum.Packets == 0 {
		r.meta(stated)
	} else if r.sum.Packets > 0 || whole {
		for id, n := range r.counts {
			r.sum.Counts = append(r.sum.Counts, pcapng.Count{ID: id, Packets: n})
		}
		slices.SortFunc(r.sum.Counts, func(a, b pcapng.Count) int { return int(a.ID) - int(b.ID) })
		e := Entry{Offset: r.start, Length: end - r.start, Data: r.data - r.start, Summary: r.sum}
		if whole {
			e.Ring, e.From, e.To, e.Dropped = stated.Ring, stated.From, stated.To, stated.Dropped
			e.CutPolicy, e.CutLimit = stated.CutPolicy, stated.CutLimit
			for _, c := range e.Counts {
				r.rings[c.ID] = e.Ring
			}
			r.to[e.Ring] = e.To
		} else {
			r.torn(&e)
		}
		r.afterDamage(&e)
		r.x.add(e, r.notes)
	} else {
		r.x.note(r.notes)
	}
	r.start, r.data, r.idbs = end, end, 0
	r.sum, r.notes = pcapng.Summary{}, nil
	clear(r.counts)
}

// torn settles ring and coverage of a chunk without summary: its ring was covered from where the chunk before ended to
// its last packet.
func (r *rebuilder) torn(e *Entry) {
	e.Ring, e.From, e.To = r.rings[e.Counts[0].ID], e.First, e.Last
	if e.Ring == "" {
		e.Ring = r.x.Table[e.Counts[0].ID].Name
	}
	if to, ok := r.to[e.Ring]; ok && to <= e.First {
		e.From = to
	}
	r.to[e.Ring] = e.To
}

// meta takes over what the summary of a meta page says. If a page with interfaces was lost before it, the ids that
// were lost are filled, so that the interfaces in this page get their own.
func (r *rebuilder) meta(s pcapng.Summary) {
	r.x.note(r.notes)
	if len(s.Counts) != 1 {
		return
	}
	missing := int64(s.Counts[0].ID) - int64(len(r.x.Table))
	if missing <= 0 || missing > math.MaxUint16 {
		return
	}
	lost := slices.Repeat([]pcapng.Interface{{Name: "unknown", Description: "lost with a damaged page"}}, int(missing))
	r.x.Table = slices.Insert(r.x.Table, len(r.x.Table)-r.idbs, lost...)
}

// resume finds the next page after good at which blocks begin that are whole up to a summary, or returns -1.
func (r *rebuilder) resume(good int64) (int64, error) {
	for at := good&^(pcapng.PageSize-1) + pcapng.PageSize; at < r.size; at += pcapng.PageSize {
		head, err := r.f.view(at, pcapng.PageSize)
		if err != nil {
			return 0, err
		}
		if !plausible(head) {
			continue
		}
		b, err := r.f.view(at, maxChunk)
		if err != nil {
			return 0, err
		}
		if r.wholeChunk(b) {
			return at, nil
		}
	}
	return -1, nil
}

// plausible says whether a page begins like a chunk or meta page.
func plausible(b []byte) bool {
	if len(b) < 8 {
		return false
	}
	typ, length := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	ours := typ == pcapng.TypePacket || typ == pcapng.TypeLocal || typ == pcapng.TypeInterface
	return ours && length >= 12 && length%4 == 0 && length <= maxChunk
}

// wholeChunk says whether b begins with blocks that can be taken over up to a summary of ours that ends at a page.
func (r *rebuilder) wholeChunk(b []byte) bool {
	interfaces := len(r.x.Table)
	for off := 0; ; {
		blk, err := pcapng.Parse(b[off:])
		if err != nil {
			return false
		}
		off += len(blk.Raw)
		switch blk.Type {
		case pcapng.TypePacket:
			_, err = storedPacket(blk, interfaces)
		case pcapng.TypeInterface:
			_, err = blk.Interface()
			interfaces++
		}
		if err != nil {
			return false
		}
		if _, err := blk.Summary(); err == nil {
			return off%pcapng.PageSize == 0
		}
	}
}

// damage notes that nothing between two offsets could be read. It is dated by the chunks around it.
func (r *rebuilder) damage(from, to int64) {
	n := pcapng.Note{Kind: pcapng.NoteDamaged, Bytes: uint64(to - from), Text: fmt.Sprintf("nothing can be read from offset %d to %d", from, to)}
	if !r.x.To.IsZero() {
		n.From = r.x.To.UnixNano()
		n.To = n.From
	}
	r.x.note([]pcapng.Note{n})
	r.hole = len(r.x.Noted)
	clear(r.to)
}

// afterDamage dates the end of damage by the first chunk after it. The beginning of that chunk may be lost too, so it
// covers only what follows its first packet.
func (r *rebuilder) afterDamage(e *Entry) {
	if r.hole == 0 || e.Ring == "" {
		return
	}
	e.From = e.To
	if e.Packets > 0 {
		e.From = min(e.First, e.To)
	}
	n := &r.x.Noted[r.hole-1]
	if n.From == 0 {
		n.From = e.From
	}
	n.To = max(n.To, e.From)
	r.hole = 0
}

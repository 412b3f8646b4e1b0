package rotate

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/pcapng"
)

// Reader looks at a spool, or the directory of a pin, without changing it and without a lock, also while a process is
// writing it. It sees the segments that were there when it was opened. It may be used by several goroutines.
type Reader struct {
	dir      string
	segments []Segment
	live     map[string]*index // by name: of segments that this process is still writing
	waiting  []pcapng.Note     // that no segment has yet
}

// OpenReader reads the facts of the segments in dir. Indexes that are missing are rebuilt in memory, which reads the
// whole segment; so is that of a live one.
func OpenReader(dir string) (*Reader, error) { return openReader(&Reader{dir: dir}) }

// openReader completes r, which has its directory and what is known already.
func openReader(r *Reader) (*Reader, error) {
	dir := r.dir
	names, err := listDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read spool %s: %w: name its directory with --dir", dir, err)
	}
	buf, err := readBuffer()
	if err != nil {
		return nil, err
	}
	defer freeBuffer(buf)
	for _, name := range names {
		base, _, ok := parseName(name)
		if !ok {
			continue
		}
		g := Segment{Name: base + suffixSealed, State: StateSealed}
		g.Sequence, _, _ = parseBase(base)
		r.segments = append(r.segments, r.look(g, buf))
	}
	return r, nil
}

// look completes the facts of a segment by its index, or by its blocks.
func (r *Reader) look(g Segment, buf []byte) Segment {
	if x := r.live[g.Name]; x != nil {
		return x.Segment
	}
	src := r.source(g)
	f, open, err := src.open(buf)
	if err != nil {
		g.Error = err.Error()
		return g
	}
	defer f.Close()
	x, err := readIndex(src.index, false)
	if err != nil || x.Bytes != f.size {
		if x, _, err = rebuild(f, f.size); err != nil {
			g.Error = err.Error()
			return g
		}
		x.setName(g.Name)
		x.tail(f.size)
		x.State = StateSealed
	}
	if open {
		x.State = StateLive
	}
	return x.Segment
}

func (r *Reader) source(g Segment) source {
	return source{
		Segment: g, path: filepath.Join(r.dir, g.Name), index: indexPath(r.dir, g.Name), live: r.live[g.Name],
	}
}

// Segments returns the facts of all segments by sequence.
func (r *Reader) Segments() []Segment { return slices.Clone(r.segments) }

// Window returns the packets of [from, to), as Spool.Window does, but without waiting for anything, and without holding
// the segments: what retention removes meanwhile is reported as damaged.
func (r *Reader) Window(_ context.Context, from, to time.Time) (*Window, error) {
	if !from.Before(to) {
		return nil, fmt.Errorf("window: from %s is not before to %s", from.Format(time.RFC3339Nano), to.Format(time.RFC3339Nano))
	}
	asked := span{from.UnixNano(), to.UnixNano()}
	var list []*Segment
	var sources []source
	for i := range r.segments {
		g := &r.segments[i]
		list = append(list, g)
		if g.overlaps(asked.from, asked.to) {
			sources = append(sources, r.source(*g))
		}
	}
	w, err := newWindow(asked, bounds(list), sources, func() {})
	if err != nil {
		return nil, err
	}
	for _, n := range r.waiting {
		w.account.keep(n)
	}
	return w, nil
}

// Contents is everything that is known of a segment but its packets.
type Contents struct {
	Segment    Segment            `json:"segment"`
	Interfaces []pcapng.Interface `json:"interfaces"`
	Notes      []pcapng.Note      `json:"notes"`
	Chunks     []Entry            `json:"chunks"`
}

// Contents returns what the index of the segment called name says. name may be its sequence, or leave out the suffix.
func (r *Reader) Contents(name string) (*Contents, error) {
	g, err := r.find(name)
	if err != nil {
		return nil, err
	}
	buf, err := readBuffer()
	if err != nil {
		return nil, err
	}
	defer freeBuffer(buf)
	src := r.source(g)
	x, err := src.load(buf)
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w", g.Name, err)
	}
	return &Contents{g, x.Table, x.Noted, x.chunks}, nil
}

// Blocks calls f for every block of the segment called name, in order. It stops at f's error or at the first block
// that is not whole, with an error that wraps pcapng.ErrTorn.
func (r *Reader) Blocks(name string, f func(pcapng.Block) error) error {
	g, err := r.find(name)
	if err != nil {
		return err
	}
	buf, err := readBuffer()
	if err != nil {
		return err
	}
	defer freeBuffer(buf)
	src := r.source(g)
	file, _, err := src.open(buf)
	if err != nil {
		return err
	}
	defer file.Close()
	return eachBlock(&stream{f: file}, f)
}

func (r *Reader) find(name string) (Segment, error) {
	base := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(name), ".open"), suffixSealed)
	for _, g := range r.segments {
		sequence, _, _ := strings.Cut(g.Name, "-")
		if g.Name == base+suffixSealed || base == sequence || base == fmt.Sprint(g.Sequence) {
			return g, nil
		}
	}
	return Segment{}, fmt.Errorf("no segment %s in %s: `ringside spool ls` lists them", name, r.dir)
}

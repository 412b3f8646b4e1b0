package rotate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/pcapng"
)

// patience is how long Window waits for rings to be flushed up to its end: they are every second.
const patience = 2 * time.Second

// Window is the packets of [from, to) as one pcapng stream. It holds its segments until it is closed, whatever
// retention does. It is owned by one goroutine.
type Window struct {
	asked   span
	sources []source
	account account
	table   []pcapng.Interface
	ids     map[pcapng.Interface]uint32 // position in table
	buf     []byte
	release func()
}

// source is a segment as a window reads it.
type source struct {
	Segment
	path  string // of its file, once sealed
	index string // path of the sidecar
	live  *index // instead of the sidecar, if that does not exist yet or is no good
	lost  bool   // it is reported that it cannot be read
}

// open opens the segment's file, under whichever name it has: another process may be sealing it at this moment.
func (g *source) open(buf []byte) (f *segmentFile, open bool, err error) {
	for _, suffix := range []string{"", ".open", ""} {
		if f, err = openSegment(g.path+suffix, buf); !errors.Is(err, os.ErrNotExist) {
			return f, suffix != "", err
		}
	}
	return nil, false, err
}

// load returns the index of the segment, rebuilt if need be.
func (g *source) load(buf []byte) (*index, error) {
	if g.live != nil {
		return g.live, nil
	}
	f, _, err := g.open(buf)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	x, err := readIndex(g.index, true)
	if err == nil && x.Bytes == f.size {
		return x, nil
	}
	x, _, err = rebuild(f, f.size)
	if err != nil {
		return nil, err
	}
	x.setName(g.Name)
	x.tail(f.size)
	g.live = x // a window loads it twice
	return x, nil
}

// Window returns the packets of [from, to). If to is about now, it waits up to two seconds until all rings are on the
// disk up to it, or ctx is done. What is missing is no error: Coverage tells. The window must be closed.
func (s *Spool) Window(ctx context.Context, from, to time.Time) (*Window, error) {
	if !from.Before(to) {
		return nil, fmt.Errorf("window: from %s is not before to %s", from.Format(time.RFC3339Nano), to.Format(time.RFC3339Nano))
	}
	s.await(ctx, to.UnixNano())
	asked := span{from.UnixNano(), to.UnixNano()}
	sources, all, waiting, release := s.hold(asked)
	w, err := newWindow(asked, all, sources, release)
	if err != nil {
		return nil, err
	}
	for _, n := range waiting {
		w.account.keep(n)
	}
	return w, nil
}

// Await waits until every live ring is on the disk up to to, for at most two seconds or until ctx is done, and not at
// all if to is long past. What a pin holds is complete up to to after it.
func (s *Spool) Await(ctx context.Context, to time.Time) { s.await(ctx, to.UnixNano()) }

// await waits until every live ring is written up to to, for at most patience, and not at all if to is long past.
func (s *Spool) await(ctx context.Context, to int64) {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		// In the first second of a run no ring has been heard of yet.
		behind := len(s.progress) == 0 && s.began.wall != 0 && to > s.began.wall && time.Since(s.began.at) < patience
		for _, p := range s.progress {
			behind = behind || p.to < to && time.Since(p.at) < patience+time.Second
		}
		changed := s.changed
		s.mu.Unlock()
		if !behind {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// hold chooses the segments of a window and links them into a directory of its own, so that retention cannot remove
// them. release removes that directory. Where no link can be made, on a full disk, the window reads the spool's own
// files, and what retention removes meanwhile is missing from it and reported so. waiting are the notes that no segment
// had at that moment.
func (s *Spool) hold(asked span) (sources []source, all span, waiting []pcapng.Note, release func()) {
	s.files.Lock()
	defer s.files.Unlock()
	s.mu.Lock()
	s.windows++
	dir := filepath.Join(s.cfg.Dir, windowsName, strconv.FormatUint(s.windows, 10))
	var list []*Segment
	for _, g := range s.segments {
		list = append(list, &g.Segment)
		if !g.overlaps(asked.from, asked.to) {
			continue
		}
		src := source{Segment: g.Segment, path: filepath.Join(s.cfg.Dir, g.Name), index: indexPath(s.cfg.Dir, g.Name)}
		if g.index != nil {
			x := *g.index
			src.live = &x
		}
		sources = append(sources, src)
	}
	all = bounds(list)
	waiting = append(slices.Collect(maps.Values(s.losing)), s.notes...)
	s.mu.Unlock()
	held, err := s.linkAll(dir, sources)
	if err != nil {
		_ = os.RemoveAll(dir)
		s.log.Warn("the segments of a window cannot be held while it is read", zap.Error(err),
			zap.String("cure", "free space on the disk"))
		return sources, all, waiting, func() {}
	}
	s.mu.Lock()
	for _, g := range held {
		s.held[g.Name]++
	}
	s.mu.Unlock()
	return held, all, waiting, func() {
		_ = os.RemoveAll(dir)
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, g := range held {
			if s.held[g.Name]--; s.held[g.Name] == 0 {
				delete(s.held, g.Name)
			}
		}
	}
}

// isHeld says whether removing the segment frees nothing, because a pin or a window holds it. The caller holds mu.
func (s *Spool) isHeld(name string) bool { return s.held[name] > 0 || s.isPinned(name) }

// linkAll links segments into dir and returns them with the paths there.
func (s *Spool) linkAll(dir string, sources []source) (held []source, err error) {
	if err := os.Mkdir(dir, 0o750); err != nil {
		return nil, err
	}
	for _, g := range sources {
		at := g
		at.path, at.index = filepath.Join(dir, g.Name), indexPath(dir, g.Name)
		err := s.link(g.path, at.path)
		if err == nil && g.live == nil {
			if err = s.disk.Link(g.index, at.index); errors.Is(err, os.ErrNotExist) {
				err = nil // it is rebuilt
			}
		}
		if err != nil {
			return nil, err
		}
		held = append(held, at)
	}
	return held, nil
}

// link links a segment's file under whichever name it has: it may be sealed, and so renamed, at this moment.
func (s *Spool) link(sealed, to string) (err error) {
	for _, suffix := range []string{"", ".open", ""} {
		if err = s.disk.Link(sealed+suffix, to); !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return err
}

// bounds is what segments cover together.
func bounds(list []*Segment) (all span) {
	for _, g := range list {
		if g.From.IsZero() {
			continue
		}
		s := span{g.From.UnixNano(), g.To.UnixNano()}
		if all == (span{}) {
			all = s
		}
		all = span{min(all.from, s.from), max(all.to, s.to)}
	}
	return all
}

func newWindow(asked, all span, sources []source, release func()) (*Window, error) {
	buf, err := readBuffer()
	if err != nil {
		release()
		return nil, err
	}
	w := &Window{asked: asked, sources: sources, ids: map[pcapng.Interface]uint32{}, buf: buf, release: release}
	w.account = account{asked: asked, all: all, rings: map[string]*spans{}}
	for i := range sources {
		w.survey(&sources[i])
	}
	return w, nil
}

// survey takes over what the index of a segment says of the window.
func (w *Window) survey(g *source) {
	x, err := g.load(w.buf)
	if err != nil {
		g.lost = true
		lo, hi, _ := g.span()
		w.account.keep(pcapng.Note{Kind: pcapng.NoteDamaged, From: lo, To: hi, Packets: g.Packets, Text: fmt.Sprintf("segment %s: %v", g.Name, err)})
		return
	}
	w.account.segments++
	for _, i := range x.Table {
		if _, ok := w.ids[i]; !ok {
			w.ids[i] = uint32(len(w.table))
			w.table = append(w.table, i)
			w.account.names = append(w.account.names, i.Name)
		}
	}
	for _, n := range x.Noted {
		w.account.keep(n)
	}
	for i := range x.chunks {
		e := &x.chunks[i]
		l := w.account.rings[e.Ring]
		if l == nil {
			l = &spans{}
			w.account.rings[e.Ring] = l
		}
		lo, hi := min(e.From, e.To), max(e.From, e.To)
		l.add(span{lo, hi})
		if w.wants(e) {
			w.account.packets += e.Packets
		}
	}
}

// wants says whether the chunk may have packets of the window.
func (w *Window) wants(e *Entry) bool {
	return e.Packets > 0 && e.First < w.asked.to && e.Last >= w.asked.from
}

// Coverage is what the window holds and what it does not. After WriteTo it is exact.
func (w *Window) Coverage() Coverage { return w.account.coverage() }

// Close gives up what the window holds. It must not be used any more.
func (w *Window) Close() error {
	if w.buf == nil {
		return nil
	}
	freeBuffer(w.buf)
	w.buf = nil
	w.release()
	return nil
}

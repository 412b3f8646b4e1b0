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
	"strings"
	"time"

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
	path  string
	index string // path of the sidecar
	live  *index // instead of the sidecar, if that does not exist yet or is no good
}

// load returns the index of the segment, rebuilt if need be.
func (g *source) load(buf []byte) (*index, error) {
	if g.live != nil {
		return g.live, nil
	}
	st, err := os.Stat(g.path)
	if err != nil {
		return nil, err
	}
	x, err := readIndex(g.index, true)
	if err == nil && x.Bytes == st.Size() {
		return x, nil
	}
	x, _, err = rebuildFile(g.path, st.Size(), buf)
	if err != nil {
		return nil, err
	}
	x.setName(g.Name)
	x.tail(st.Size())
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
	sources, all, dir, err := s.hold(asked)
	if err != nil {
		return nil, fmt.Errorf("window: %w", err)
	}
	w, err := newWindow(asked, all, sources, func() { _ = os.RemoveAll(dir) })
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range [][]pcapng.Note{slices.Collect(maps.Values(s.losing)), s.notes} { // no segment has these yet
		for _, n := range list {
			w.account.keep(n)
		}
	}
	return w, nil
}

// await waits until every live ring is written up to to, for at most patience, and not at all if to is long past.
func (s *Spool) await(ctx context.Context, to int64) {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		behind := false
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

// hold links every segment that overlaps asked into a directory of its own, so that retention cannot remove it.
func (s *Spool) hold(asked span) (sources []source, all span, dir string, err error) {
	s.files.Lock()
	defer s.files.Unlock()
	s.mu.Lock()
	s.windows++
	dir = filepath.Join(s.cfg.Dir, windowsName, strconv.FormatUint(s.windows, 10))
	var list []*Segment
	var links []string
	for _, g := range s.segments {
		list = append(list, &g.Segment)
		if !g.overlaps(asked.from, asked.to) {
			continue
		}
		src := source{Segment: g.Segment, path: filepath.Join(dir, g.Name), index: indexPath(dir, g.Name)}
		if g.index != nil {
			x := *g.index
			src.live = &x
		}
		sources = append(sources, src)
		links = append(links, g.path(s.cfg.Dir))
	}
	all = bounds(list)
	s.mu.Unlock()
	if err := os.Mkdir(dir, 0o750); err != nil {
		return nil, all, "", err
	}
	for i, src := range sources {
		err := s.link(links[i], src.path)
		if err == nil && src.live == nil {
			err = s.disk.Link(indexPath(s.cfg.Dir, src.Name), src.index)
			if errors.Is(err, os.ErrNotExist) {
				err = nil // it is rebuilt
			}
		}
		if err != nil {
			_ = os.RemoveAll(dir)
			return nil, all, "", fmt.Errorf("hold segment %s: %w: check that the file system has hard links and space", src.Name, err)
		}
	}
	return sources, all, dir, nil
}

// link links a segment's file, which may be sealed, and so renamed, at this moment.
func (s *Spool) link(from, to string) error {
	err := s.disk.Link(from, to)
	if sealed, open := strings.CutSuffix(from, ".open"); open && errors.Is(err, os.ErrNotExist) {
		return s.disk.Link(sealed, to)
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

package rotate

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/failpoint"
	"github.com/ringside/ringside/pcapng"
)

// recover makes a list of segments of what is in the directory: it seals what a dead process left open, rebuilds
// indexes that are missing or do not fit, sets aside what is no segment, leaves what it cannot read, and removes what was left half done.
func (s *Spool) recover() error {
	dir := s.cfg.Dir
	if err := os.RemoveAll(filepath.Join(dir, windowsName)); err != nil {
		return explain(dir, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, windowsName), 0o750); err != nil {
		return explain(dir, err)
	}
	names, err := listDir(dir)
	if err != nil {
		return explain(dir, err)
	}
	buf, err := readBuffer()
	if err != nil {
		return err
	}
	defer freeBuffer(buf)
	have := map[string]bool{}
	for _, name := range names {
		base, open, ok := parseName(name)
		switch {
		case strings.HasSuffix(name, suffixTemp):
			_ = os.Remove(filepath.Join(dir, name))
		case ok:
			have[base+suffixIndex] = true
			if g := s.adopt(base, open, buf); g != nil {
				s.segments = append(s.segments, g)
			}
		}
	}
	for _, name := range names { // an index whose segment retention has removed
		if strings.HasSuffix(name, suffixIndex) && !have[name] {
			_ = os.Remove(filepath.Join(dir, name))
		}
	}
	slices.SortFunc(s.segments, func(a, b *segment) int { return strings.Compare(a.Name, b.Name) })
	s.countDamaged()
	s.next = s.lastSequence() + 1
	s.findGap()
	return s.disk.SyncDir(dir)
}

func listDir(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// adopt returns the segment in the file of base, or nil if it is none.
func (s *Spool) adopt(base string, open bool, buf []byte) *segment {
	g := &segment{open: open, synced: true}
	g.Name = base + suffixSealed
	path := g.path(s.cfg.Dir)
	st, err := os.Stat(path)
	if err != nil {
		s.log.Error("a segment cannot be looked at and is left out", zap.String("segment", base), zap.Error(err))
		return nil
	}
	if open && st.Size() == 0 { // the process died before its first write
		_ = os.Remove(path)
		return nil
	}
	x, err := readIndex(indexPath(s.cfg.Dir, g.Name), false)
	if err == nil && x.Bytes == st.Size() && x.Name == g.Name {
		g.Segment, g.anchor = x.Segment, x.anchor
		if st, err := os.Stat(indexPath(s.cfg.Dir, g.Name)); err == nil {
			g.indexBytes = st.Size()
		}
		if open { // it died between index and name
			s.reopenName(g)
		}
		s.checkHead(g)
		return g
	}
	if err := s.restore(g, st.Size(), buf); err != nil {
		if errors.Is(err, errNoSegment) {
			s.setAside(g, err)
			return nil
		}
		s.log.Error("a segment could not be recovered and is left out; the next start tries again", zap.String("segment", g.Name),
			zap.Error(err), zap.String("cure", "check the disk (dmesg), and the limits on memory and open files"))
		return nil
	}
	return g
}

// checkHead warns of a segment that windows can serve by its index and that no tool can open.
func (s *Spool) checkHead(g *segment) {
	var head [12]byte
	f, err := os.Open(g.path(s.cfg.Dir))
	if err == nil {
		_, err = io.ReadFull(f, head[:])
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		_ = f.Close()
	}
	if err == nil && !pcapng.IsSection(head[:]) {
		err = errors.New("it does not begin with a section header")
	}
	if err == nil {
		return
	}
	s.mark(g, "damaged: "+bare(err).Error())
	s.log.Error("a segment's beginning is damaged: tools cannot open the file; windows still serve what is whole in it",
		zap.String("segment", g.Name), zap.Error(err), zap.String("cure", "check the disk (dmesg)"))
}

// restore makes the index of a segment from its blocks. A segment that was being written is cut back to its last
// whole block and sealed; a sealed one is not changed.
func (s *Spool) restore(g *segment, size int64, buf []byte) error {
	dir := s.cfg.Dir
	path := g.path(dir)
	x, end, err := rebuildFile(path, size, buf)
	if err != nil {
		return err
	}
	failpoint.Stage("recovery-walked")
	x.setName(g.Name)
	if g.open {
		if err := cut(path, size, end); err != nil {
			return err
		}
		failpoint.Stage("recovery-truncated")
	} else {
		x.tail(size)
	}
	s.log.Warn("a segment was recovered", zap.String("segment", g.Name), zap.Bool("was_open", g.open),
		zap.Uint64("packets", x.Packets), zap.Int64("bytes_cut", size-end), zap.Time("last_covered", x.To))
	b, err := x.encode()
	if err == nil {
		err = s.disk.Publish(indexPath(dir, g.Name), b)
	}
	if err != nil {
		s.log.Error("could not write an index; it is rebuilt whenever it is needed", zap.String("segment", g.Name), zap.Error(err))
	}
	failpoint.Stage("recovery-indexed")
	g.indexBytes = int64(len(b))
	g.Segment, g.anchor = x.Segment, x.anchor
	if g.open {
		s.reopenName(g)
	}
	return nil
}

// setName gives a rebuilt index what only the file's name tells.
func (x *index) setName(name string) {
	x.Name = name
	x.Sequence, _, _ = parseBase(strings.TrimSuffix(name, suffixSealed))
}

// tail notes what of a sealed segment of size bytes lies after its last whole block.
func (x *index) tail(size int64) {
	if size > x.Bytes {
		n := pcapng.Note{Kind: pcapng.NoteDamaged, Bytes: uint64(size - x.Bytes), Text: "its end cannot be read"}
		if !x.To.IsZero() {
			n.From, n.To = x.To.UnixNano(), x.To.UnixNano()
		}
		x.note([]pcapng.Note{n})
	}
	x.Bytes = size
}

// rebuildFile rebuilds the index of the segment at path.
func rebuildFile(path string, size int64, buf []byte) (*index, int64, error) {
	f, err := openSegment(path, buf)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	return rebuild(f, size)
}

// cut shortens a file to its last whole block and brings that to the disk.
func cut(path string, size, end int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if end < size {
		err = f.Truncate(end)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// reopenName gives a recovered segment its sealed name.
func (s *Spool) reopenName(g *segment) {
	if err := os.Rename(g.path(s.cfg.Dir), filepath.Join(s.cfg.Dir, g.Name)); err != nil {
		s.log.Error("could not rename a recovered segment; the next start tries again", zap.String("segment", g.Name), zap.Error(err))
		return
	}
	g.open = false
	failpoint.Stage("recovery-renamed")
}

// setAside moves what is no segment to a directory where it is kept but not served.
func (s *Spool) setAside(g *segment, why error) {
	to := filepath.Join(s.cfg.Dir, damagedName)
	err := os.MkdirAll(to, 0o750)
	if err == nil {
		err = os.Rename(g.path(s.cfg.Dir), filepath.Join(to, filepath.Base(g.path(s.cfg.Dir))))
	}
	_ = os.Remove(indexPath(s.cfg.Dir, g.Name))
	s.log.Error("a file is no segment and was set aside", zap.String("segment", g.Name), zap.NamedError("why", why),
		zap.String("now_in", to), zap.NamedError("moved", err), zap.String("cure", "look at it with tshark, or delete it"))
}

// countDamaged adds up what is set aside, which counts against the budget.
func (s *Spool) countDamaged() {
	s.damaged = 0
	for _, f := range s.listDamaged() {
		s.damaged += f.Size()
	}
}

// listDamaged returns the files that are set aside, oldest first.
func (s *Spool) listDamaged() (files []os.FileInfo) {
	list, _ := os.ReadDir(filepath.Join(s.cfg.Dir, damagedName)) // usually there is none
	for _, e := range list {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			files = append(files, info)
		}
	}
	slices.SortStableFunc(files, func(a, b os.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	return files
}

// lastSequence is the greatest sequence in use, in pins, in what is set aside and in what was left out too.
func (s *Spool) lastSequence() (last uint64) {
	see := func(path string) {
		if base, _, ok := parseName(filepath.Base(path)); ok {
			n, _, _ := parseBase(base)
			last = max(last, n)
		}
	}
	for _, g := range s.segments {
		last = max(last, g.Sequence)
	}
	for _, pattern := range []string{"*", damagedName + "/*", pinsName + "/*/*"} {
		paths, _ := filepath.Glob(filepath.Join(s.cfg.Dir, pattern))
		for _, p := range paths {
			see(p)
		}
	}
	return last
}

// findGap finds until when earlier runs recorded, and whether the clock was set since.
func (s *Spool) findGap() {
	for _, g := range slices.Backward(s.segments) {
		if g.To.IsZero() {
			continue
		}
		s.gap = g.To.UnixNano()
		s.gapText = "the recorder was not running"
		wall, boot := s.clock.now()
		if g.Boot != s.boot || g.Wall == 0 {
			s.gapText = "the machine was restarted, or its boot is not known"
			return
		}
		if step := (wall - boot) - (g.Wall - g.Created); time.Duration(step).Abs() > clockSlack {
			s.count.clockSteps.Add(1)
			s.notes = append(s.notes, pcapng.Note{Kind: pcapng.NoteClock, To: wall, Step: step, Text: "set while the recorder was not running"})
		}
		return
	}
}

// noteGap notes, with the first chunk of a run, how long nothing was recorded.
func (s *Spool) noteGap(from int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gap == 0 {
		return
	}
	n := pcapng.Note{Kind: pcapng.NoteGap, From: s.gap, To: from, Text: s.gapText}
	if n.From > n.To {
		n.Text += fmt.Sprintf("; the wall clock was set back: the earlier run had ended at %s", time.Unix(0, n.From).UTC().Format(time.RFC3339Nano))
		n.From = n.To
	}
	s.gap = 0
	s.notes = slices.Insert(s.notes, 0, n)
}

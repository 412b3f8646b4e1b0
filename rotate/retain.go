package rotate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/failpoint"
)

// grace is how long the wall clock must have been steady before it is believed that a segment of an earlier boot is old.
const grace = 10 * time.Minute

// keepHouse applies retention every second and after every seal, and extends pins, until ctx is done.
func (s *Spool) keepHouse(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.kick:
		case <-ctx.Done():
			return
		}
		s.extendPins()
		s.retain()
	}
}

// retain removes the oldest segments until the spool keeps to its bounds.
func (s *Spool) retain() {
	free, total, err := s.disk.Space(s.cfg.Dir)
	if err != nil {
		free, total = s.count.diskFree.Load(), s.count.diskTotal.Load()
	}
	s.count.diskFree.Store(free)
	s.count.diskTotal.Store(total)
	s.files.Lock()
	defer s.files.Unlock()
	missing := int64(s.limits().Keep.Free*float64(total)) - free - s.retainDamaged()
	s.mu.Lock()
	doomed := s.doomed(missing)
	s.mu.Unlock()
	for _, g := range doomed {
		s.removeSegment(g)
	}
	if len(doomed) == 0 && missing > 0 && time.Since(s.crowded) >= quiet {
		s.crowded = time.Now()
		s.log.Warn("the disk has less free than it should, and there is nothing left to remove but the present",
			zap.String("dir", s.cfg.Dir), zap.Int64("missing_bytes", missing), zap.Int64("pinned_bytes", s.Stats().PinnedBytes),
			zap.String("cure", "free space on the disk, or lower rotate.keep.free"))
	}
}

// retainDamaged removes, oldest first, the files set aside that are too old or beyond the budget, before any segment
// goes for it. It returns the bytes it removed. The caller holds files.
func (s *Spool) retainDamaged() (removed int64) {
	s.mu.Lock()
	damaged, over := s.damaged, s.usage()-s.limits().Keep.Bytes
	steady := time.Since(s.steady) >= grace
	s.mu.Unlock()
	if damaged == 0 {
		return 0
	}
	wall, _ := s.clock.now()
	for _, f := range s.listDamaged() {
		old := steady && time.Duration(wall-f.ModTime().UnixNano()) > s.limits().Keep.Age
		if !old && removed >= over {
			continue
		}
		if err := s.disk.Remove(filepath.Join(s.cfg.Dir, damagedName, f.Name())); err != nil {
			s.log.Error("could not remove a file that was set aside", zap.String("file", f.Name()), zap.Error(err))
			continue
		}
		s.log.Info("a file that was set aside is removed", zap.String("file", f.Name()), zap.Time("written", f.ModTime()))
		removed += f.Size()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.damaged -= removed
	return removed
}

// doomed returns the segments to remove, oldest first: those too old, those beyond the budget, and those whose removal
// frees the missing bytes. A segment that a pin or a window holds frees nothing, so it is passed over for that; what was removed
// a moment ago may not be counted as free yet, so no more is removed than is missing.
func (s *Spool) doomed(missing int64) (list []*segment) {
	wall, boot := s.clock.now()
	used := s.usage()
	for _, g := range s.removable() {
		if !g.synced { // seals do not end in order
			continue
		}
		needed := used > s.limits().Keep.Bytes || s.age(g, wall, boot) > s.limits().Keep.Age
		if !needed && missing <= 0 {
			continue
		}
		held := s.isHeld(g.Name)
		if !needed && held {
			continue
		}
		used -= g.bytes()
		if !held {
			missing -= g.bytes()
		}
		list = append(list, g)
	}
	return list
}

// removable returns all segments but the live one, those being sealed, and the newest sealed one.
func (s *Spool) removable() []*segment {
	n := len(s.segments)
	for n > 0 && !s.segments[n-1].synced {
		n--
	}
	return s.segments[:max(0, n-1)]
}

// age is how long ago a segment ended; see the package's documentation. It is 0 if that cannot be told.
func (s *Spool) age(g *segment, wall, boot int64) time.Duration {
	if g.Boot != "" && g.Boot == s.boot {
		end := g.Sealed
		if end == 0 { // it was recovered: it ended as long after its creation as it covers
			end = min(boot, g.Created+max(0, int64(g.To.Sub(g.From))))
		}
		return time.Duration(boot - end)
	}
	if g.To.IsZero() && g.Wall == 0 || time.Since(s.steady) < grace {
		return 0
	}
	end := g.Wall
	if !g.To.IsZero() {
		end = g.To.UnixNano()
	}
	return time.Duration(wall - end)
}

// bytes is what the segment and its index take.
func (g *segment) bytes() int64 { return g.Bytes + g.indexBytes }

// usage is what the spool takes without what only pins hold. The caller holds mu.
func (s *Spool) usage() int64 {
	sum := s.damaged
	for _, g := range s.segments {
		sum += g.bytes()
	}
	return sum
}

// freeOldest removes the oldest sealed segment whose removal frees space, whatever the rules say, because the writer
// has none left. It says whether there was one.
func (s *Spool) freeOldest() bool {
	s.extendPins()
	s.files.Lock()
	defer s.files.Unlock()
	s.mu.Lock()
	var oldest *segment
	for _, g := range s.segments {
		if g.synced && !s.isHeld(g.Name) {
			oldest = g
			break
		}
	}
	s.mu.Unlock()
	if oldest == nil {
		return false
	}
	s.log.Warn("the disk is full; the oldest segment makes room", zap.String("segment", oldest.Name),
		zap.String("cure", "free space on the disk, or lower rotate.keep.bytes"))
	return s.removeSegment(oldest)
}

// removeSegment removes the spool's own name of a segment; pins and windows have theirs. The caller holds files.
func (s *Spool) removeSegment(g *segment) bool {
	if err := s.disk.Remove(g.path(s.cfg.Dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Error("could not remove a segment", zap.String("segment", g.Name), zap.Error(err))
		return false
	}
	failpoint.Stage("retention-unlinked")
	if err := s.disk.Remove(indexPath(s.cfg.Dir, g.Name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Warn("could not remove an index; the next start does", zap.String("segment", g.Name), zap.Error(err))
	}
	s.count.removed.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(g)
	return true
}

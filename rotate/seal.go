package rotate

import (
	"fmt"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/ringside/ringside/failpoint"
)

// seal completes a segment: exact size, on the disk, index, name. It runs on a goroutine of its own, and the writer
// does not wait for it. What fails is counted, logged and kept with the segment's facts; the data stays where it is.
func (s *Spool) seal(l *live) {
	failpoint.Stage("seal-started")
	g := l.seg
	if l.size == 0 {
		s.discard(l)
		return
	}
	if err := l.file.Truncate(l.size); err != nil {
		s.sealFailed(g, "truncate", err)
	}
	failpoint.Stage("seal-truncated")
	if err := l.file.Sync(); err != nil {
		s.count.syncFailures.Add(1)
		s.mark(g, "sync failed: "+bare(err).Error())
		s.log.Error("the disk did not confirm a segment; its last seconds may be lost in a power cut",
			zap.String("segment", g.Name), zap.Error(err), zap.String("cure", "check the disk (dmesg)"))
	}
	failpoint.Stage("seal-synced")
	if err := l.file.Close(); err != nil {
		s.sealFailed(g, "close", err)
	}
	s.finish(g)
	failpoint.Stage("sealed")
}

// discard removes a segment into which nothing could be written.
func (s *Spool) discard(l *live) {
	_ = l.file.Close()
	if err := s.disk.Remove(l.seg.path(s.cfg.Dir)); err != nil {
		s.log.Warn("could not remove an empty segment; the next start does", zap.String("segment", l.seg.Name), zap.Error(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(l.seg)
}

// finish writes the index of a segment that is complete and gives it the name of a sealed one.
func (s *Spool) finish(g *segment) {
	_, boot := s.clock.now()
	s.mu.Lock()
	if g.index.State == StateLive {
		g.index.State = StateSealed
	}
	g.index.Error = g.Error
	g.index.Sealed, g.Sealed = boot, boot
	x := *g.index
	s.mu.Unlock()
	b, err := x.encode()
	if err == nil {
		err = s.disk.Publish(indexPath(s.cfg.Dir, g.Name), b)
		if noSpace(err) && s.freeOldest() {
			err = s.disk.Publish(indexPath(s.cfg.Dir, g.Name), b)
		}
	}
	if err != nil {
		s.sealFailed(g, "write the index of", err) // it is rebuilt when it is needed
	}
	failpoint.Stage("index-written")
	indexBytes := int64(len(b))
	from := filepath.Join(s.cfg.Dir, g.Name+".open")
	if err := s.disk.Rename(from, filepath.Join(s.cfg.Dir, g.Name)); err != nil {
		s.sealFailed(g, "rename", err)
	} else {
		s.mu.Lock()
		g.open = false
		s.mu.Unlock()
	}
	failpoint.Stage("renamed")
	if err := s.disk.SyncDir(s.cfg.Dir); err != nil {
		s.sealFailed(g, "sync the directory of", err)
	}
	s.mu.Lock()
	g.index.Error = g.Error
	g.Segment = g.index.Segment
	g.synced, g.indexBytes = true, indexBytes
	if err == nil {
		g.index = nil // the sidecar has it
	}
	s.mu.Unlock()
	s.wake()
}

func (s *Spool) sealFailed(g *segment, what string, err error) {
	s.count.sealFailures.Add(1)
	s.mark(g, fmt.Sprintf("seal failed: %s: %v", what, bare(err)))
	s.log.Error("could not "+what+" a segment; its packets are kept", zap.String("segment", g.Name), zap.Error(err),
		zap.String("cure", "check the disk (dmesg, df)"))
}

// mark keeps what is wrong with a segment.
func (s *Spool) mark(g *segment, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.Error == "" {
		g.Error = what
	}
}

// wake lets the janitor run now.
func (s *Spool) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

package rotate

import (
	"context"
	"os"
	"time"
)

const maxChunk = 1 << 20

type Pin struct{}

func (s *Spool) recover() error {
	es, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	for _, e := range es {
		if b, _, ok := parseName(e.Name()); ok {
			q, _, _ := parseBase(b)
			s.next = max(s.next, q+1)
		}
	}
	return nil
}
func (s *Spool) loadPins() error               { s.pins = map[string]*Pin{}; return nil }
func (s *Spool) retain()                       {}
func (s *Spool) freeOldest() bool              { return false }
func (s *Spool) keepHouse(ctx context.Context) { <-ctx.Done() }
func (s *Spool) usage() int64                  { return 0 }
func (s *Spool) pinnedOnly() int64             { return 0 }

var _ time.Time

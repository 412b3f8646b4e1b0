package rotate

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/ringside/ringside/pcapng"
)

// How many chunks a tap's reader holds at most, of poolChunks: the one that it looks at, and what waits.
const (
	tapChunks      = 8
	tapChunksShort = 2 // while less than half of the pool is free: the disk is slow, and chunks are for the rings
)

// Tap shows whole chunks to one reader on their way to the disk, without a copy and without waiting for the disk: also those
// that cannot be written. A reader that is slow, or never comes back, costs the recorder tapChunks of its chunks and no
// more: what comes meanwhile is skipped, and the reader told of it.
//
// Next and Release are called by the reader's one goroutine; Stats by anyone.
type Tap struct {
	pool   *pool
	leases chan *Lease // as long as there may be leases: lend never blocks

	mu      sync.Mutex
	held    int
	skipped []Skip // since the last lease
	stats   TapStats
}

// TapStats is what a tap has done. Every packet that was put is counted once.
type TapStats struct {
	Lent    uint64 // packets
	Skipped uint64 // packets
	Chunks  uint64 // that were skipped
	Held    int    // chunks, at the moment
}

// Lease is a chunk that the tap's reader may look at until Release, beside the writer. Nothing of it may be changed.
type Lease struct {
	Table   *pcapng.Table
	Summary pcapng.Summary // without Counts
	Notes   []pcapng.Note
	Blocks  []byte // for pcapng.Parse
	Skipped []Skip // chunks of all rings that were skipped since the lease before

	tap   *Tap
	chunk *pcapng.Chunk
	users atomic.Int32 // the reader and the writer; the last to leave gives the chunk back
}

// Skip is what a tap's reader was not shown of a ring: one chunk, or several in a row. Times are nanoseconds since 1970.
type Skip struct {
	Ring     string
	From, To int64
	Packets  uint64
}

// Tap returns the spool's tap. There is one reader, from the first call on; it shows what is put after that.
func (s *Spool) Tap() *Tap {
	s.tap.CompareAndSwap(nil, &Tap{pool: s.pool, leases: make(chan *Lease, tapChunks)})
	return s.tap.Load()
}

// lend offers c, which is on its way to the writer, to the reader. It returns nil if the reader holds too much.
func (t *Tap) lend(c *pcapng.Chunk) *Lease {
	t.mu.Lock()
	defer t.mu.Unlock()
	most := tapChunks
	if len(t.pool.tokens) < poolChunks/2 {
		most = tapChunksShort
	}
	if t.held >= most {
		t.skip(&c.Summary)
		return nil
	}
	l := &Lease{Table: c.Table, Summary: c.Summary, Notes: c.Notes, Blocks: c.Blocks(), Skipped: t.skipped, tap: t, chunk: c}
	l.Summary.Counts = nil // closing the chunk counts them again, in place
	l.users.Store(2)
	t.held, t.skipped = t.held+1, nil
	t.stats.Lent += c.Summary.Packets
	t.leases <- l
	return l
}

// skip accounts for a chunk. The caller holds mu.
func (t *Tap) skip(s *pcapng.Summary) {
	t.stats.Chunks++
	t.stats.Skipped += s.Packets
	for i := range t.skipped {
		if k := &t.skipped[i]; k.Ring == s.Ring {
			k.From, k.To, k.Packets = min(k.From, s.From), max(k.To, s.To), k.Packets+s.Packets
			return
		}
	}
	t.skipped = append(t.skipped, Skip{Ring: s.Ring, From: s.From, To: s.To, Packets: s.Packets})
}

// Next waits for a chunk. When ctx is done it returns those that wait, and then nil.
func (t *Tap) Next(ctx context.Context) *Lease {
	select {
	case l := <-t.leases:
		return l
	default:
	}
	select {
	case l := <-t.leases:
		return l
	case <-ctx.Done():
		return nil
	}
}

// Release gives the chunk back. It is called once.
func (l *Lease) Release() {
	l.tap.mu.Lock()
	l.tap.held--
	l.tap.mu.Unlock()
	l.Blocks = nil // whoever goes on reading finds nothing
	l.leave()
}

// leave is called by each user when it is done with the chunk.
func (l *Lease) leave() {
	if l.users.Add(-1) == 0 {
		l.tap.pool.put(l.chunk)
	}
}

// Stats returns a snapshot.
func (t *Tap) Stats() TapStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.Held = t.held
	return s
}

package rotate

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/failpoint"
	"github.com/ringside/ringside/pcapng"
)

const (
	maxSealing = 4                      // seals under way before rotation by time or size waits
	clockSlack = 100 * time.Millisecond // a smaller change of wall clock against boot time is no step
	maxBackOff = time.Second
	quiet      = time.Minute // between log lines of the same failure
)

// writer writes chunks to segments. It is owned by the goroutine of Run.
type writer struct {
	s       *Spool
	live    *live
	table   *pcapng.Table // of the last chunk
	meta    []byte        // page-aligned
	sealing sync.WaitGroup
	slots   chan struct{} // one for each seal under way
	offset  int64         // wall clock less boot time at the last chunk
	limit   bucket
	step    *pcapng.Note // a clock step that the next segment notes

	lost     map[string]*pcapng.Note // unwritten chunks by ring, until one is written again
	retryAt  time.Time
	backOff  time.Duration
	loggedAt time.Time
	since    time.Time
}

// Run writes what is put until ctx is done, then what is still queued, seals, and returns. It never gives up on errors
// of the disk: chunks that cannot be written are counted, dated and noted.
func (s *Spool) Run(ctx context.Context) error {
	w := &writer{s: s, slots: make(chan struct{}, 4*maxSealing), limit: newBucket(s.limits().WriteLimit), lost: map[string]*pcapng.Note{}}
	wall, boot := s.clock.now()
	w.offset = wall - boot
	s.mu.Lock()
	s.began = beginning{wall, time.Now()}
	s.mu.Unlock()
	janitor := make(chan struct{})
	go func() {
		defer close(janitor)
		s.keepHouse(ctx)
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case h := <-s.queue:
			w.take(ctx, h)
		case <-tick.C:
			w.rotateIfDue()
		case <-ctx.Done():
		}
	}
	for {
		select {
		case h := <-s.queue:
			w.take(ctx, h)
			continue
		default:
		}
		break
	}
	w.lastNotes()
	w.rotate()
	w.sealing.Wait()
	<-janitor
	if w.meta != nil {
		_ = unix.Munmap(w.meta)
	}
	return nil
}

// take writes a chunk, or counts it as unwritten, and frees it.
func (w *writer) take(ctx context.Context, h handed) {
	c := h.chunk
	defer w.s.giveBack(h)
	w.table = c.Table
	w.watchClock()
	data := c.Len()
	if time.Now().Before(w.retryAt) && ctx.Err() == nil {
		w.lose(c, data, nil)
		return
	}
	w.pace(ctx, data)
	w.s.noteGap(min(c.Summary.From, c.Summary.To))
	var closed []byte
	var closedIn *live
	for retried := false; ; {
		err := w.prepare(c.Table)
		if err == nil {
			switch {
			case closed == nil:
				closed, closedIn = c.Close(func(n pcapng.Count) (uint64, uint64) { return w.live.statistics(&c.Summary, n) }), w.live
			case closedIn != w.live: // its statistics are totals of the segment that failed
				closed, closedIn = c.CloseAgain(data), w.live
			}
			err = w.live.write(closed)
		}
		switch {
		case err == nil:
			w.wrote(c, data, len(closed))
			return
		case noSpace(err) && w.s.freeOldest():
		case !retried && !noSpace(err):
			retried = true
			w.failed(err)
		default:
			w.lose(c, data, err)
			return
		}
	}
}

// pace takes n bytes of what the write limit allows, as it is now: a limit that changes begins anew, without a debt.
func (w *writer) pace(ctx context.Context, n int) {
	for {
		if rate := w.s.limits().WriteLimit; w.limit.rate != float64(rate) {
			w.limit = newBucket(rate)
		}
		if w.limit.wait(ctx, n, w.s.relax) {
			return
		}
	}
}

// wrote accounts for a chunk that is in the file.
func (w *writer) wrote(c *pcapng.Chunk, data, length int) {
	failpoint.Stage("chunk-written")
	s, l := w.s, w.live
	e := Entry{Offset: l.size - int64(length), Length: int64(length), Data: int64(data), Summary: c.Summary}
	e.Counts = slices.Clone(c.Summary.Counts)
	l.dropped[e.Ring] += e.Dropped
	s.count.writtenPackets.Add(e.Packets)
	s.count.writtenBytes.Add(uint64(length))
	s.mu.Lock()
	x := l.seg.index
	x.add(e, c.Notes)
	x.Bytes = l.size
	l.seg.Segment = x.Segment
	s.progress[e.Ring] = progress{max(e.From, e.To), time.Now()}
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	if len(w.lost) > 0 {
		w.resumed()
	}
}

// prepare makes the live segment one that a chunk of table can follow in: it rotates if that is due, and writes a meta
// page if there is anything new.
func (w *writer) prepare(table *pcapng.Table) error {
	if w.live != nil && w.live.table != table {
		w.rotate()
	}
	w.rotateIfDue()
	if w.live == nil {
		l, err := w.s.begin(table)
		if err != nil {
			return err
		}
		w.live = l
	}
	notes := w.pending()
	blocks, interfaces := w.live.header(notes)
	if blocks == nil {
		return nil
	}
	if err := w.aligned(blocks); err != nil {
		return err
	}
	if err := w.live.write(w.meta[:len(blocks)]); err != nil {
		return err
	}
	failpoint.Stage("meta-written")
	w.live.known = len(interfaces)
	w.s.count.writtenBytes.Add(uint64(len(blocks)))
	w.noted(interfaces, notes)
	return nil
}

// pending returns the notes that wait for a meta page; noted removes them once they are written.
func (w *writer) pending() []pcapng.Note {
	var own []pcapng.Note
	if w.step != nil {
		own = append(own, *w.step)
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if len(own) == 0 {
		return w.s.notes[:len(w.s.notes):len(w.s.notes)]
	}
	return append(own, w.s.notes...)
}

func (w *writer) noted(interfaces []pcapng.Interface, notes []pcapng.Note) {
	s := w.s
	s.mu.Lock()
	defer s.mu.Unlock()
	x := w.live.seg.index
	x.setTable(interfaces)
	x.note(notes)
	x.Bytes = w.live.size
	w.live.seg.Segment = x.Segment
	if w.step != nil {
		notes, w.step = notes[1:], nil
	}
	s.notes = slices.Clone(s.notes[len(notes):])
}

// aligned copies blocks to the page-aligned buffer, and makes that larger if need be.
func (w *writer) aligned(blocks []byte) error {
	if len(blocks) > len(w.meta) {
		if w.meta != nil {
			_ = unix.Munmap(w.meta)
		}
		var err error
		if w.meta, err = mapMemory(max(2*len(blocks), 16*pcapng.PageSize)); err != nil {
			w.meta = nil
			return err
		}
	}
	copy(w.meta, blocks)
	return nil
}

// rotateIfDue ends the live segment when its time or size is reached. It waits while earlier ones are still being
// sealed: a slow disk gets longer segments, not a stopped writer.
func (w *writer) rotateIfDue() {
	l := w.live
	if l == nil || len(w.slots) >= maxSealing {
		return
	}
	if c := w.s.limits(); time.Since(l.opened) >= c.Every || l.size+pcapng.ChunkSize > c.MaxSize {
		w.rotate()
	}
}

// rotate hands the live segment to a goroutine that seals it. The next chunk begins another.
func (w *writer) rotate() {
	if w.live == nil {
		return
	}
	l := w.live
	w.live = nil
	w.slots <- struct{}{}
	w.sealing.Go(func() {
		w.s.seal(l)
		<-w.slots
	})
}

// watchClock notes a step of the wall clock and begins a new segment after it.
func (w *writer) watchClock() {
	wall, boot := w.s.clock.now()
	step := wall - boot - w.offset
	w.offset = wall - boot
	if time.Duration(step).Abs() <= clockSlack {
		return
	}
	w.s.count.clockSteps.Add(1)
	w.s.log.Warn("the wall clock was set; a new segment begins", zap.Duration("step", time.Duration(step)))
	n := pcapng.Note{Kind: pcapng.NoteClock, To: wall, Step: step}
	if w.step != nil {
		n.Step += w.step.Step
	}
	w.step = &n
	w.s.mu.Lock()
	w.s.steady = time.Now()
	w.s.mu.Unlock()
	w.rotate()
}

// failed gives the live segment up after an error that another segment may not have.
func (w *writer) failed(err error) {
	w.s.count.writeErrors.Add(1)
	w.complain("a segment could not be written and is sealed as it is; trying another", err)
	if errors.Is(err, unix.EINVAL) && w.s.direct.CompareAndSwap(true, false) {
		w.s.mu.Lock()
		w.s.whyBuffered = "its file system refused a direct write"
		w.s.mu.Unlock()
		w.s.log.Warn("direct I/O was refused; segments go through the page cache from now on", zap.String("dir", w.s.cfg.Dir))
	}
	w.rotate()
}

// complain logs a failure at most once a minute.
func (w *writer) complain(what string, err error) {
	if now := time.Now(); now.Sub(w.loggedAt) >= quiet || w.loggedAt.IsZero() {
		w.loggedAt = now
		w.s.log.Error(what, zap.String("dir", w.s.cfg.Dir), zap.Error(err),
			zap.Uint64("unwritten_packets", w.s.count.unwrittenPackets.Load()),
			zap.String("cure", "check the disk (dmesg, df); recording goes on"))
	}
}

package capture

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/pcapng"
	"golang.org/x/sys/unix"
)

const (
	flushEvery = time.Second
	flushLeast = 200 * time.Millisecond
	// onDisk is how soon a packet is handed over at the latest, so that it is on the disk 2 s after it was sent.
	onDisk = 1800 * time.Millisecond
	// noteRoom is kept free in a chunk for the note of what the ring dropped meanwhile, in bytes.
	noteRoom = 512
	// stepLeast is the least jump of the wall clock against the monotonic one that ends a chunk.
	stepLeast = 50 * time.Millisecond
	// disorder is by how much packets of several CPUs may be out of time order in a ring (measured: 7.2 ms).
	disorder = 10 * time.Millisecond
	// gatherMost is how long at most a reader that has caught up with a busy ring lets blocks gather, instead of waking
	// for each; gatherPart is the part of the ring that they may fill meanwhile.
	gatherMost = 8 * time.Millisecond
	gatherPart = 8
)

// reader moves the packets of one ring into chunks. All fields below the line are its goroutine's own.
type reader struct {
	name     string
	ring     *ring
	dir      *directory
	sink     Sink
	wake     int                            // eventfd, readable once stop was called
	stopping atomic.Bool                    // set by stop
	program  atomic.Pointer[filter.Program] // the kernel's
	policy   atomic.Pointer[eras]           // what the process makes of what the kernel's keeps; never nil
	since    int64                          // keep packets from this time on: before it the shared ring has them; ns since 1970
	end      atomic.Int64                   // leave packets from this time on to the shared ring; ns since 1970, 0 for no end
	counts   counters
	done     chan struct{} // closed when run has returned
	err      error         // of run, to be read after done

	// ---
	chunk    *pcapng.Chunk
	chunkDue time.Time // monotonic
	covered  int64     // every packet before this time is in a chunk or counted as dropped; ns since 1970
	start    time.Time // for the monotonic clock
	offset   int64     // wall clock less monotonic clock, ns
	asked    time.Time // of the last statistics
	loss     pcapng.Note
	seen     cache
	scratch  [18]byte // a link header with a tag put back, or made up
}

// counters are written by the reader and may be read by anyone.
type counters struct {
	received, dropped, frozen, cutPolicy, cutLimit, filtered atomic.Uint64
	covered                                                  atomic.Int64
}

func newReader(name string, r *ring, since int64, dir *directory, sink Sink) (*reader, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make eventfd for ring %s: %w", name, err)
	}
	now := time.Now()
	rd := &reader{name: name, ring: r, since: since, dir: dir, sink: sink, wake: wake, done: make(chan struct{}), start: now, asked: now, covered: now.UnixNano()}
	rd.offset = rd.covered
	rd.counts.covered.Store(rd.covered)
	rd.policy.Store(&eras{{}})
	return rd, nil
}

// stop asks run to take what the ring still holds and to return. It may be called by anyone, more than once.
func (r *reader) stop() {
	if r.stopping.CompareAndSwap(false, true) {
		unix.Write(r.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

// run reads until stop is called; ctx only bounds the wait for an empty chunk.
func (r *reader) run(ctx context.Context) {
	defer close(r.done)
	r.err = r.read(ctx)
	if r.chunk != nil { // what it holds is still good
		r.handOver()
	}
}

func (r *reader) read(ctx context.Context) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	var until int64 // when stopping: covered at least to here
	var deadline time.Time
	var busy pace
	for {
		now := time.Now()
		if err := r.checkClock(ctx, now.UnixNano(), int64(now.Sub(r.start))); err != nil {
			return err
		}
		if until == 0 && r.stopping.Load() {
			until, deadline = now.UnixNano(), now.Add(r.lag()+flushEvery)
		}
		b, ok := r.ring.ready()
		if ok {
			busy.took(b.full())
			if err := r.encode(ctx, b, now.UnixNano()); err != nil {
				return err
			}
			r.ring.release(b)
			if err := r.account(); err != nil {
				return err
			}
		} else {
			r.advance(now.UnixNano() - int64(r.lag()))
		}
		last := until != 0 && (r.covered >= until || !ok && now.After(deadline))
		if last || now.After(r.chunkDue) {
			if err := r.account(); err != nil {
				return err
			}
			r.handOver()
			if last {
				return nil
			}
			if r.dir.currentTable() != r.seen.table {
				r.seen.table = nil // begin takes the new one, also for a ring without packets
			}
			if err := r.begin(ctx); err != nil {
				return err
			}
		}
		if ok {
			continue
		}
		if err := r.wait(busy.rest(now, r.ring.blocks), until != 0); err != nil {
			return err
		}
	}
}

// pace is how fast a ring fills: full blocks in a row since a time.
type pace struct {
	blocks int
	since  time.Time
}

func (p *pace) took(full bool) {
	p.blocks++
	if !full {
		p.blocks = 0
	}
}

// rest is how long to let blocks gather in a ring of so many, 0 if it is not busy. It begins a new count.
func (p *pace) rest(now time.Time, ring int) time.Duration {
	n, took := p.blocks, now.Sub(p.since)
	p.blocks, p.since = 0, now
	if n == 0 {
		return 0
	}
	return min(gatherMost, took*time.Duration(ring)/time.Duration(gatherPart*n))
}

// wait sleeps until a block is ready, the chunk is due, or stop is called; on a busy ring, for rest.
func (r *reader) wait(rest time.Duration, stopping bool) error {
	switch {
	case stopping:
		return r.ring.wait(-1, 10*time.Millisecond) // wake stays readable
	case rest >= time.Millisecond: // poll's unit
		return pause(r.wake, rest)
	}
	return r.ring.wait(r.wake, time.Until(r.chunkDue)+time.Millisecond)
}

// lag is how far a ring without a ready block may be behind: the kernel retires a block that has packets within two
// ticks of its timer.
func (r *reader) lag() time.Duration { return 2*r.ring.retire + 20*time.Millisecond }

// flush is how long a chunk is filled: shorter where the kernel takes longer to hand over a block.
func (r *reader) flush() time.Duration { return max(flushLeast, min(flushEvery, onDisk-r.lag())) }

func (r *reader) advance(to int64) {
	if to > r.covered {
		r.covered = to
	}
}

// checkClock ends the chunk when the wall clock was set, so that no chunk covers time that did not pass or passed twice.
// Both clocks are in ns; only the wall clock's steps move them apart.
func (r *reader) checkClock(ctx context.Context, wall, monotonic int64) error {
	offset := wall - monotonic
	step := offset - r.offset
	r.offset = offset
	if time.Duration(step).Abs() < stepLeast {
		return nil
	}
	r.handOver()
	r.change(eras.forget)
	r.covered += step
	return r.begin(ctx)
}

// begin takes an empty chunk. It blocks while there is none: the ring then fills, and the kernel counts what it drops.
func (r *reader) begin(ctx context.Context) error {
	c, err := r.sink.Get(ctx)
	if err != nil {
		return fmt.Errorf("ring %s: no empty chunk: %w", r.name, err)
	}
	if r.seen.table == nil {
		r.seen = cache{table: r.dir.currentTable(), entries: map[int32]*entry{}, received: map[uint32]*atomic.Uint64{}}
	}
	c.Reset(r.seen.table, r.name, r.covered)
	r.chunk = c
	r.chunkDue = time.Now().Add(r.flush())
	return nil
}

func (r *reader) turn(ctx context.Context) error {
	r.handOver()
	return r.begin(ctx)
}

// handOver completes the chunk and gives it to the sink.
func (r *reader) handOver() {
	r.noteLoss()
	c := r.chunk
	r.chunk = nil
	c.Summary.To = max(r.covered, c.Summary.From)
	c.Tally()
	for _, count := range c.Summary.Counts {
		r.seen.received[count.ID].Add(count.Packets)
	}
	r.counts.cutPolicy.Add(c.Summary.CutPolicy)
	r.counts.cutLimit.Add(c.Summary.CutLimit)
	r.counts.covered.Store(r.covered)
	r.sink.Put(c)
}

// account reads what the kernel has dropped since the last call.
func (r *reader) account() error {
	s, err := r.ring.statistics()
	if err != nil {
		return err
	}
	r.date(time.Now(), s.Drops, s.Freeze_q_cnt)
	return nil
}

// date dates drops: not before the kernel was last asked, not after now. Losses without a pause between them become one
// note.
func (r *reader) date(now time.Time, drops, frozen uint32) {
	since := r.asked
	r.asked = now
	if drops == 0 {
		r.noteLoss()
		r.counts.frozen.Add(uint64(frozen))
		return
	}
	if r.loss.Packets == 0 {
		r.loss = pcapng.Note{Kind: pcapng.NoteDropped, Ring: r.name, From: since.UnixNano()}
	}
	r.loss.To = now.UnixNano()
	r.loss.Packets += uint64(drops)
	r.loss.Frozen += uint64(frozen)
	r.counts.dropped.Add(uint64(drops))
	r.counts.frozen.Add(uint64(frozen))
}

// noteLoss puts the loss that has ended into the chunk.
func (r *reader) noteLoss() {
	if r.loss.Packets == 0 {
		return
	}
	if r.chunk.Note(r.loss) { // if it does not fit, the next chunk takes it
		r.chunk.Summary.Dropped += r.loss.Packets
		r.loss = pcapng.Note{}
	}
}

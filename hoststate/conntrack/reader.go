package conntrack

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

const (
	slot    = 100 * time.Millisecond // of conntrack.counts
	mostGap = time.Second            // after which a gap is told even if it goes on
	busy    = 256                    // events in one go after which there is no rest, for the buffer may be filling

	// Where events are many, a reader that has caught up rests, for waking for each would cost more than reading it: so long
	// for each event of this slot and the one before. One that comes meanwhile is dated by so much too late.
	rest     = 40 * time.Microsecond
	mostRest = 20 * time.Millisecond
	few      = 50 // are worth a wake each
)

// Counts is the data of conntrack.counts: the events that were read in 100 ms, which begin at a multiple of it.
type Counts struct {
	New     uint64 `json:"new"`
	Update  uint64 `json:"update"`
	Destroy uint64 `json:"destroy"` // the sum of the next three

	Kernel    uint64 `json:"kernel"`    // destroyed by the kernel before their time had come
	Userspace uint64 `json:"userspace"` // destroyed by a process
	Expired   uint64 `json:"expired"`   // destroyed because their time had come

	Lost               uint64 `json:"lost"`                // destroyed flows
	ExpiredEstablished uint64 `json:"expired_established"` // idle connections that expired
	Pickups            uint64 `json:"pickups"`
	LeftOut            uint64 `json:"left_out"` // events that would have been told one by one, were they fewer
}

// reader reads the kernel's events. One goroutine runs it and owns all its fields.
type reader struct {
	w      *Watcher
	out    hoststate.Sink
	events *socket
	names  *names
	flows  *flows
	survey *survey

	event    event // reused
	services []Service
	now      time.Time // of the datagram that is being read
	slot     time.Time // that counts belong to
	counts   Counts
	before   uint64 // events of the slot before
	asked    uint32 // the portid last asked for, and when
	askedAt  time.Time
	authors  [2]author // by kernel, by userspace
	singles  singles
	gaps     uint64 // not told yet, and when the first was
	gapAt    time.Time
}

func newReader(w *Watcher, out hoststate.Sink, events *socket, names *names, flows *flows, survey *survey) *reader {
	r := &reader{w: w, out: out, events: events, names: names, flows: flows, survey: survey, singles: newSingles()}
	r.authors[0].name, r.authors[1].name = byKernel, byUserspace
	return r
}

func (r *reader) run(ctx context.Context) error {
	for full := false; ctx.Err() == nil; {
		if err := r.wait(full); err != nil {
			return fmt.Errorf("wait for conntrack events: %w", err)
		}
		r.services, r.now = *r.w.services.Load(), time.Now()
		begun := r.now
		n, err := r.events.drain(busy, r.take)
		r.now = time.Now()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			r.gap()
		case err != nil:
			return fmt.Errorf("read conntrack events: %w", err)
		case n < busy:
			r.tellGap()
			r.survey.caughtUp(begun)
		}
		r.tick()
		full = err != nil || n == busy
	}
	r.now = r.now.Add(burstQuiet + namePatience) // nothing more will come
	r.tick()
	r.flush()
	return nil
}

// wait waits for events, or until something is due. full says that there are more.
func (r *reader) wait(full bool) error {
	recent := r.counts.all() + r.before
	switch {
	case full:
	case recent >= few:
		time.Sleep(min(mostRest, time.Duration(recent)*rest))
	case r.authors[0].untold() || r.authors[1].untold():
		return r.events.wait(namePatience / 10)
	default:
		return r.events.wait(slot)
	}
	return nil
}

// take handles one datagram of events.
func (r *reader) take(b []byte) {
	r.now = time.Now()
	for m := messages(b); ; {
		h, body, ok := m.next()
		if !ok {
			return
		}
		if r.event.parse(h, body, r.now) {
			r.count(&r.event)
			r.tell(&r.event)
		}
	}
}

// count counts an event, and finds bursts and what is to be told of it by itself.
func (r *reader) count(e *event) {
	r.turn(r.now)
	serviceOf(r.services, &e.Entry)
	switch {
	case e.Gone:
		r.counts.Destroy++
		r.destroyed(e)
	case e.Made:
		r.counts.New++
		if e.pickedUp() {
			r.counts.Pickups++
		}
	default:
		r.counts.Update++
	}
}

func (r *reader) destroyed(e *event) {
	r.flows.gone(e.ID, e.lost())
	if e.lost() {
		r.counts.Lost++
	}
	switch {
	case e.expired():
		r.counts.Expired++
		if e.established() {
			r.counts.ExpiredEstablished++
		}
	case e.PortID == 0:
		r.counts.Kernel++
		r.authors[0].destroyed(e, r.now)
	default:
		r.counts.Userspace++
		r.ask(e.PortID)
		r.authors[1].destroyed(e, r.now)
	}
}

// ask has a portid looked up while its process lives.
func (r *reader) ask(port uint32) {
	if port != r.asked || r.now.Sub(r.askedAt) > time.Second {
		r.asked, r.askedAt = port, r.now
		r.names.ask(port)
	}
}

// tick does what is due although no event may have come.
func (r *reader) tick() {
	if r.now.Sub(r.gapAt) > mostGap {
		r.tellGap()
	}
	r.turn(r.now)
	for i := range r.authors {
		r.authors[i].tick(r.now, r.out, r.names)
	}
}

// turn goes to the slot of a time, which may lie before the present one: clocks are set.
func (r *reader) turn(now time.Time) {
	s := now.Truncate(slot)
	if s.Equal(r.slot) {
		return
	}
	r.flush()
	r.slot = s
}

// flush emits the counts of a slot that has ended.
func (r *reader) flush() {
	if c := r.counts; c != (Counts{}) {
		r.out.Emit(hoststate.Event{Time: r.slot, Kind: "conntrack.counts", Text: c.sentence(), Data: data(c)})
	}
	r.before, r.counts = r.counts.all(), Counts{}
}

func (c *Counts) all() uint64 { return c.New + c.Update + c.Destroy }

func (c Counts) sentence() string {
	var parts []string
	for _, p := range []struct {
		n    uint64
		what string
	}{
		{c.New, "made"}, {c.Update, "updated"}, {c.Kernel, "destroyed by the kernel"}, {c.Userspace, "destroyed by a process"},
		{c.Expired, "expired"}, {c.Lost, "of these established and assured"}, {c.Pickups, "picked up in mid-stream"}, {c.LeftOut, "not told one by one"},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return strings.Join(parts, ", ") + " in 100 ms"
}

// gap notes that the kernel could not deliver events. It says so once, and goes on to drop until all that waits is read.
func (r *reader) gap() {
	if r.gaps++; r.gaps == 1 {
		r.gapAt = r.now
	}
	for i := range r.authors {
		r.authors[i].gap = r.now
	}
}

// tellGap hands gaps that are over to the survey, which tells how many events are missing, and reads the table again.
func (r *reader) tellGap() {
	if r.gaps > 0 {
		r.survey.gap(r.gapAt, r.gaps)
		r.gaps = 0
	}
}

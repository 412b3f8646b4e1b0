package capture

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/pcapng"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// reconcile makes the rings fit the interfaces: what is gone is forgotten, what is new and named gets a ring of its own
// or goes to the shared one, and the shared ring's filter leaves everything else out. What cannot be recorded is said in
// the error, and does not keep the rest from being.
func (c *Capture) reconcile() error {
	var errs []error
	if c.links.deaf {
		errs = append(errs, c.hear())
	}
	if c.links.stale {
		errs = append(errs, c.links.dumpUplinks())
	}
	c.forgetGone()
	for _, index := range slices.Sorted(maps.Keys(c.links.changed)) {
		if err := c.place(c.links.link(index)); err != nil {
			errs = append(errs, err)
			continue
		}
		delete(c.links.changed, index)
	}
	errs = append(errs, c.share())
	return errors.Join(errs...)
}

// hear renews the subscription to changes, at most once in retryEvery.
func (c *Capture) hear() error {
	if time.Since(c.links.renewed) < retryEvery {
		return errors.New("changes of interfaces are not heard for a moment")
	}
	return c.links.again()
}

func (c *Capture) forgetGone() {
	for index := range c.links.gone {
		if i := c.dir.vanish(index); i != nil {
			c.tell(i, "vanished")
		}
		c.stopOwn(index)
	}
	clear(c.links.gone)
	if !c.dir.goners() {
		return
	}
	c.dir.forget(func(ring string) (int64, bool) {
		for _, r := range c.readers {
			if r.name == ring {
				return r.counts.covered.Load(), true
			}
		}
		return 0, false
	})
}

// place decides what becomes of an interface and does it, unless it is so already.
func (c *Capture) place(l link) error {
	i := c.dir.get(l.index)
	rule, named := c.rules.match(l) // no rule's name is empty
	hopeless := i != nil && i.ring == sharedRing && c.refused != nil
	moves := named && i != nil && (rule.own() && i.ring == sharedRing && c.ownReaders() < c.ownRings ||
		!rule.own() && i.ring != sharedRing) // another ring: there is room again, or the rule has changed
	if i != nil && i.link == l && i.rule == rule.Name && i.gone == 0 && (i.state != StateBlind || hopeless) && !moves {
		return nil
	}
	next := iface{link: l, rule: rule.Name}
	var err error
	switch {
	case !named:
		next.state, next.why = StateExcluded, notNamed
		c.endOwn(l.index)
	case rule.own() && c.ownRing(l, &err):
		next.ring, next.since = c.readers[l.index].name, c.readers[l.index].since
	default:
		next.ring = sharedRing
	}
	switch {
	case next.state != "":
	case err != nil:
		next.state, next.why = StateBlind, err.Error()
	case next.ring == sharedRing && (c.readers[0] == nil || slices.Contains(c.excluded, l.index)):
		next.state, next.why = StateWaiting, "the shared ring takes it in next" // share does
	default:
		next.settle()
	}
	c.dir.change(func() { c.dir.put(next) })
	c.tellChange(i, &next)
	return err
}

// ownRing gives an interface a ring of its own if it has none, and says whether it has one now. It has not when all ring
// memory is given out: then the shared ring takes it.
func (c *Capture) ownRing(l link, err *error) bool {
	if c.readers[l.index] != nil {
		return !c.readers[l.index].stopping.Load()
	}
	if c.ownReaders() >= c.ownRings {
		return false
	}
	*err = c.openReader(l.index, l.name, nil)
	return *err == nil
}

// ownReaders is the number of rings besides the shared one.
func (c *Capture) ownReaders() int {
	if c.readers[0] != nil {
		return len(c.readers) - 1
	}
	return len(c.readers)
}

func (c *Capture) stopOwn(index int) {
	if r := c.readers[index]; r != nil {
		r.stop()
	}
}

// endOwn has an interface's ring keep nothing from now on, ns since 1970, and stop.
func (c *Capture) endOwn(index int) (now int64) {
	now = time.Now().UnixNano()
	if r := c.readers[index]; r != nil {
		r.end.CompareAndSwap(0, now)
		r.stop()
	}
	return now
}

// share keeps the shared ring: open if an interface is placed in it or may appear, its filter leaving out the others.
// Leaving out more can wait; taking an interface in cannot.
func (c *Capture) share() error {
	shared, others := c.dir.shared()
	switch {
	case c.readers[0] == nil && !shared && !c.wantShared():
		return nil
	case c.readers[0] == nil:
		if err := c.openReader(0, sharedRing, others); err != nil {
			c.dir.join(nil, err)
			return err
		}
	case !c.swapPending(others):
		return nil
	case !c.takesIn(others) && time.Since(c.swapped) < swapEvery:
		return nil
	default:
		if err := c.swap(c.readers[0], others); err != nil {
			c.refused = others
			c.dir.join(c.excluded, err)
			return nil // trying the same again would be refused again
		}
	}
	c.excluded, c.refused, c.swapped = others, nil, time.Now()
	for _, i := range c.dir.join(c.excluded, nil) {
		c.tell(&i, i.state)
	}
	c.part()
	return nil
}

// part ends the rings of their own of interfaces that the shared ring has now: each packet is kept by one of the two.
func (c *Capture) part() {
	for index, r := range c.readers {
		i := c.dir.get(index)
		if index == 0 || i == nil || i.ring != sharedRing || i.state != StateRecording && i.state != StateDown || r.stopping.Load() {
			continue
		}
		c.dir.part(index, c.endOwn(index))
	}
}

// swapPending reports whether the shared ring's filter is not as it should be, and has not been refused so.
func (c *Capture) swapPending(others []int) bool {
	return c.readers[0] != nil && !slices.Equal(others, c.excluded) && (c.refused == nil || !slices.Equal(others, c.refused))
}

// takesIn reports whether the shared ring's filter leaves out an interface that it should not.
func (c *Capture) takesIn(others []int) bool {
	return slices.ContainsFunc(c.excluded, func(index int) bool {
		_, out := slices.BinarySearch(others, index)
		_, there := c.links.list[index]
		return !out && there
	})
}

// openReader opens a ring and starts its reader.
func (c *Capture) openReader(index int, name string, exclude []int) error {
	var ring *ring
	size := c.ownSize
	if index == 0 {
		size = c.sharedSize
	}
	used, err := c.fit(exclude, index == 0, func(p *filter.Program) (err error) {
		ring, err = openRing(index, size, p.Instructions())
		return err
	})
	if err != nil {
		return fmt.Errorf("ring %s: %w", name, err)
	}
	var since int64
	if index != 0 && c.readers[0] != nil {
		since = ring.bound
	}
	r, err := newReader(c.unused(name, index), ring, since, c.dir, c.sink)
	if err != nil {
		return errors.Join(err, ring.close())
	}
	r.program.Store(used)
	r.policy.Store(&eras{{exact: c.exact, judged: c.coarse}})
	c.mu.Lock()
	c.readers[index] = r
	c.mu.Unlock()
	c.wg.Go(func() { r.run(c.readCtx) })
	go func() {
		<-r.done
		select {
		case c.ended <- r:
		case <-c.readCtx.Done():
		}
	}()
	return nil
}

// unused is the name for a ring: the interface's, unless a renamed interface's ring still has that.
func (c *Capture) unused(name string, index int) string {
	for _, r := range c.readers {
		if r.name == name {
			return fmt.Sprintf("%s#%d", name, index)
		}
	}
	return name
}

// fit attaches the exact program or, if the kernel refuses it, from then on the coarsened one, and returns which. A program
// that is to be replaced must leave room for the next, or the kernel would take neither that nor a coarser one.
func (c *Capture) fit(exclude []int, replaced bool, attach func(*filter.Program) error) (*filter.Program, error) {
	var refused *refusedError
	if !c.coarse {
		p, err := c.compiler.Program(exclude, false)
		if err != nil {
			return nil, wrong("services", "%w", err)
		}
		limit, unknown := filter.MemoryLimit()
		if replaced && unknown == nil && !p.Fits(limit) {
			err = fmt.Errorf("a filter of %d instructions and its successor need more than %d bytes", p.Len(), limit)
		} else if err = attach(p); !errors.As(err, &refused) {
			return p, err
		}
		c.coarse = true
		c.log.Warn("the exact filter is too large for the kernel; a coarser one is used and finished in the process, which costs CPU",
			zap.Error(err), zap.String("cure", optmemCure(p)))
	}
	p, err := c.compiler.Program(exclude, true)
	if err != nil {
		return nil, wrong("services", "%w", err)
	}
	if err = attach(p); errors.As(err, &refused) {
		err = wrong("services", "even the coarsened filter is too large for the kernel: %w: %s, or record fewer services",
			err, optmemCure(p))
	}
	return p, err
}

// optmemCure says how to make room for a program. While a filter is swapped, the old and the new one count together.
func optmemCure(p *filter.Program) string {
	const usual = 131072 // the kernel's own default since Linux 6.8
	return fmt.Sprintf("set sysctl net.core.optmem_max to %d or more", max(2*p.Memory()+4096, usual))
}

// swap replaces a ring's filter. If the kernel refuses, the old one stays: then packets of interfaces that should be left
// out reach the process, which leaves them out itself.
func (c *Capture) swap(r *reader, exclude []int) error {
	if err := c.attach(r, exclude); err != nil {
		text := "filter not replaced, the old one stays: " + err.Error()
		c.sink.Note(pcapng.Note{Kind: pcapng.NoteFilter, To: time.Now().UnixNano(), Ring: r.name, Text: text})
		c.log.Warn("a filter was not replaced; the old one stays, and the process leaves out what it lets through",
			zap.String("ring", r.name), zap.Error(err))
		return err
	}
	return nil
}

// readerEnded closes a ring whose reader has returned, asked to or not.
func (c *Capture) readerEnded(r *reader) {
	c.mu.Lock()
	for index, other := range c.readers {
		if other == r {
			delete(c.readers, index)
			c.dir.change(func() { c.dir.lost(r.name, r.err) })
		}
	}
	c.mu.Unlock()
	c.links.changeAll() // those it had, and those that wait for a ring of their own
	if r.err != nil {
		c.log.Error("a ring has failed and is opened anew", zap.String("ring", r.name), zap.Error(r.err))
	}
	r.close()
}

// close releases the ring. The reader has returned.
func (r *reader) close() {
	r.ring.close()
	unix.Close(r.wake)
}

func (r *reader) status() RingStatus {
	p := r.program.Load()
	s := RingStatus{
		Name: r.name, Blocks: r.ring.blocks, Bytes: r.ring.blocks * blockSize,
		Received: r.counts.received.Load(), Dropped: r.counts.dropped.Load(), Frozen: r.counts.frozen.Load(),
		CutPolicy: r.counts.cutPolicy.Load(), CutLimit: r.counts.cutLimit.Load(), Filtered: r.counts.filtered.Load(),
		Instructions: p.Len(), CoveredTo: time.Unix(0, r.counts.covered.Load()),
	}
	if policy := *r.policy.Load(); policy[len(policy)-1].judged {
		s.Coarse = cmp.Or(strings.Join(p.Coarsened(), "; "), "the kernel took no newer filter; the process finishes what it keeps")
	}
	return s
}

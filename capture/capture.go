package capture

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringside/ringside/capture/filter"
	"go.uber.org/zap"
)

const (
	gatherFor   = 25 * time.Millisecond  // changes of interfaces are taken together
	swapEvery   = 100 * time.Millisecond // least time between two filters of the shared ring
	retryEvery  = time.Second            // after netlink or a ring failed
	mostOwn     = 16                     // rings of their own: each holds one of the spool's chunks
	stopTimeout = 10 * time.Second       // for the last chunks, when the spool takes none
)

// Capture records the interfaces that its rules name. Open makes it, Run runs it; Status may be called at any time.
type Capture struct {
	cfg        Config
	rules      rules
	sink       Sink
	log        *zap.Logger
	dir        *directory
	ownRings   int   // how many rings of their own interfaces may have
	ownSize    int64 // of each of them, bytes
	sharedSize int64 // of the shared ring, bytes

	mu      sync.Mutex      // guards readers for Status
	readers map[int]*reader // by interface index, the shared one by 0
	wg      sync.WaitGroup

	// Run's own.
	links *links
	policy
	own      []*own // connections of this process
	excluded []int  // in the shared ring's filter, sorted
	refused  []int  // that the kernel took no filter for, sorted; nil if it took the last
	swapped  time.Time
	readCtx  context.Context
	quit     context.CancelFunc // of readCtx
	ended    chan *reader

	requests    chan request
	over        chan struct{} // closed when Run's goroutine takes no more requests
	ending      sync.Once     // guards over
	program     atomic.Pointer[filter.Program]
	ownRecorded atomic.Uint64
}

// Open compiles the filter, finds the interfaces and opens their rings, which record from now on. An error that wraps
// a *ConfigError is the configuration's fault.
func Open(cfg Config, sink Sink, log *zap.Logger) (*Capture, error) {
	c := &Capture{cfg: cfg, rules: rules(cfg.Interfaces), sink: sink, log: log, dir: newDirectory(cfg.Interfaces),
		readers: map[int]*reader{}, ended: make(chan *reader), requests: make(chan request), over: make(chan struct{})}
	if err := c.rules.valid(); err != nil {
		return nil, err
	}
	services, err := filter.NewCompiler(context.Background(), cfg.Services)
	if err != nil {
		return nil, wrong("services", "%w", err)
	}
	if c.policy, err = newPolicy(services, nil); err != nil {
		return nil, err
	}
	c.program.Store(c.exact)
	if c.links, err = watchLinks(); err != nil {
		return nil, err
	}
	c.readCtx, c.quit = context.WithCancel(context.Background())
	if err := c.open(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Capture) open() error {
	if err := c.checkRequired(c.rules); err != nil {
		return err
	}
	if err := c.plan(); err != nil {
		return err
	}
	err := c.reconcile()
	var config *ConfigError
	if err != nil && (len(c.readers) == 0 || errors.As(err, &config)) {
		return err
	}
	if err != nil {
		c.log.Warn("interfaces: not everything can be recorded; trying again", zap.Error(err))
	}
	c.tellWaiting()
	return nil
}

func (c *Capture) checkRequired(rs rules) error {
	var errs []error
	for _, r := range rs {
		if r.Require && !slices.ContainsFunc(c.linkList(), func(l link) bool {
			_, ok := rules{r}.match(l)
			return ok
		}) {
			errs = append(errs, wrong("interfaces", "%s is required and there is no such interface: "+
				"correct the name (ip link lists them), or leave out require to wait for it", r.Name))
		}
	}
	return errors.Join(errs...)
}

// plan shares the ring memory out: a ring for each interface that asks for one now, at least one for each name, and the
// shared one. That has an equal part if a rule asks for it; otherwise it is small and only opened for an interface that
// comes later than the plan, such as a second uplink.
func (c *Capture) plan() error {
	c.ownRings = c.countOwn()
	total := c.cfg.Ring
	if total == 0 {
		total = DefaultRing
	}
	c.sharedSize = reserve
	if c.wantShared() {
		c.sharedSize = total / int64(c.ownRings+1) / blockSize * blockSize
	}
	c.ownSize = (total - c.sharedSize) / int64(max(1, c.ownRings)) / blockSize * blockSize
	if c.sharedSize < minBlocks*blockSize || c.ownRings > 0 && c.ownSize < minBlocks*blockSize {
		need := int64(c.ownRings+1) * minBlocks * blockSize
		if !c.wantShared() {
			need = int64(c.ownRings)*minBlocks*blockSize + reserve
		}
		return wrong("ring", "%d MiB leaves less than %d MiB for each of %d rings: raise capture.ring to %dMiB, "+
			"or give interfaces ring: shared", total>>20, minBlocks*blockSize>>20, c.ownRings+1, need>>20)
	}
	return nil
}

// wantShared reports whether a rule asks for the shared ring.
func (c *Capture) wantShared() bool {
	return slices.ContainsFunc(c.rules, func(r InterfaceRule) bool { return !r.own() })
}

// countOwn counts the interfaces that ask for a ring of their own, and the names of those that are not there.
func (c *Capture) countOwn() int {
	n := 0
	all := c.linkList()
	for _, l := range all {
		if r, ok := c.rules.match(l); ok && r.own() {
			n++
		}
	}
	for _, r := range c.rules {
		meets := func(l link) bool { _, ok := rules{r}.match(l); return ok }
		if !glob(r.Name) && r.own() && !slices.ContainsFunc(all, meets) {
			n++
		}
	}
	return min(n, mostOwn)
}

func (c *Capture) linkList() []link {
	var all []link
	for _, index := range slices.Sorted(maps.Keys(c.links.list)) {
		all = append(all, c.links.link(index))
	}
	return all
}

// Run follows the interfaces until ctx is done; then it takes what the rings still hold, hands it over and returns.
// It also closes everything that Open opened.
func (c *Capture) Run(ctx context.Context) error {
	defer c.Close()
	retry := time.After(retryEvery)
	for {
		select {
		case <-ctx.Done():
			c.ending.Do(func() { close(c.over) })
			return c.stop()
		case u, ok := <-c.links.updates:
			if ok {
				c.links.apply(u)
			}
			c.gather(ok)
		case u, ok := <-c.links.routes:
			if ok {
				c.links.applyRoute(u)
			}
			c.gather(ok)
		case r := <-c.ended:
			c.readerEnded(r)
		case q := <-c.requests:
			q.done <- q.do()
		case <-retry:
		}
		retry = nil
		if err := c.reconcile(); err != nil {
			c.log.Warn("interfaces: not everything can be recorded; trying again", zap.Error(err))
			retry = time.After(retryEvery)
		} else if _, others := c.dir.shared(); c.swapPending(others) {
			retry = time.After(swapEvery)
		} else if c.dir.goners() {
			retry = time.After(retryEvery)
		}
	}
}

// gather takes the changes of the next moment together: a bridge with 100 ports says 300 things when it goes down.
func (c *Capture) gather(alive bool) {
	after := time.After(gatherFor)
	for alive {
		select {
		case u, ok := <-c.links.updates:
			if alive = ok; ok {
				c.links.apply(u)
			}
		case u, ok := <-c.links.routes:
			if alive = ok; ok {
				c.links.applyRoute(u)
			}
		case <-after:
			return
		}
	}
	c.log.Info("interface changes came faster than they could be read; listing interfaces anew")
	c.links.deaf = true // reconcile cures it
}

func (c *Capture) stop() error {
	c.mu.Lock()
	readers := slices.Collect(maps.Values(c.readers))
	c.mu.Unlock()
	for _, r := range readers {
		r.stop()
	}
	timer := time.AfterFunc(stopTimeout, c.quit)
	defer timer.Stop()
	c.wg.Wait()
	var errs []error
	for _, r := range readers {
		errs = append(errs, r.err)
	}
	return errors.Join(errs...)
}

// Close releases what Open took. Run calls it; it is for a Capture that is never run.
func (c *Capture) Close() {
	c.ending.Do(func() { close(c.over) })
	c.quit()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.readers {
		r.stop()
	}
	c.wg.Wait()
	for index, r := range c.readers {
		r.close()
		delete(c.readers, index)
	}
	if c.links != nil {
		c.links.close()
		c.links = nil
	}
}

// Program returns the exact program of the services in force, without what rings and connections add to it. It may be
// called concurrently with everything.
func (c *Capture) Program() *filter.Program { return c.program.Load() }

// Status may be called concurrently with everything.
func (c *Capture) Status() Status {
	s := Status{Interfaces: c.dir.status(), OwnRecorded: c.ownRecorded.Load()}
	for _, i := range s.Interfaces {
		s.Ready = s.Ready || i.State == StateRecording
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, index := range slices.Sorted(maps.Keys(c.readers)) {
		s.Rings = append(s.Rings, c.readers[index].status())
	}
	return s
}

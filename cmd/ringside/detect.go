package main

import (
	"context"
	"maps"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/config"
	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/rotate"
)

const (
	// niceness of detection's thread: where cores are short the recorder comes first (setpriority(2)).
	niceness = 10
	// leastRest and mostRest are how long detection rests after a panic; doubled each time.
	leastRest = time.Second
	mostRest  = time.Minute
	// mostVantages is after how many new interfaces a detector is replaced: pods come and go.
	mostVantages = 1024
)

// detector is what detection asks of detect.Detector.
type detector interface {
	Vantage(name, file string) uint16
	Packets([]frame.Packet)
	Covered(until int64, vantages ...uint16)
	Blind(detect.Blind)
	Findings() []detect.Finding
	Live() detect.Live
}

// detection looks at packets while they are recorded and puts what it finds on the timeline. Nothing that becomes of it
// reaches the recorder: it holds a few chunks at most, runs on a thread that gives way, and begins anew after a panic.
type detection struct {
	tap   *rotate.Tap // nil: packets are not looked at
	make  func([]detect.Service) detector
	emit  func(hoststate.Event)
	drain time.Duration // at the end, for what waits
	log   *zap.Logger

	services atomic.Pointer[[]detect.Service]

	mu    sync.Mutex
	stats detectionStats // guarded by mu

	// What follows is owned by the goroutine that looks.
	looking
	rest    time.Duration // after the next panic
	resting time.Time     // until when
}

// detectionStats is what detection has done. Each packet that is in a chunk is in Packets or in Skipped once the chunk is
// done with, and in neither before.
type detectionStats struct {
	Packets       uint64 // looked at
	Skipped       uint64 // not looked at: detection was behind, or rested after a panic
	Findings      map[string]uint64
	Conversations int
	Evicted       uint64
	Panics        uint64
	Resting       time.Time // after a panic, until when; zero if there was none
	CoveredTo     time.Time // of the last chunk
}

// newDetection looks at what is put into the spool, if cfg says so.
func newDetection(cfg *config.Config, spool *rotate.Spool, emit func(hoststate.Event), log *zap.Logger) *detection {
	d := &detection{emit: emit, log: log, drain: cfg.ShutdownTimeout / 4, rest: leastRest}
	if cfg.Detect.Enable {
		d.tap = spool.Tap()
	}
	d.make = func(services []detect.Service) detector {
		return detect.New(detect.Config{Services: services, Conversations: cfg.Detect.Conversations})
	}
	d.stats.Findings = map[string]uint64{}
	d.setServices(cfg.Capture.Services)
	return d
}

// setServices takes over the names of services. What was known of connections is forgotten.
func (d *detection) setServices(services []filter.Service) {
	list := detectServices(services)
	d.services.Store(&list)
}

// run looks at chunks until ctx is done, and then at those that wait. It does not wait for a detector that is stuck: the spool
// has to be sealed, and its memory stays as long as somebody has a chunk of it.
func (d *detection) run(ctx context.Context) error {
	if d.tap == nil {
		<-ctx.Done()
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.watch(ctx)
	}()
	<-ctx.Done()
	select {
	case <-done:
	case <-time.After(d.drain):
		d.log.Error("detection does not end, and is left behind; everything is recorded: please report this", zap.Duration("after", d.drain))
	}
	return nil
}

// watch looks at chunks on a thread that gives way.
func (d *detection) watch(ctx context.Context) {
	runtime.LockOSThread() // for good: the thread ends with this goroutine, and its priority with it
	if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), niceness); err != nil {
		d.log.Warn("detection cannot give way to the recorder, and may cost it time where cores are short", zap.Error(err))
	}
	for l := d.tap.Next(ctx); l != nil; l = d.tap.Next(ctx) {
		d.take(l)
		l.Release()
	}
}

// take looks at a chunk, and accounts for it.
func (d *detection) take(l *rotate.Lease) {
	looked := false
	if time.Now().After(d.resting) {
		looked = d.safely(l)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range l.Skipped {
		d.stats.Skipped += k.Packets
	}
	if !looked {
		d.stats.Skipped += l.Summary.Packets
		return
	}
	d.stats.Packets += l.Summary.Packets
	d.stats.CoveredTo = time.Unix(0, l.Summary.To)
	d.stats.Conversations, d.stats.Evicted = d.live.Conversations, d.evicted+d.live.Stats.Evicted
}

// safely looks at a chunk, and survives it.
func (d *detection) safely(l *rotate.Lease) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			d.panicked(p)
		}
	}()
	if services := d.services.Load(); d.detector == nil || d.known != services || d.outgrown(&l.Summary) {
		d.renew(d.make(*services), services, l)
	}
	d.tell(d.look(l))
	d.live = d.detector.Live()
	return true
}

// panicked forgets everything and rests: what makes a detector fail may come again at once.
func (d *detection) panicked(p any) {
	d.detector = nil
	d.resting = time.Now().Add(d.rest)
	d.rest = min(2*d.rest, mostRest)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.Panics++
	d.stats.Resting = d.resting
	if d.stats.Panics == 1 {
		d.log.Error("detection panicked; it begins anew, and recording goes on: please report this with the log. It is not logged again",
			zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
	}
}

// tell puts findings on the timeline.
func (d *detection) tell(list []detect.Finding) {
	for i := range list {
		d.log.Info("the packets show a fault", zap.String("class", string(list[i].Class)), zap.String("finding", list[i].Text))
		d.emit(eventOf(&list[i]))
		d.mu.Lock()
		d.stats.Findings[string(list[i].Class)]++
		d.mu.Unlock()
	}
}

// Stats returns a snapshot, nil if packets are not looked at.
func (d *detection) Stats() *detectionStats {
	if d.tap == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.Findings = maps.Clone(s.Findings)
	return &s
}

// report is how detection is, as the API shows it.
func (d *detection) report() *api.Detection {
	s := d.Stats()
	if s == nil {
		return nil
	}
	r := &api.Detection{State: hoststate.StateOn, Packets: s.Packets, Skipped: s.Skipped, Conversations: s.Conversations, CoveredTo: s.CoveredTo}
	for _, n := range s.Findings {
		r.Findings += n
	}
	if time.Now().Before(s.Resting) {
		r.State, r.Why = hoststate.StateFailing, "it panicked and begins anew: please report the stack that is in the log"
	}
	return r
}

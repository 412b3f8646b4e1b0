package state

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/hoststate/conntrack"
)

// Kind is the kind of all events of this package; their subjects are Quiet, Trigger or End.
const Kind = "state.snapshot"

// Why a snapshot is taken.
const (
	Quiet   = "quiet"
	Trigger = "trigger"
	End     = "end"
)

// Defaults of Config.
const (
	DefaultProc  = "/proc"
	DefaultEvery = 10 * time.Minute
)

const (
	deadline    = 2 * time.Second // of a section
	mostWaiting = 64              // requests
)

// Config is what a Taker needs to know. Zero fields are defaults.
type Config struct {
	Services []conntrack.Service // whose connections and sockets are in the snapshots
	Proc     string              // where the host's proc is mounted
	Every    time.Duration       // between two quiet snapshots, and of calm before one
}

// Taker takes snapshots. It is the hoststate.Watcher "state". All methods may be called concurrently, but Run only once at a
// time.
type Taker struct {
	every    time.Duration
	sections []reader
	requests chan request
	turn     chan struct{} // has room for who takes a snapshot

	mu        sync.Mutex
	services  []conntrack.Service
	disturbed time.Time // when something was going on last
	quiet     *snapshot // the last one, nil if there was none; it does not change
}

// request is a snapshot that is still to be taken.
type request struct {
	why, incident string
}

// New returns a Taker.
func New(cfg Config) *Taker {
	if cfg.Proc == "" {
		cfg.Proc = DefaultProc
	}
	if cfg.Every <= 0 {
		cfg.Every = DefaultEvery
	}
	t := &Taker{every: cfg.Every, services: cfg.Services, requests: make(chan request, mostWaiting), turn: make(chan struct{}, 1)}
	t.sections = sections(cfg.Proc, t.watched)
	return t
}

// SetServices replaces the watched services. The next quiet snapshot is the first to have theirs.
func (t *Taker) SetServices(services []conntrack.Service) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.services = services
}

func (t *Taker) watched() []conntrack.Service {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.services
}

// Disturb says that something is going on, such as a burst: for as long as Config.Every no quiet snapshot is taken.
func (t *Taker) Disturb() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.disturbed = time.Now()
}

// Take takes a snapshot and returns it as an event, with the difference to the last quiet one. It waits for the one that is
// being taken. If ctx is done before its turn comes, the event says so; if it is done on the way, the sections that lack
// have its error.
func (t *Taker) Take(ctx context.Context, why, incident string) hoststate.Event {
	if why != Quiet {
		t.Disturb()
	}
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return hoststate.Event{
			Time: time.Now(), Kind: Kind, Subject: why, Incident: incident,
			Text: "no snapshot of the state: another was being taken: " + ctx.Err().Error(),
		}
	}
	defer func() { <-t.turn }()
	now := t.read(ctx)
	t.mu.Lock()
	before := t.quiet
	if why == Quiet && ctx.Err() == nil {
		t.quiet = now
	}
	t.mu.Unlock()
	e := compose(now, before, why)
	e.Incident = incident
	return e
}

// Request has the watcher take a snapshot and emit it, one after the other. It never blocks, and returns false if too many
// wait.
func (t *Taker) Request(why, incident string) bool {
	select {
	case t.requests <- request{why, incident}:
		return true
	default:
		return false
	}
}

// Name implements hoststate.Watcher.
func (t *Taker) Name() string { return "state" }

// Run implements hoststate.Watcher: it takes a quiet snapshot at the start and then whenever there was calm for as long as
// Config.Every, and what is requested. It is never unavailable: a section that cannot be read is a blind spot.
func (t *Taker) Run(ctx context.Context, out hoststate.Sink) error {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-t.requests:
			out.Emit(t.Take(ctx, r.why, r.incident))
		case <-next.C:
			if calm := t.calm(); calm < t.every {
				next.Reset(t.every - calm)
				continue
			}
			e := t.Take(ctx, Quiet, "")
			if ctx.Err() != nil {
				return nil
			}
			out.Emit(e)
			out.Blind(t.blind()...)
			next.Reset(t.every)
		}
	}
}

// calm is how long ago something was going on.
func (t *Taker) calm() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Since(t.disturbed)
}

// blind is what the last quiet snapshot lacks.
func (t *Taker) blind() (spots []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.quiet == nil {
		return nil
	}
	for _, s := range t.quiet.sections {
		if s.err != nil {
			spots = append(spots, fmt.Sprintf("snapshots lack %s: %v", s.name, s.err))
		}
	}
	return spots
}

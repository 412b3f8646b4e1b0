package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
)

// Incidents is where the outbox takes its work from, as *trigger.Engine has it.
type Incidents interface {
	Ready() []trigger.Incident
	Changed() <-chan struct{} // has a value when there may be more
	Failed(id string, err error, retry time.Time)
	Stored(id string, s trigger.Stored) error
	Dir() string // for the outbox's own files
}

// Pins is where the packets are, as *rotate.Spool has them.
type Pins interface {
	PinReader(name string) (*rotate.Reader, error)
}

// Timeline is where the host's events are, as *hoststate.Timeline has them.
type Timeline interface {
	Copy(ctx context.Context, q hoststate.Query, out io.Writer) (hoststate.Summary, error)
}

// Teller is told of what people want to hear about. Its methods do not block.
type Teller interface {
	Stored(m *Manifest, s trigger.Stored, store string)
	Failing(i trigger.Incident, cluster, node, store string) // once an incident, when it has failed for Notify.After
}

// Outbox stores ready incidents, one at a time, and tries again for as long as it takes. All methods may be called
// concurrently, except that Run is called once.
type Outbox struct {
	incidents Incidents
	pins      Pins
	timeline  Timeline
	reporter  Reporter // nil for none
	tell      Teller
	log       *zap.Logger
	limit     *rate.Limiter
	pause     func(failures int) time.Duration
	patience  time.Duration   // with a reporter
	another   chan struct{}   // has a value when there is another configuration
	reporting chan struct{}   // see attempt
	clashes   map[string]bool // incidents in whose place another recorder's bundle is; of the goroutine of Run

	mu     sync.Mutex
	cfg    Config
	store  Store
	cut    context.CancelFunc // of the attempt under way
	stats  OutboxStats
	told   map[string]bool // incidents whose failing was told
	logged time.Time       // when a failure was last logged
}

// OutboxStats is what the outbox has done since it was made.
type OutboxStats struct {
	Attempts uint64 // to store a bundle
	Failures uint64
	Bundles  uint64    // stored
	Bytes    uint64    // sent to the store, those of failed attempts too
	Last     time.Time // a bundle was stored; zero if none was
	Failing  string    // why the last attempt failed; empty when it did not
	Current  string    // the incident that is being stored
}

// Bounds of the pause after a failed attempt: doubled each time, and chosen at random below that (full jitter).
const (
	leastPause = time.Second
	mostPause  = time.Minute
	quiet      = time.Minute // between log lines of failures
)

// NewOutbox makes an outbox over a store. Without a timeline (nil), bundles have packets only.
func NewOutbox(cfg Config, store Store, incidents Incidents, pins Pins, timeline Timeline, tell Teller, log *zap.Logger) *Outbox {
	o := &Outbox{incidents: incidents, pins: pins, timeline: timeline, tell: tell, log: log, limit: rate.NewLimiter(rate.Inf, maxPiece),
		told: map[string]bool{}, clashes: map[string]bool{}, another: make(chan struct{}, 1), reporting: make(chan struct{}, 1)}
	o.pause = func(failures int) time.Duration { return rand.N(min(mostPause, leastPause<<min(failures, 10))) }
	o.patience = reportPatience
	o.Reconfigure(cfg, store)
	return o
}

// ReportWith has reports made for bundles. It is called before Run.
func (o *Outbox) ReportWith(r Reporter) { o.reporter = r }

// Reconfigure puts another configuration and store in force. An attempt under way is broken off and begun anew.
func (o *Outbox) Reconfigure(cfg Config, store Store) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cfg, o.store = cfg, store
	limit := rate.Inf
	if cfg.RateLimit > 0 {
		limit = rate.Limit(cfg.RateLimit)
	}
	o.limit.SetLimit(limit)
	if o.cut != nil {
		o.cut()
	}
	select {
	case o.another <- struct{}{}:
	default:
	}
}

// Store is the store in force.
func (o *Outbox) Store() Store {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.store
}

// Stats returns a snapshot.
func (o *Outbox) Stats() OutboxStats {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stats
}

// Run stores what is ready until ctx is done, and after that, as the machine may be going away, for at most drain, until
// nothing is ready or an attempt fails. What is broken off then is begun anew at the next start.
func (o *Outbox) Run(ctx context.Context, drain time.Duration) error {
	o.tidy()
	o.work(ctx)
	last, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	for {
		i, ok := o.next(o.incidents.Ready())
		if !ok || o.deliver(last, i) != nil {
			return nil
		}
		o.succeeded()
	}
}

func (o *Outbox) work(ctx context.Context) {
	failures := 0 // in a row, over all incidents: the store's
	for ctx.Err() == nil {
		i, ok := o.next(o.incidents.Ready())
		if !ok {
			o.idle(ctx)
			continue
		}
		err := o.deliver(ctx, i)
		switch {
		case err == nil:
			failures = 0
			o.succeeded()
		case ctx.Err() != nil:
		case errors.Is(err, errReconfigured):
			failures = 0
		default:
			failures++
			pause := o.pause(failures)
			o.failed(i, err, pause)
			if !o.wait(ctx, pause) {
				failures = 0
			}
		}
	}
}

var errReconfigured = errors.New("the configuration has changed")

// next chooses the incident to store: first one whose manifest is composed, because the next manifest names it; else
// the one that has failed least, the oldest of those, so that one that cannot be read does not keep the others waiting.
func (o *Outbox) next(ready []trigger.Incident) (best trigger.Incident, ok bool) {
	for _, i := range ready { // by id, so by age
		if _, err := os.Stat(o.composition(i.ID)); err == nil && !o.clashes[i.ID] {
			return i, true
		}
		if !ok || i.Attempts < best.Attempts {
			best, ok = i, true
		}
	}
	return best, ok
}

func (o *Outbox) idle(ctx context.Context) {
	select {
	case <-o.incidents.Changed():
	case <-ctx.Done():
	}
}

// wait pauses for d, or until there is another configuration to try with at once, and says whether it was d.
func (o *Outbox) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-o.another:
		return false
	}
	return true
}

// deliver brings one incident into the store.
func (o *Outbox) deliver(ctx context.Context, i trigger.Incident) error {
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	o.mu.Lock()
	cfg, store := o.cfg, o.store
	o.cut, o.stats.Current = cut, i.ID
	o.stats.Attempts++
	o.mu.Unlock()
	err := o.bundle(ctx, cfg, store, i)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cut, o.stats.Current = nil, ""
	if err != nil && ctx.Err() != nil && o.store != store {
		return errReconfigured
	}
	return err
}

// bundle writes objects and manifest, unless an earlier attempt came as far as the manifest, and notes that it is done.
func (o *Outbox) bundle(ctx context.Context, cfg Config, store Store, i trigger.Incident) error {
	place := Place{cfg.Cluster, i.ID, cfg.Node}
	c, err := o.composed(cfg, store, place)
	if err != nil {
		return err
	}
	if c == nil {
		if err := o.roomFor(i.ID); err != nil {
			return err
		}
		reader, err := o.pins.PinReader(i.ID)
		if err != nil {
			return fmt.Errorf("incident %s: %w", i.ID, err)
		}
		a := attempt{store: store, timeline: o.timeline, reporter: o.reporter, limit: o.limit, compress: cfg.compression(), place: place,
			incident: i, sent: o.sent, reporting: o.reporting, patience: o.patience, log: o.log}
		m, err := a.write(ctx, reader)
		if err != nil {
			return err
		}
		if c, err = o.compose(m, identity(cfg, store)); err != nil {
			return err
		}
	}
	return o.commit(ctx, store, i, c)
}

func (c Config) compression() string {
	if c.Compression == "" {
		return CompressionZstd
	}
	return c.Compression
}

func (o *Outbox) sent(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stats.Bytes += uint64(n)
}

func (o *Outbox) succeeded() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stats.Failing != "" {
		o.log.Info("the store takes bundles again", zap.String("store", o.store.String()))
	}
	o.stats.Failing, o.stats.Last, o.logged = "", time.Now(), time.Time{}
	o.stats.Bundles++
}

// failed notes a failed attempt, and logs it once a minute at most.
func (o *Outbox) failed(i trigger.Incident, err error, pause time.Duration) {
	o.incidents.Failed(i.ID, err, time.Now().Add(pause))
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stats.Failures++
	o.stats.Failing = err.Error()
	after := o.cfg.Notify.After
	if after == 0 {
		after = time.Hour
	}
	if !i.Since.IsZero() && time.Since(i.Since) >= after && !o.told[i.ID] {
		o.told[i.ID] = true
		o.tell.Failing(i, o.cfg.Cluster, o.cfg.Node, o.store.String())
	}
	if time.Since(o.logged) < quiet {
		return
	}
	o.logged = time.Now()
	o.log.Warn("an incident could not be stored; it stays pinned and is tried again", zap.String("incident", i.ID),
		zap.String("store", o.store.String()), zap.Int("waiting", len(o.incidents.Ready())), zap.Error(err))
}

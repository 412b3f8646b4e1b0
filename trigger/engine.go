package trigger

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/ringside/ringside/rotate"
)

// Spool is what the engine needs of *rotate.Spool.
type Spool interface {
	Pin(name string, from, to time.Time) (*rotate.Pin, error)
	Unpin(name string) error
	Pins() []rotate.Pin
	Await(ctx context.Context, to time.Time)
	PinCost(from, to time.Time) int64 // bytes that a pin of [from, to) would add to PinnedTotal
	PinnedTotal() int64
	Stats() rotate.Stats
}

const (
	maxTriggers   = 200      // that share one incident
	maxLabelBytes = 64 << 10 // of all its labels
	maxWaiting    = 32       // requests that wait for the journal; the API's other routes share its connections

	keepStored  = 24 * time.Hour  // the records of incidents that are stored: budgets look back that far
	sampleEvery = 5 * time.Second // of how much is being recorded
	retryPin    = 5 * time.Second
)

// Engine accepts triggers and carries their incidents until they are stored. All methods may be called concurrently,
// except that Run is called once.
type Engine struct {
	spool   Spool
	log     *zap.Logger
	journal journal
	limiter *rate.Limiter
	ledger  ledger
	wake    chan struct{} // for Run: something is due at another time
	changed chan struct{} // for the outbox: an incident is ready

	// changing is held by whoever changes an incident, over its write to the journal. It is taken before mu.
	changing sync.Mutex
	waiting  atomic.Int32 // requests that hold changing or wait for it

	mu     sync.Mutex // guards what follows, never held over a write
	cfg    Config
	all    map[string]*Incident // by id; values are replaced, never changed
	byID   map[string]string    // incident by id of a trigger
	closed map[string]bool      // of open incidents, those that the journal may have as ready already
	due    map[string]time.Time // of open incidents, on the monotonic clock
	last   map[string]time.Time // when a reason last began or joined an incident
	flow   float64              // bytes a second that are recorded
	sample sample
	counts counts
}

type sample struct {
	at    time.Time
	bytes uint64
}

// Open reads the journal, pins again what a crash may have left unpinned, and gives up the pins of what is stored.
// Windows go on as if nothing had happened. cfg.Dir is used by no other process: it lies in the locked spool.
func Open(cfg Config, spool Spool, log *zap.Logger) (*Engine, error) {
	cfg = cfg.withDefaults()
	e := &Engine{
		cfg: cfg, spool: spool, log: log, journal: journal{cfg.Dir, log}, limiter: newLimiter(cfg.Rate),
		wake: make(chan struct{}, 1), changed: make(chan struct{}, 1),
		byID: map[string]string{}, closed: map[string]bool{}, due: map[string]time.Time{}, last: map[string]time.Time{},
	}
	var err error
	if e.all, err = e.journal.load(); err != nil {
		return nil, err
	}
	if err := e.ledger.load(cfg.Dir); err != nil {
		log.Warn("the list of suppressed triggers cannot be read and begins anew", zap.Error(err))
	}
	now := time.Now()
	e.adopt(now)
	for _, i := range e.all {
		e.resume(i, now)
	}
	return e, nil
}

func newLimiter(perSecond float64) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond)))
}

// Reconfigure puts another configuration in force for what comes. Dir and the functions stay.
func (e *Engine) Reconfigure(cfg Config) error {
	cfg = cfg.withDefaults()
	e.mu.Lock()
	defer e.mu.Unlock()
	cfg.Dir, cfg.Describe, cfg.Accepted, cfg.Closing = e.cfg.Dir, e.cfg.Describe, e.cfg.Accepted, e.cfg.Closing
	e.cfg = cfg
	e.limiter.SetLimit(rate.Limit(cfg.Rate))
	e.limiter.SetBurst(max(1, int(cfg.Rate)))
	return nil
}

func (e *Engine) config() Config {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cfg
}

func (e *Engine) describe() (b []byte) {
	if cfg := e.config(); cfg.Describe != nil {
		return cfg.Describe()
	}
	return nil
}

func (e *Engine) get(id string) *Incident {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.all[id]
}

// put makes i what everybody sees.
func (e *Engine) put(i *Incident) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all[i.ID] = i
	for _, t := range i.Triggers {
		e.byID[t.ID] = i.ID
	}
	if i.State != StateOpen {
		delete(e.due, i.ID)
		delete(e.closed, i.ID)
	}
}

// Incidents returns those that are open, ready, or were stored within a day, the newest first.
func (e *Engine) Incidents() []Incident {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]Incident, 0, len(e.all))
	for _, i := range e.all {
		list = append(list, *i)
	}
	slices.SortFunc(list, func(a, b Incident) int { return strings.Compare(b.ID, a.ID) })
	return list
}

// Suppressed returns what was refused within a day, the newest minute first.
func (e *Engine) Suppressed() []Suppressed { return e.ledger.list() }

func wakeUp(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is awake already
	}
}

// window is what a request asks for with the defaults filled in.
func (c Config) window(r Request, now time.Time) (t Trigger, from, to time.Time) {
	t = Trigger{ID: r.ID, Reason: r.Reason, Source: r.Source, Client: r.Client, At: r.At.UTC().Round(0), Pre: Duration(c.Pre), Post: Duration(c.Post),
		Received: now.UTC().Round(0), Labels: maps.Clone(r.Labels)}
	if r.At.IsZero() {
		t.At = t.Received
	}
	if t.Reason == "" {
		t.Reason = "manual"
	}
	if r.Pre != nil {
		t.Pre = Duration(*r.Pre)
	}
	if r.Post != nil {
		t.Post = Duration(*r.Post)
	}
	return t, t.At.Add(-time.Duration(t.Pre)), t.At.Add(time.Duration(t.Post))
}

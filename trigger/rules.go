package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/ringside/ringside/hoststate"
)

// Bounds of what rules do, whatever comes over the timeline.
const (
	maxOffered = 256 // events that match by kind and subject and wait for a closer look
	ruleRate   = 5   // triggers a second of all rules together, in bursts of twice as many, so that people and alerts find room in Config.Rate
	ruleLog    = time.Minute
	maxFacts   = 64 << 10 // bytes of an event's data that are read
)

// Rules makes triggers of what comes over the timeline. All methods may be called concurrently, except that Run is called
// once.
type Rules struct {
	accept   func(context.Context, Request) (Receipt, error)
	suppress func(source, reason, kind string)
	log      *zap.Logger
	limiter  *rate.Limiter
	queue    chan offered

	table    atomic.Pointer[table]
	overflow atomic.Uint64
	stale    atomic.Uint64

	changing sync.Mutex // held by Reconfigure
}

// table is the rules in force. It never changes.
type table struct {
	rules     []*rule
	byKind    map[string][]*rule
	maxWindow time.Duration
}

// rule is a Rule that was read.
type rule struct {
	Rule
	pattern
	matched atomic.Uint64
}

type offered struct {
	rule  *rule
	event hoststate.Event
}

// RulesStats is what rules have done since they began.
type RulesStats struct {
	Rules    []RuleStats // those in force
	Overflow uint64      // events that came faster than they could be looked at
	Stale    uint64      // events that were older than any window when they came
}

// RuleStats is how often a rule in force has matched, whatever became of its triggers.
type RuleStats struct {
	Rule    string // its reason
	Matched uint64
}

// NewRules returns cfg.Rules, which work while Run does. accept takes their requests; suppress counts those that come too
// fast to be made, and may be nil. The error names what is wrong with cfg.Rules, as Rule.Problems does.
func NewRules(cfg Config, accept func(context.Context, Request) (Receipt, error), suppress func(source, reason, kind string), log *zap.Logger) (*Rules, error) {
	if suppress == nil {
		suppress = func(string, string, string) {}
	}
	r := &Rules{accept: accept, suppress: suppress, log: log, limiter: rate.NewLimiter(ruleRate, 2*ruleRate), queue: make(chan offered, maxOffered)}
	if err := r.Reconfigure(cfg); err != nil {
		return nil, err
	}
	return r, nil
}

// Reconfigure puts cfg.Rules and cfg.MaxWindow in force for what comes. After an error nothing has changed. A rule that
// says On as before goes on counting.
func (r *Rules) Reconfigure(cfg Config) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	next := &table{byKind: map[string][]*rule{}, maxWindow: cfg.withDefaults().MaxWindow}
	var errs []error
	for _, each := range cfg.Rules {
		for _, p := range each.Problems() {
			errs = append(errs, p)
		}
		p, err := parseOn(each.On)
		if err != nil {
			continue // it is among the problems
		}
		if each.Reason == "" {
			each.Reason = each.On
		}
		one := &rule{Rule: each, pattern: p}
		next.rules = append(next.rules, one)
		for _, kind := range p.kinds {
			next.byKind[kind] = append(next.byKind[kind], one)
		}
	}
	if errs != nil {
		return errors.Join(errs...)
	}
	if old := r.table.Load(); old != nil {
		next.inherit(old)
	}
	r.table.Store(next)
	return nil
}

// inherit takes over the counts of the rules that are in force still.
func (t *table) inherit(old *table) {
	counts := map[string]uint64{}
	for _, o := range old.rules {
		counts[o.On] = o.matched.Load()
	}
	for _, n := range t.rules {
		n.matched.Store(counts[n.On])
	}
}

// Offer has the rules look at an event. It never blocks: what comes too fast is counted and left out.
func (r *Rules) Offer(e hoststate.Event) {
	for _, rule := range r.table.Load().byKind[e.Kind] {
		if e.Incident != "" || !rule.about(&e) { // what belongs to an incident has been a trigger, or comes from one
			continue
		}
		select {
		case r.queue <- offered{rule, e}:
		default:
			r.overflow.Add(1)
		}
	}
}

// Run makes triggers of what is offered until ctx is done.
func (r *Rules) Run(ctx context.Context) error {
	tick := time.NewTicker(ruleLog)
	defer tick.Stop()
	var told uint64
	for {
		select {
		case o := <-r.queue:
			r.judge(ctx, o)
		case <-tick.C:
			if n := r.overflow.Load(); n != told {
				r.log.Warn("events came faster than rules could look at them, and did not trigger: name a kind or a subject that is rarer",
					zap.Uint64("events", n-told), zap.Duration("within", ruleLog))
				told = n
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// judge makes a trigger of an event if the rule means it. A refusal is the engine's to count.
func (r *Rules) judge(ctx context.Context, o offered) {
	if !o.rule.says(&o.event) {
		return
	}
	facts := factsOf(&o.event)
	if o.event.Kind == "conntrack.burst" && facts.Phase != "" && facts.Phase != "begin" {
		return
	}
	now := time.Now()
	if now.Sub(o.event.Time) > r.table.Load().maxWindow {
		r.stale.Add(1)
		return
	}
	o.rule.matched.Add(1)
	if !r.limiter.Allow() {
		r.suppress(SourceRule, o.rule.Reason, RefusedRate)
		return
	}
	if _, err := r.accept(ctx, o.rule.request(&o.event, facts, now)); err != nil {
		r.log.Debug("the trigger of a rule was refused", zap.String("rule", o.rule.Reason), zap.Error(err))
	}
}

// facts is what rules read of an event's data. A burst is told of twice, when it begins, and with its totals when it is
// over: Phase is which.
type facts struct{ Phase, Service string }

func factsOf(e *hoststate.Event) (f facts) {
	if len(e.Data) > 0 && len(e.Data) <= maxFacts {
		_ = json.Unmarshal(e.Data, &f) // of other kinds they may be anything, or not there
	}
	return f
}

// request asks for the window around the event. One that is ahead of the clock, such as a line of a log may be, happened
// now.
func (r *rule) request(e *hoststate.Event, f facts, now time.Time) Request {
	labels := map[string]string{}
	for name, value := range map[string]string{"kind": e.Kind, "subject": e.Subject, "service": f.Service} {
		if value = oneLine(value, maxLabel); value != "" {
			labels[name] = value
		}
	}
	maps.Copy(labels, r.Labels)
	return Request{Reason: r.Reason, At: earlier(e.Time, now), Pre: r.Pre, Post: r.Post, Cooldown: r.Cooldown, Labels: labels, Source: SourceRule, Client: e.Source}
}

// Stats returns a snapshot.
func (r *Rules) Stats() RulesStats {
	s := RulesStats{Overflow: r.overflow.Load(), Stale: r.stale.Load()}
	for _, each := range r.table.Load().rules {
		s.Rules = append(s.Rules, RuleStats{each.Reason, each.matched.Load()})
	}
	return s
}

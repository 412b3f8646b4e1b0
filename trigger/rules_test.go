package trigger

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ringside/ringside/hoststate"
)

// ruled is rules in a bubble of fake time, and what they ask for.
type ruled struct {
	*testing.T
	*Rules
	asked      []Request
	suppressed []string
	block      chan struct{} // what accept waits for; nil for nothing
	logs       *observer.ObservedLogs
}

func withRules(t *testing.T, cfg Config, f func(r *ruled)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		r := &ruled{T: t, logs: logs}
		accept := func(_ context.Context, q Request) (Receipt, error) {
			if r.block != nil {
				<-r.block
			}
			r.asked = append(r.asked, q)
			return Receipt{}, nil
		}
		suppress := func(source, reason, kind string) { r.suppressed = append(r.suppressed, source+"/"+reason+"/"+kind) }
		var err error
		if r.Rules, err = NewRules(cfg, accept, suppress, zap.New(core)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = r.Rules.Run(ctx)
		}()
		synctest.Wait()
		f(r)
		cancel()
		<-ended
	})
}

// offer has the rules look at an event of now and returns what they ask for.
func (r *ruled) offer(e hoststate.Event) []Request {
	r.Helper()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	r.asked = nil
	r.Offer(e)
	synctest.Wait()
	return r.asked
}

// TestRuleRequest is what rules ask for: the window around the event, with labels that name it.
func TestRuleRequest(t *testing.T) {
	pre, post, cooldown := 10*time.Second, time.Duration(0), time.Hour
	withRules(t, Config{Rules: []Rule{
		{On: "conntrack.burst"},
		{On: "observation", Reason: "seen", Pre: &pre, Post: &post, Cooldown: &cooldown, Labels: map[string]string{"team": "shop", "subject": "mine"}},
	}}, func(r *ruled) {
		now := time.Now()
		got := r.offer(hoststate.Event{Time: now.Add(-time.Minute), Kind: "conntrack.burst", Source: "conntrack", Subject: "kernel", Data: json.RawMessage(`{"phase": "begin", "service": 5}`)})
		want := []Request{{Reason: "conntrack.burst", At: now.Add(-time.Minute), Labels: map[string]string{"kind": "conntrack.burst", "subject": "kernel"}, Source: "rule", Client: "conntrack"}}
		if !reflect.DeepEqual(got, want) {
			r.Errorf("got  %+v\nwant %+v", got, want)
		}
		got = r.offer(hoststate.Event{Time: now.Add(time.Hour), Kind: "observation", Source: "api", Subject: "orders", Data: json.RawMessage(`{"service": "or\nders"}`)})
		want = []Request{{Reason: "seen", At: now, Pre: &pre, Post: &post, Cooldown: &cooldown, Source: "rule", Client: "api",
			Labels: map[string]string{"kind": "observation", "subject": "mine", "service": "or ders", "team": "shop"}}}
		if !reflect.DeepEqual(got, want) {
			r.Errorf("got  %+v\nwant %+v", got, want)
		}
		for _, q := range append(got, r.offer(hoststate.Event{Kind: "conntrack.burst", Subject: strings.Repeat("é\x00", 300), Data: json.RawMessage(`{`)})...) {
			if err := q.Check(time.Now()); err != nil {
				r.Errorf("%+v: %v", q, err)
			}
		}
		if s := r.Stats(); !reflect.DeepEqual(s, RulesStats{Rules: []RuleStats{{"conntrack.burst", 2}, {"seen", 1}}}) {
			r.Errorf("stats %+v", s)
		}
	})
}

// TestRulesPassOver what is the end of something, long past, or of an incident already.
func TestRulesPassOver(t *testing.T) {
	withRules(t, Config{Rules: []Rule{{On: "conntrack.*"}, {On: "alert.resolved"}}, MaxWindow: 10 * time.Minute}, func(r *ruled) {
		now := time.Now()
		for name, e := range map[string]hoststate.Event{
			"end":      {Kind: "conntrack.burst", Data: json.RawMessage(`{"phase": "end"}`)},
			"old":      {Kind: "conntrack.burst", Time: now.Add(-10*time.Minute - time.Second)},
			"incident": {Kind: "alert.resolved", Incident: "20261122T030000.000000Z-0a1b2c3d"},
			"other":    {Kind: "unit.restart"},
			"unknown":  {Kind: "conntrack.later"},
		} {
			if got := r.offer(e); got != nil {
				r.Errorf("%s: %+v", name, got)
			}
		}
		if got := r.offer(hoststate.Event{Kind: "conntrack.drop", Time: now.Add(-10 * time.Minute)}); len(got) != 1 {
			r.Errorf("an event at the edge: %+v", got)
		}
		if s := r.Stats(); s.Stale != 1 || s.Overflow != 0 || s.Rules[0].Matched != 1 {
			r.Errorf("stats %+v", s)
		}
	})
}

// TestRulesFlood: whatever comes, Offer returns at once, few triggers are asked for, and all else is counted.
func TestRulesFlood(t *testing.T) {
	withRules(t, Config{Rules: []Rule{{On: "conntrack.destroy"}}}, func(r *ruled) {
		r.block = make(chan struct{})
		const events = 30_000
		for range events {
			r.Offer(hoststate.Event{Kind: "conntrack.destroy", Time: time.Now()})
		}
		synctest.Wait() // Run is in accept
		close(r.block)
		synctest.Wait()
		s := r.Stats()
		if s.Overflow+s.Rules[0].Matched != events || s.Rules[0].Matched > maxOffered+2 {
			r.Errorf("stats %+v, want %d in all", s, events)
		}
		if n := len(r.asked); n != 2*ruleRate || n+len(r.suppressed) != int(s.Rules[0].Matched) || r.suppressed[0] != "rule/conntrack.destroy/rate" {
			r.Errorf("%d asked for, want %d; %d suppressed", n, 2*ruleRate, len(r.suppressed))
		}
		time.Sleep(10 * ruleLog)
		synctest.Wait()
		if logs := r.logs.All(); len(logs) != 1 || logs[0].ContextMap()["events"] != s.Overflow {
			r.Errorf("%d lines in the log: %v", len(logs), logs)
		}
	})
}

// TestRulesReconfigure goes on counting what says the same, and leaves everything as it was if a rule is wrong.
func TestRulesReconfigure(t *testing.T) {
	withRules(t, Config{Rules: []Rule{{On: "conntrack.burst"}, {On: "conntrack.drop"}}}, func(r *ruled) {
		burst := hoststate.Event{Kind: "conntrack.burst"}
		r.offer(burst)
		err := r.Reconfigure(Config{Rules: []Rule{{On: "unit.restart"}, {On: "no.such"}, {On: "log: /(/"}}})
		if err == nil || strings.Count(err.Error(), `on: "`) != 2 {
			r.Errorf("error %v, want two problems", err)
		}
		if got := r.offer(burst); len(got) != 1 {
			r.Errorf("after a bad configuration: %+v", got)
		}
		if err := r.Reconfigure(Config{Rules: []Rule{{On: "unit.restart"}, {On: "conntrack.burst", Reason: "burst"}}}); err != nil {
			r.Fatal(err)
		}
		if got := r.offer(burst); len(got) != 1 || got[0].Reason != "burst" {
			r.Errorf("after a good one: %+v", got)
		}
		if got, want := r.Stats().Rules, []RuleStats{{"unit.restart", 0}, {"burst", 3}}; !reflect.DeepEqual(got, want) {
			r.Errorf("stats %+v, want %+v", got, want)
		}
		if err := r.Reconfigure(Config{}); err != nil || r.offer(burst) != nil {
			r.Errorf("without rules: %v, %+v", err, r.asked)
		}
	})
}

// TestOfferIsCheap: events that no rule is for cost no memory.
func TestOfferIsCheap(t *testing.T) {
	r, err := NewRules(Config{Rules: []Rule{{On: "conntrack.burst"}, {On: "conntrack.destroy orders*"}}}, nil, nil, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	e := hoststate.Event{Kind: "conntrack.destroy", Subject: "postgres"}
	if n := testing.AllocsPerRun(1000, func() { r.Offer(e) }); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}

// TestRuleCooldown: a rule's own cool-down takes the place of the general one, also when it is longer, and across a restart.
func TestRuleCooldown(t *testing.T) {
	hour, none := time.Hour, time.Duration(0)
	cfg := Config{Cooldown: 5 * time.Minute, Rules: []Rule{{On: "conntrack.burst", Cooldown: &hour}}}
	within(t, cfg, func(b *bench) {
		ask := func(reason string, cooldown *time.Duration) error {
			_, err := b.Accept(b.Context(), Request{Reason: reason, Cooldown: cooldown, Source: SourceRule, Pre: ptr(time.Second), Post: ptr(time.Second)})
			return err
		}
		for _, step := range []struct {
			after    time.Duration
			reason   string
			cooldown *time.Duration
			refused  bool
		}{
			{0, "burst", &hour, false}, {50 * time.Minute, "burst", &hour, true}, {9 * time.Minute, "burst", &hour, true}, {time.Minute, "burst", &hour, false},
			{10 * time.Second, "burst", &none, false}, {10 * time.Second, "burst", nil, true}, {5 * time.Minute, "burst", nil, false},
		} {
			time.Sleep(step.after)
			if err := ask(step.reason, step.cooldown); (err != nil) != step.refused {
				b.Errorf("%+v: %v", step, err)
			}
		}
		b.stop()
		time.Sleep(30 * time.Minute)
		b.start(cfg)
		time.Sleep(20 * time.Minute) // what may be forgotten is
		if err := ask("burst", &hour); err == nil {
			b.Error("the cool-down is forgotten over a restart")
		}
		refused := map[string]uint64{}
		for _, s := range b.Suppressed() {
			refused[s.Source+"/"+s.Reason+"/"+s.Kind] += s.Count
		}
		if want := map[string]uint64{"rule/burst/cooldown": 4}; !maps.Equal(refused, want) {
			b.Errorf("suppressed %v, want %v", refused, want)
		}
	})
}

func ExampleRule() {
	rule := Rule{On: "unit.restarted systemd-networkd.service"}
	fmt.Println(rule.Problems())
	// Output: [on: "unit.restarted" is no kind of events (did you mean "unit.restart"?): docs/timeline.md lists them, such as conntrack.burst or unit.restart]
}

// TestFaultIsOneIncident: the rules that are on by default fire several times for one fault, and its findings may come again
// and again; all of it is one incident, also after its window has closed.
func TestFaultIsOneIncident(t *testing.T) {
	cfg := Config{
		Pre: 2 * time.Minute, Post: time.Minute, MaxWindow: 15 * time.Minute, Cooldown: 5 * time.Minute,
		Rules: []Rule{{On: "conntrack.burst"}, {On: "conntrack.drop"}, {On: "finding conntrack-loss"}},
	}
	within(t, cfg, func(b *bench) {
		rules, err := NewRules(cfg, b.Accept, b.Suppress, zap.NewNop())
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = rules.Run(ctx)
		}()
		offer := func(kind, subject string, ago time.Duration) {
			rules.Offer(hoststate.Event{Kind: kind, Subject: subject, Source: "detect", Time: time.Now().Add(-ago)})
			synctest.Wait()
		}
		fault := time.Now()
		offer("conntrack.burst", "kernel", 0)
		time.Sleep(time.Second)
		for _, ago := range []time.Duration{900 * time.Millisecond, 700 * time.Millisecond, 800 * time.Millisecond} {
			offer("finding", "conntrack-loss", ago)
		}
		offer("finding", "server-slow", 0) // no rule is for it
		offer("conntrack.drop", "", 0)
		check := func(triggers int) {
			b.Helper()
			if list := b.Incidents(); len(list) != 1 || len(list[0].Triggers) != triggers || !list[0].From.Equal(fault.Add(-2*time.Minute)) {
				b.Errorf("%d incidents, the first with %d triggers from %v; want one with %d", len(list), len(list[0].Triggers), list[0].From, triggers)
			}
		}
		check(5)
		time.Sleep(30 * time.Second)
		offer("finding", "conntrack-loss", time.Second)
		check(6) // its window is open still, and grows
		for range 4 {
			time.Sleep(time.Minute + 5*time.Second)
			offer("finding", "conntrack-loss", time.Second)
		}
		check(6)
		if i := b.Incidents()[0]; i.State == StateOpen {
			b.Errorf("the incident is %s until %v", i.State, i.To)
		}
		refused := uint64(0)
		for _, s := range b.Suppressed() {
			refused += s.Count
			if s.Reason != "finding conntrack-loss" || s.Kind != RefusedCooldown {
				b.Errorf("suppressed %+v", s)
			}
		}
		if refused != 4 {
			b.Errorf("%d refused by the cool-down, want 4", refused)
		}
		cancel()
		<-ended
	})
}

package trigger

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"go.uber.org/zap"
)

// Scheduler triggers by Config.Schedules. What was due while it did not run is left out.
type Scheduler struct {
	accept func(context.Context, Request) (Receipt, error)
	log    *zap.Logger
	change chan []*plan // to Run: schedules to go on with; holds the latest
}

const (
	lookAtClock = 30 * time.Second // at least so often, for it may be set
	tooLate     = 2 * time.Minute  // after which something that was due is left out
)

// NewScheduler returns cfg.Schedules, which work while Run does. The error names what is wrong with them, as
// Schedule.Problems does.
func NewScheduler(cfg Config, accept func(context.Context, Request) (Receipt, error), log *zap.Logger) (*Scheduler, error) {
	s := &Scheduler{accept: accept, log: log, change: make(chan []*plan, 1)}
	if err := s.Reconfigure(cfg); err != nil {
		return nil, err
	}
	return s, nil
}

// Reconfigure puts cfg.Schedules in force. After an error nothing has changed. One caller calls it at a time.
func (s *Scheduler) Reconfigure(cfg Config) error {
	var plans []*plan
	var errs []error
	for _, each := range cfg.Schedules {
		for _, p := range each.Problems() {
			errs = append(errs, p)
		}
		p := &plan{Schedule: each}
		var err error
		if p.spec, err = parseCron(each.Cron); err != nil || p.setZone(each.Zone) != nil {
			continue // it is among the problems
		}
		if each.Reason == "" {
			p.Reason = each.Cron
		}
		plans = append(plans, p)
	}
	if errs != nil {
		return errors.Join(errs...)
	}
	select {
	case <-s.change: // nobody has taken the last one yet
	default:
	}
	s.change <- plans
	return nil
}

// Run triggers what is due until ctx is done.
func (s *Scheduler) Run(ctx context.Context) error {
	var plans []*plan
	last := time.Now().Round(0) // the wall clock at the last look
	for {
		now := time.Now().Round(0)
		wait := lookAtClock
		for _, p := range plans {
			if p.due.IsZero() || now.Before(last) { // it is new, or the clock was set back
				p.due = p.next(earlier(now, last))
			}
			if !p.due.After(now) {
				s.fire(ctx, p, now)
				p.due = p.next(now)
			}
			wait = min(wait, p.due.Sub(now))
		}
		last = now
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case plans = <-s.change:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}

// fire triggers, unless the clock was set forward over the time, or the machine slept through it.
func (s *Scheduler) fire(ctx context.Context, p *plan, now time.Time) {
	if now.Sub(p.due) > tooLate {
		s.log.Warn("a schedule was passed over: the clock was set, or the machine slept", zap.String("reason", p.Reason), zap.Time("due", p.due))
		return
	}
	r := Request{ID: p.id(), Reason: p.Reason, At: p.due, Pre: p.Pre, Post: p.Post, Labels: p.Labels, Source: SourceSchedule, Client: "schedule " + p.Cron}
	if _, err := s.accept(ctx, r); err != nil {
		s.log.Warn("the trigger of a schedule was refused", zap.String("reason", p.Reason), zap.Error(err))
	}
}

// id follows from the schedule and the time: several nodes with the same schedule have one incident.
func (p *plan) id() string {
	return madeID(p.due, p.Cron, p.Zone, p.Reason)
}

// madeID returns the id for what names and t tell apart from all else.
func madeID(t time.Time, names ...string) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%q", names)
	return t.UTC().Format(idTime) + "-" + hex.EncodeToString(h.Sum(nil))
}

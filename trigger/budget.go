package trigger

import (
	"fmt"
	"time"
)

// maxUnstored bounds the incidents that are not stored yet, whose records are in memory and in the journal.
const maxUnstored = 1000

// cost is about how many bytes more a pin of the window will hold: what is there, and what comes at today's rate.
func (e *Engine) cost(from, to, now time.Time) int64 {
	there := e.spool.PinCost(from, to)
	e.mu.Lock()
	defer e.mu.Unlock()
	return there + int64(e.flow*max(0, to.Sub(now).Seconds()))
}

// affordable holds a new incident against cool-down and budgets.
func (e *Engine) affordable(cfg Config, i *Incident, now time.Time) *Refusal {
	reason := i.Triggers[0].Reason
	e.mu.Lock()
	last := e.last[reason]
	hour, day, oldest, waiting := 0, int64(0), now, 0
	for _, other := range e.all {
		if other.State != StateStored {
			waiting++
		}
		age := now.Sub(other.Triggers[0].Received).Abs() // the clock may have been set back, by years at worst
		if age < time.Hour {
			hour++
			oldest = earlier(oldest, other.Triggers[0].Received)
		}
		if age < 24*time.Hour {
			day += other.Pinned
		}
	}
	e.mu.Unlock()
	if waiting >= maxUnstored {
		return &Refusal{507, RefusedPinned, fmt.Sprintf("%d incidents wait to be stored, which is all there may be: see why they are not stored (ringside incidents ls)", waiting), time.Minute}
	}
	since := now.Sub(last).Abs()
	if wait := cfg.Cooldown - since; wait > 0 && !last.IsZero() {
		return &Refusal{429, RefusedCooldown, fmt.Sprintf("%q had an incident %v ago, and has one every %v at most: wait, give another reason, or lower trigger.cooldown or that of the rule",
			reason, since.Round(time.Second), cfg.Cooldown), wait}
	}
	if hour >= cfg.Budget.Incidents {
		return &Refusal{429, RefusedHourly, fmt.Sprintf("there were %d incidents in the last hour, which is all there may be: wait, or raise trigger.budget.incidents_per_hour", hour),
			time.Hour - now.Sub(oldest)}
	}
	if day+i.Pinned > cfg.Budget.Bytes {
		return &Refusal{429, RefusedDaily, fmt.Sprintf("incidents of the last day hold %d MiB and this one would add %d MiB, more than %d MiB: wait, ask for a shorter window, or raise trigger.budget.bytes_per_day",
			day>>20, i.Pinned>>20, cfg.Budget.Bytes>>20), time.Hour}
	}
	return e.affordPinned(cfg, i.Pinned)
}

// affordPinned refuses what does not fit beside what already waits to be stored.
func (e *Engine) affordPinned(cfg Config, cost int64) *Refusal {
	budget := cfg.Budget.Pinned
	if budget == 0 {
		budget = e.spool.Stats().KeepBytes
	}
	pinned := e.spool.PinnedTotal()
	if pinned+cost <= budget {
		return nil
	}
	return &Refusal{507, RefusedPinned, fmt.Sprintf("incidents that wait to be stored hold %d MiB and this one would add %d MiB, more than %d MiB: "+
		"see why they are not stored (ringside incidents ls), ask for a shorter window, or raise trigger.budget.pinned", pinned>>20, cost>>20, budget>>20), time.Minute}
}

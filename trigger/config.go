package trigger

import (
	"context"
	"encoding/json"
	"time"
)

// Config bounds what is accepted. Zero fields mean their default.
type Config struct {
	Pre       time.Duration // before a trigger, unless it says otherwise; default 2 m
	Post      time.Duration // after it; default 1 m
	MaxWindow time.Duration // of one incident, merged or not; default 15 m
	Cooldown  time.Duration // between incidents of one reason; default 5 m
	Rate      float64       // requests a second that are looked at, over all sources; default 20, in bursts of as many
	DropDir   string        // "" for none
	Budget    Budget
	Rules     []Rule     // of NewRules
	Schedules []Schedule // of NewScheduler

	Dir      string                 // of the journal
	Describe func() json.RawMessage // the recorder at this moment, kept with an incident whose window is complete; may be nil

	// Accepted is told of every trigger that is kept, and of its incident as it then is. It must not block. May be nil.
	Accepted func(Trigger, Incident)
	// Closing is called when an incident's time is over, before it becomes ready: for what is to be noted of its end. It
	// may take a few seconds. May be nil.
	Closing func(context.Context, Incident)
}

// Budget is what incidents may take. Whatever is reached first refuses.
type Budget struct {
	Incidents int   // an hour; default 12
	Bytes     int64 // of windows that are accepted in a day; default 20 GiB
	Pinned    int64 // that wait to be stored, in the spool; default: the spool's own budget
}

func (c Config) withDefaults() Config {
	set(&c.Pre, 2*time.Minute)
	set(&c.Post, time.Minute)
	set(&c.MaxWindow, 15*time.Minute)
	set(&c.Cooldown, 5*time.Minute)
	set(&c.Rate, 20)
	set(&c.Budget.Incidents, 12)
	set(&c.Budget.Bytes, 20<<30)
	return c
}

// longestCooldown is for how long it may matter that a reason had an incident.
func (c Config) longestCooldown() time.Duration {
	longest := c.Cooldown
	for _, r := range c.Rules {
		if r.Cooldown != nil {
			longest = max(longest, *r.Cooldown)
		}
	}
	return longest
}

func set[T comparable](v *T, usual T) {
	var zero T
	if *v == zero {
		*v = usual
	}
}

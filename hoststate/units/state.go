package units

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// grace is how long a unit that was stopped may take to come back for that to be a restart.
const grace = time.Second

// patience is how long a job may wait to start a unit again.
const patience = 2 * time.Minute

// state is what systemd says of a unit (org.freedesktop.systemd1(5)). Times are µs since 1970, 0 for never.
type state struct {
	Active     string // active, reloading, inactive, failed, activating, deactivating
	Sub        string // the kind's own, such as running or auto-restart
	Result     string // of a service: success, exit-code, signal, ...
	PID        uint32 // main process of a service
	Job        uint32 // one is waiting or running; 0 for none
	Invocation string // changes with every start

	Changed     int64 // of Active or Sub
	ActiveEnter int64
	ActiveExit  int64
	Start       int64 // when it left inactive or failed
	End         int64 // when it entered inactive or failed
}

// up says whether the unit does its work.
func (s state) up() bool {
	return s.Active == "active" || s.Active == "reloading" || s.Active == "refreshing"
}

// starting says whether the unit is being started, not only waiting for that.
func (s state) starting() bool { return s.Active == "activating" && s.Sub != "auto-restart" }

func (s state) String() string {
	if s.Active == "" {
		return "not loaded"
	}
	text := fmt.Sprintf("%s (%s)", s.Active, s.Sub)
	if s.PID != 0 {
		text += fmt.Sprintf(", pid %d", s.PID)
	}
	return text
}

// unit is one that is watched.
type unit struct {
	name    string
	last    state
	next    state // last, and what came since of its kind's own properties
	stopped *stop // it is down, and that was not told yet
}

func newUnit(name string, s state) *unit { return &unit{name: name, last: s, next: s} }

// stop is the end of a unit's work.
type stop struct {
	at     time.Time // when it left active
	before state
	due    time.Time // when it is told, for it did not become a restart; zero while it is not down
}

// facts is Event.Data of units.
type facts struct {
	Active     string  `json:"active"`
	Sub        string  `json:"sub"`
	Result     string  `json:"result,omitempty"`
	PIDBefore  uint32  `json:"pid_before,omitempty"`
	PID        uint32  `json:"pid,omitempty"`
	Invocation string  `json:"invocation,omitempty"`
	Down       float64 `json:"down,omitempty"` // seconds; of a restart
}

// see takes the state that systemd says the unit has, and returns what happened to it.
func (u *unit) see(next state, now time.Time) (events []hoststate.Event) {
	last := u.last
	if next.Active == "inactive" || next.Active == "failed" {
		next.PID = 0 // systemd may say that of before, or of what it is about to start
	}
	u.last, u.next = next, next
	at := func(µs int64) time.Time {
		if µs == 0 {
			return now
		}
		return time.UnixMicro(µs).UTC()
	}
	if u.stopped == nil && last.up() && next.ActiveExit > last.ActiveExit {
		u.stopped = &stop{at: at(next.ActiveExit), before: last}
	} else if u.stopped == nil && last.up() && !next.up() {
		u.stopped = &stop{at: at(next.Changed), before: last}
	}
	failed := next.Active == "failed" || next.Sub == "auto-restart" && next.Result != "success" && next.Result != ""
	was := last.Active == "failed" || last.Sub == "auto-restart"
	if failed && !was {
		events = append(events, u.event("unit.fail", at(max(next.End, next.Changed)), last, next, 0))
		if next.Job == 0 {
			u.stopped = nil // a later start is one, not the end of a restart
		}
	}
	switch {
	case next.up() && u.stopped != nil:
		down := at(next.ActiveEnter).Sub(u.stopped.at)
		events = append(events, u.event("unit.restart", u.stopped.at, u.stopped.before, next, max(down, 0)))
		u.stopped = nil
	case (next.up() || next.starting()) && !last.up() && !last.starting() && u.stopped == nil:
		events = append(events, u.event("unit.start", at(next.Start), last, next, 0))
	case last.starting() && next.Active == "inactive" && u.stopped == nil: // a service that is done when it has run
		u.stopped = &stop{at: at(next.End), before: last}
	case next.Active == "reloading" && last.Active == "active":
		events = append(events, u.event("unit.reload", at(next.Changed), last, next, 0))
	}
	u.schedule(now)
	return events
}

// schedule decides when a stop is told.
func (u *unit) schedule(now time.Time) {
	if u.stopped == nil {
		return
	}
	switch u.last.Active {
	case "inactive", "failed", "":
		if wait := grace; u.stopped.due.IsZero() || u.last.Job != 0 {
			if u.last.Job != 0 {
				wait = patience
			}
			u.stopped.due = now.Add(wait)
		} else if u.stopped.due.Sub(now) > grace { // the job has gone
			u.stopped.due = now.Add(grace)
		}
	default: // on its way
		u.stopped.due = time.Time{}
	}
}

// settle returns the stop of a unit that did not come back.
func (u *unit) settle(now time.Time) (e hoststate.Event, ok bool) {
	if u.stopped == nil || u.stopped.due.IsZero() || now.Before(u.stopped.due) {
		return e, false
	}
	e = u.event("unit.stop", u.stopped.at, u.stopped.before, u.last, 0)
	u.stopped = nil
	return e, true
}

func (u *unit) event(kind string, at time.Time, before, after state, down time.Duration) hoststate.Event {
	data, _ := json.Marshal(facts{Active: after.Active, Sub: after.Sub, Result: after.Result, PIDBefore: before.PID, PID: after.PID,
		Invocation: after.Invocation, Down: down.Seconds()}) // cannot fail
	text := u.name + " "
	switch kind {
	case "unit.start":
		text += "was started"
	case "unit.stop":
		text += "was stopped"
	case "unit.reload":
		text += "was reloaded"
	case "unit.fail":
		text += "failed: " + after.Result
	case "unit.restart":
		text += fmt.Sprintf("was restarted; it was down for %v", down.Round(time.Millisecond))
	}
	return hoststate.Event{Kind: kind, Subject: u.name, Time: at, Text: strings.TrimSuffix(text, ": "), Before: before.String(), After: after.String(), Data: data}
}

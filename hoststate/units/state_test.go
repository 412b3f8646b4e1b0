package units

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What a unit's states mean, also where a signal stands for several changes.
func TestStates(t *testing.T) {
	const s = 1_000_000 // µs
	up := state{Active: "active", Sub: "running", Result: "success", PID: 1, ActiveEnter: 10 * s, Start: 10 * s, Changed: 10 * s}
	with := func(of state, change func(*state)) state { change(&of); return of }
	down := with(up, func(x *state) { x.Active, x.Sub, x.ActiveExit, x.End, x.Changed = "inactive", "dead", 20*s, 21*s, 21*s })
	again := with(down, func(x *state) {
		x.Active, x.Sub, x.PID, x.Start, x.ActiveEnter, x.Changed = "active", "running", 2, 22*s, 22*s, 22*s
	})
	for _, c := range []struct {
		name   string
		states []state
		want   string // kind at second
	}{
		{"restart, step by step", []state{up, with(up, func(x *state) { x.Active, x.ActiveExit, x.Job = "deactivating", 20*s, 7 }), with(down, func(x *state) { x.Job = 7 }), again}, "unit.restart 20"},
		{"restart in one signal", []state{up, again}, "unit.restart 20"},
		{"restart by two jobs", []state{up, down, again}, "unit.restart 20"},
		{"stop", []state{up, down}, "unit.stop 20"},
		{"stop, while its times are unknown", []state{up, {Active: "inactive", Sub: "dead", Changed: 30 * s}}, "unit.stop 30"},
		{"start", []state{{Active: "inactive", Sub: "dead"}, up}, "unit.start 10"},
		{"start that takes long", []state{{Active: "inactive", Sub: "dead"}, {Active: "activating", Sub: "start", Start: 9 * s}, up}, "unit.start 9"},
		{"start that fails", []state{{Active: "inactive", Sub: "dead"}, {Active: "activating", Sub: "start", Start: 9 * s}, {Active: "failed", Sub: "failed", Result: "timeout", End: 12 * s}}, "unit.start 9, unit.fail 12"},
		{"crash, and systemd starts it again", []state{up,
			with(down, func(x *state) { x.Active, x.Sub, x.Result = "activating", "auto-restart", "exit-code" }), again}, "unit.fail 21, unit.start 22"},
		{"clean end, and systemd starts it again", []state{up, with(down, func(x *state) { x.Active, x.Sub = "activating", "auto-restart" }), again}, "unit.restart 20"},
		{"restart of one that fails to stop", []state{up, with(down, func(x *state) { x.Active, x.Sub, x.Result, x.Job = "failed", "failed", "signal", 7 }), again}, "unit.fail 21, unit.restart 20"},
		{"reload", []state{up, with(up, func(x *state) { x.Active, x.Sub, x.Changed = "reloading", "reload", 15*s }), with(up, func(x *state) { x.Changed = 16 * s })}, "unit.reload 15"},
		{"failure is forgotten", []state{{Active: "failed", Sub: "failed"}, {Active: "inactive", Sub: "dead"}}, ""},
		{"nothing new", []state{up, up, with(up, func(x *state) { x.Job = 3 })}, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			u := newUnit("a.service", c.states[0])
			var got []string
			for _, next := range c.states[1:] {
				for _, e := range u.see(next, time.Now()) {
					got = append(got, fmt.Sprintf("%s %d", e.Kind, e.Time.Unix()))
				}
				if _, ok := u.settle(time.Now()); ok {
					t.Errorf("%s: told before the time is over", c.name)
				}
			}
			time.Sleep(2 * grace)
			if e, ok := u.settle(time.Now()); ok {
				got = append(got, fmt.Sprintf("%s %d", e.Kind, e.Time.Unix()))
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("%s: %s, want %s", c.name, s, c.want)
			}
		})
	}
}

// A job that waits to start the unit again makes a longer stop part of a restart; one that goes away does not.
func TestJobThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnit("a.service", state{Active: "active", ActiveEnter: 1})
		u.see(state{Active: "inactive", ActiveEnter: 1, ActiveExit: 2, Job: 7}, time.Now())
		time.Sleep(patience / 2)
		if _, ok := u.settle(time.Now()); ok {
			t.Error("told while the job waits")
		}
		u.see(state{Active: "inactive", ActiveEnter: 1, ActiveExit: 2}, time.Now())
		time.Sleep(2 * grace)
		if e, ok := u.settle(time.Now()); !ok || e.Kind != "unit.stop" {
			t.Errorf("got %v %v", e, ok)
		}
	})
}

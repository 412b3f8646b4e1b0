package main

import (
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/trigger"
)

func sendHost(s sender, t hoststate.Stats, watchers []hoststate.WatcherStatus) {
	s.counter("timeline_events_total", "Events taken into the timeline.", t.Events)
	s.counter("timeline_lost_total", "Events that came faster than the disk took them; they are a gap of the timeline.", t.Lost)
	s.gauge("timeline_size_bytes", "Size of the timeline's files.", t.Bytes)
	s.time("timeline_oldest_timestamp_seconds", "Time of the oldest event that is kept.", t.Oldest)
	s.gauge("timeline_failing_total", "1 if events cannot be written at the moment.", oneIf(t.Error != ""))
	for _, w := range watchers {
		s.gauge("watcher_running_total", "1 if the watcher runs; /readyz?verbose says why not.", oneIf(w.State == hoststate.StateOn), "watcher", w.Name)
		s.gauge("watcher_blind_total", "What the watcher cannot see although it runs.", int64(len(w.Blind)), "watcher", w.Name)
		s.counter("watcher_events_total", "Events that the watcher saw.", w.Events, "watcher", w.Name)
		s.counter("watcher_restarts_total", "Times that the watcher was started again after an error or a panic.", w.Restarts, "watcher", w.Name)
	}
}

func sendRules(s sender, t trigger.RulesStats) {
	matched := map[string]uint64{} // two rules may share a reason
	for _, r := range t.Rules {
		matched[r.Rule] += r.Matched
	}
	for rule, n := range matched {
		s.counter("rule_matched_total", "Events that matched a rule, whatever became of its triggers.", n, "rule", rule)
	}
	s.counter("rule_missed_total", "Events that rules could not look at, by why.", t.Overflow, "kind", "overflow")
	s.counter("rule_missed_total", "Events that rules could not look at, by why.", t.Stale, "kind", "stale")
}

package evidence

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// before is what led to something: packages, what unattended-upgrades, apt and needrestart say, and units that were
// stopped or restarted, the latest of each.
func (q *inquiry) before(at time.Time) (chain []Event) {
	const far, most = 10 * time.Minute, 5
	for _, kinds := range [][]string{{"package"}, {"log"}, {"unit.stop", "unit.restart", "unit.fail", "unit.start", "unit.reload"}} {
		events := q.history.during(at.Add(-far), at, kinds...)
		events = slices.DeleteFunc(events, func(e hoststate.Event) bool {
			return e.Kind == "log" && !slices.Contains([]string{"needrestart", "unattended-upgrades", "apt"}, e.Subject)
		})
		for i := max(0, len(events)-most); i < len(events); i++ {
			chain = append(chain, event(&events[i]))
		}
	}
	slices.SortStableFunc(chain, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return chain
}

// name is how a sentence names a process. The kernel cuts names after 15 bytes; a unit of that name has the whole of it.
func (q *inquiry) name(p *hoststate.Process) string {
	switch {
	case p == nil:
		return "somebody"
	case p.PortID != 0 && p.Name == "":
		return "a process of unknown name (netlink port " + strconv.FormatUint(uint64(p.PortID), 10) + ")"
	case p.PortID == 0:
		return "the kernel"
	}
	whole := *p
	whole.Name = q.unit(p.Name)
	return clean(whole.String())
}

// unit is the whole name of a process that the kernel cut, by the units of the timeline.
func (q *inquiry) unit(comm string) string {
	const length = 15
	if len(comm) < length {
		return comm
	}
	for _, e := range q.history.events {
		if name := strings.TrimSuffix(e.Subject, ".service"); strings.HasPrefix(e.Kind, "unit.") && strings.HasPrefix(name, comm) {
			return name
		}
	}
	if comm == "systemd-network" {
		return "systemd-networkd"
	}
	return comm
}

// event is an event as reports have it.
func event(e *hoststate.Event) Event {
	v := Event{Time: e.Time, Kind: e.Kind, Subject: e.Subject, Text: e.Text}
	if e.By != nil {
		v.By = e.By.String()
	}
	return v
}

// number is a number in an event's data.
func number(e *hoststate.Event, name string) float64 {
	var d map[string]any
	_ = json.Unmarshal(e.Data, &d)
	n, _ := d[name].(float64)
	return n
}

// field is a text in an event's data.
func field(e *hoststate.Event, name string) string {
	var d map[string]any
	_ = json.Unmarshal(e.Data, &d)
	s, _ := d[name].(string)
	return clean(s)
}

// loud is the kinds of events that a report does not have, for there are many; those of the chain it has anyway.
var loud = []string{"conntrack.counts", "conntrack.new", "conntrack.update", "conntrack.destroy", "conntrack.pickup", "conntrack.digest", "counters",
	"sysctl.value", "watcher.on", "timeline.start"}

// events are those that matter: the chain, and what else happened around the fault.
func (q *inquiry) events(v Verdict) []Event {
	const most, before, after = 200, 10 * time.Minute, time.Minute
	from, to := v.First.Add(-before), later(v.Last, v.Impact.To).Add(after)
	if v.First.IsZero() {
		from, to = q.found.First.Add(-before), q.found.Last.Add(after)
	}
	list := slices.Clone(v.Chain)
	for _, e := range q.history.events {
		if len(list) == most {
			break
		}
		if v := event(e); !slices.Contains(loud, e.Kind) && !e.Time.Before(from) && !e.Time.After(to) && !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	slices.SortStableFunc(list, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return list
}

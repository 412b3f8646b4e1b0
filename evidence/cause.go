package evidence

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/hoststate"
)

// cause is what of the timeline led to the fault.
type cause struct {
	text  string  // a clause
	chain []Event // in order, the fault itself last
}

// cause finds what led to the verdict, and to a loss that hurt nobody.
func (q *inquiry) cause() cause {
	if q.winner == nil {
		return q.causeOfLoss()
	}
	switch w := q.winner; w.class {
	case detect.ConntrackLoss:
		return q.causeOfLoss()
	case detect.NATRulesLoss:
		return q.causeOfLeak(w)
	case detect.RoutePolicyLoss:
		return q.causeOfDetour(w)
	case detect.ConntrackTableFull:
		return q.setting(w, "net.netfilter.nf_conntrack_max", q.history.full)
	case detect.ConntrackExpiry:
		return q.setting(w, "net.netfilter.nf_conntrack_tcp_timeout_established", nil)
	case detect.PathOutage:
		return q.causeOfOutage(w)
	case detect.ClientExit:
		return q.causeOfExit(w)
	}
	return cause{}
}

// causeOfLoss says who destroyed the entries, and what made the kernel do it.
func (q *inquiry) causeOfLoss() cause {
	l := q.lost
	if l == nil {
		return cause{}
	}
	if l.told && !l.kernel {
		text := q.name(l.by) + " destroyed it"
		if q.all(l) {
			text = q.name(l.by) + " flushed it"
		}
		return cause{text, append(q.before(l.from), event(&l.event))}
	}
	text := "the kernel destroyed it"
	if !l.told {
		text = "no event tells who destroyed it"
	}
	gone := q.gone(l)
	if gone == nil {
		return cause{text, append(q.before(l.from), event(&l.event))}
	}
	who, chain := q.remover(gone)
	what := clean(q.taken(gone, who))
	unit, why := q.restarted(who, gone.Time)
	chain = append(append(q.before(gone.Time), unit...), chain...)
	if l.told {
		text += " when " + what + why
	} else {
		text += "; " + what + " at " + moment(gone.Time) + why
	}
	return cause{text, append(chain, event(&l.event))}
}

// all says whether a loss took the whole table, as the digest before it had it.
func (q *inquiry) all(l *loss) bool {
	var d struct {
		Flows int
		Older int
	}
	digests := q.history.during(l.from.Add(-patience), l.from, "conntrack.digest")
	if len(digests) == 0 || json.Unmarshal(digests[len(digests)-1].Data, &d) != nil {
		return false
	}
	return l.flows*10 >= d.Flows*9
}

// gone is what made the kernel destroy the entries that were translated to an address: the address was removed, or its
// interface was set down or is gone. An address is the nearer cause.
func (q *inquiry) gone(l *loss) (nearest *hoststate.Event) {
	const before, after = 2 * time.Second, 500 * time.Millisecond
	events := q.history.during(l.from.Add(-before), l.to.Add(after), "address.remove", "link.change")
	for i := range events {
		e := &events[i]
		switch {
		case e.Subject == "many" || e.Subject == "quiet":
			continue
		case e.Kind == "address.remove" && field(e, "scope") == "link":
			continue
		case e.Kind == "link.change" && !strings.Contains(e.Text, " was set down") && !strings.Contains(e.Text, " is gone"):
			continue
		}
		near := func(o *hoststate.Event) time.Duration { return o.Time.Sub(l.from).Abs() }
		if nearest == nil || e.Kind < nearest.Kind || e.Kind == nearest.Kind && near(e) < near(nearest) {
			nearest = e
		}
	}
	return nearest
}

// taken says in words what is gone, and who took it.
func (q *inquiry) taken(gone *hoststate.Event, who *hoststate.Process) string {
	known := who != nil && who.PortID != 0
	address, _, _ := strings.Cut(field(gone, "address"), "/")
	switch down := strings.Contains(gone.Text, " was set down"); {
	case gone.Kind == "address.remove" && known:
		return fmt.Sprintf("%s removed %s from %s", q.name(who), address, gone.Subject)
	case gone.Kind == "address.remove":
		return fmt.Sprintf("%s was removed from %s", address, gone.Subject)
	case down && known:
		return fmt.Sprintf("%s set %s down", q.name(who), gone.Subject)
	case down:
		return gone.Subject + " was set down"
	case known:
		return fmt.Sprintf("%s removed %s", q.name(who), gone.Subject)
	}
	return gone.Subject + " was removed"
}

// remover is who removed an address. Of one of IPv6 the kernel names nobody; who removed a route of its interface in the
// same moment did it, or did what did it.
func (q *inquiry) remover(gone *hoststate.Event) (who *hoststate.Process, chain []Event) {
	const moment = 100 * time.Millisecond
	if gone.By != nil && gone.By.PortID != 0 {
		return gone.By, []Event{event(gone)}
	}
	for _, e := range q.history.during(gone.Time.Add(-moment), gone.Time.Add(moment), "route.remove", "link.change") {
		if e.By != nil && e.By.PortID != 0 && (e.Subject == gone.Subject || strings.Contains(e.Text+" ", " dev "+gone.Subject+" ")) {
			return e.By, []Event{event(&e), event(gone)}
		}
	}
	return nil, []Event{event(gone)}
}

// restarted says which unit the process belongs to, who restarted it, and how long before.
func (q *inquiry) restarted(who *hoststate.Process, at time.Time) (chain []Event, why string) {
	if who == nil || who.Name == "" {
		return nil, ""
	}
	unit := q.unit(who.Name)
	restarts := q.history.during(at.Add(-patience), at.Add(10*time.Second), "unit.restart", "unit.stop")
	restarted := false
	for i := range restarts {
		if e := &restarts[i]; strings.TrimSuffix(e.Subject, ".service") == unit && !restarted {
			chain, restarted = append(chain, event(e)), true
		}
	}
	for _, e := range q.history.during(at.Add(-patience), at, "log") {
		if e.Subject == "needrestart" && strings.Contains(e.Text, "needrestart restarts") && strings.Contains(e.Text, unit) {
			return chain, fmt.Sprintf(", %s after needrestart restarted it", span(at.Sub(e.Time)))
		}
	}
	packages := q.history.during(at.Add(-patience), at, "package")
	if n := len(packages); n > 0 {
		e := packages[n-1]
		return chain, fmt.Sprintf(", %s after dpkg %s %s", span(at.Sub(e.Time)), past(field(&e, "action")), clean(e.Subject))
	}
	if restarted {
		return chain, fmt.Sprintf(", as %s.service was restarted", unit)
	}
	return chain, ""
}

// past is what a package manager did.
func past(action string) string {
	switch action {
	case "install", "reinstall":
		return action + "ed"
	case "upgrade", "downgrade", "configure", "remove", "purge":
		return strings.TrimSuffix(action, "e") + "ed"
	}
	return "changed"
}

// causeOfLeak says who took the rules of translation away, and whether they came back.
func (q *inquiry) causeOfLeak(c *claim) cause {
	for _, e := range q.history.nat {
		if !c.follows(e.Time, e.Time) {
			continue
		}
		n := natRulesLost(&e)
		text := fmt.Sprintf("%s removed %s of address translation from %s at %s", q.name(e.By), count(n, "rule"), clean(e.Subject), moment(e.Time))
		chain := append(q.before(e.Time), event(&e))
		for _, later := range q.history.during(e.Time, c.last.Add(patience), "ruleset.change") {
			if natRulesLost(&later) < 0 {
				return cause{text + verb(n, ", and it was back at ", ", and they were back at ") + moment(later.Time), append(chain, event(&later))}
			}
		}
		return cause{text, chain}
	}
	return cause{}
}

// causeOfDetour says who removed the rule or route.
func (q *inquiry) causeOfDetour(c *claim) cause {
	events := q.history.during(c.first.Add(-patience), c.first.Add(slack), "rule.remove", "route.remove", "rule.add")
	var found *hoststate.Event
	for i := range events { // the last one; a removed policy rule before anything else
		if e := &events[i]; found == nil || rank(e.Kind) >= rank(found.Kind) {
			found = e
		}
	}
	if found == nil {
		return cause{}
	}
	verb, what := "removed", found.Before
	if found.Kind == "rule.add" {
		verb, what = "added", found.After
	}
	kind, _, _ := strings.Cut(found.Kind, ".")
	text := fmt.Sprintf("%s %s the %s at %s", q.name(found.By), verb, clean(kind+" "+what), moment(found.Time))
	return cause{text, append(q.before(found.Time), event(found))}
}

func rank(kind string) int {
	switch kind {
	case "rule.remove":
		return 2
	case "route.remove":
		return 1
	}
	return 0
}

// setting says that a sysctl was changed before the fault.
func (q *inquiry) setting(c *claim, name string, signs []hoststate.Event) cause {
	var found cause
	for _, e := range q.history.during(c.first.Add(-10*patience), c.first.Add(slack), "sysctl.change") {
		if e.Subject == name {
			found = cause{fmt.Sprintf("%s was set from %s to %s", name, clean(e.Before), clean(e.After)), append(q.before(e.Time), event(&e))}
		}
	}
	for i := range signs {
		if e := &signs[i]; e.Time.After(c.first.Add(-2*slack)) && e.Time.Before(c.last.Add(2*slack)) {
			found.chain = append(found.chain, event(e))
			break
		}
	}
	return found
}

// causeOfOutage says what the node itself did to the path.
func (q *inquiry) causeOfOutage(c *claim) cause {
	for _, e := range q.history.during(c.first.Add(-2*slack), c.first.Add(2*slack), "address.remove", "link.change", "route.remove", "neighbour.change") {
		if e.Subject == "quiet" || e.Subject == "many" || strings.HasSuffix(e.Text, " came, up") {
			continue
		}
		return cause{clean(e.Text), append(q.before(e.Time), event(&e))}
	}
	return cause{}
}

// causeOfExit says whether the kernel killed the client.
func (q *inquiry) causeOfExit(c *claim) cause {
	for _, e := range q.history.during(c.first.Add(-2*slack), c.first.Add(slack), "kernel.log") {
		if e.Subject == "oom" {
			return cause{"the kernel had killed a process for want of memory", []Event{event(&e)}}
		}
	}
	return cause{}
}

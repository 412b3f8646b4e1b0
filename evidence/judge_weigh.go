package evidence

import (
	"slices"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/hoststate"
)

// patience is how long after its cause a fault may show: an idle flow notices when it is used.
const patience = time.Minute

// slack is by how much the times of packets and of events may differ.
const slack = time.Second

// weights is how the timeline speaks for or against what packets show, in this order.
var weights = []struct {
	name  string
	weigh func(*inquiry)
}{
	{"the timeline tells of the loss that packets show", (*inquiry).lossTold},
	{"entries expired, and were not lost", (*inquiry).expired},
	{"entries of flows that only had been idle were lost, and did not expire", (*inquiry).idleLost},
	{"rules of address translation went", (*inquiry).rulesTold},
	{"flows whose entries were lost were hit, whatever that looks like", (*inquiry).lossFelt},
	{"policy rules or routes went", (*inquiry).routesTold},
	{"the table was full", (*inquiry).fullTold},
	{"servers that seem to restart together, seen from pods alone", (*inquiry).restartsSeen},
	{"a loss that the timeline would tell of, and does not", (*inquiry).lossUntold},
	{"a loss that hurt nobody", (*inquiry).lossUnfelt},
}

// confirm says that the timeline agrees.
func (c *claim) confirm(sure float64) { c.sure, c.agreed = max(c.sure, sure), true }

// turn says that what looked like one class is another. The findings stay what they are: what packets show.
func (q *inquiry) turn(from, to detect.Class, sure float64) {
	c := q.claims[from]
	delete(q.claims, from)
	for _, f := range c.findings {
		q.claim(to).add(f)
	}
	q.claim(to).sum(q.names)
	q.claim(to).confirm(sure)
}

// claim is that of a class, which may be new.
func (q *inquiry) claim(class detect.Class) *claim {
	if q.claims[class] == nil {
		q.claims[class] = &claim{class: class}
	}
	return q.claims[class]
}

// follows says whether a claim begins soon after something that took from one time to another.
func (c *claim) follows(from, to time.Time) bool {
	return from.Before(c.first.Add(slack)) && to.After(c.first.Add(-patience))
}

// follow says whether a claim begins soon after one of the events.
func (c *claim) follow(events []hoststate.Event) bool {
	return slices.ContainsFunc(events, func(e hoststate.Event) bool { return c.follows(e.Time, e.Time) })
}

// watched says whether a watcher would have seen what a claim followed.
func (q *inquiry) watched(watcher string, c *claim) bool {
	return q.history.watched(watcher, c.first.Add(-slack), c.last)
}

// rulesTold weighs the changes of rules that translate addresses.
func (q *inquiry) rulesTold() {
	leak, loss := q.claims[detect.NATRulesLoss], q.claims[detect.ConntrackLoss]
	switch {
	case leak != nil && leak.follow(q.history.nat):
		leak.confirm(0.98)
	case leak != nil && q.watched("ruleset", leak) && q.lossBefore(leak) != nil: // without its entry a flow leaves untranslated as well
		q.lost = q.lossBefore(leak)
		q.turn(detect.NATRulesLoss, detect.ConntrackLoss, 0.97)
	case leak != nil && q.watched("ruleset", leak):
		leak.sure *= 0.7
	case loss != nil && !loss.agreed && loss.follow(q.history.nat) && q.watched("conntrack", loss):
		q.turn(detect.ConntrackLoss, detect.NATRulesLoss, 0.85)
	}
}

// routesTold weighs the changes of policy rules and routes.
func (q *inquiry) routesTold() {
	c := q.claims[detect.RoutePolicyLoss]
	switch {
	case c == nil:
	case c.follow(q.history.during(c.first.Add(-patience), c.last, "rule.remove", "rule.add", "route.remove")):
		c.confirm(0.97)
	case q.watched("network", c):
		c.sure *= 0.7
	}
}

// fullTold weighs whether the kernel had no room for entries. Connections that were dropped meanwhile, were dropped by it.
func (q *inquiry) fullTold() {
	for _, class := range []detect.Class{detect.ConnectDropped, detect.DNSFailure, detect.ServerOverload, detect.ConntrackTableFull} {
		c := q.claims[class]
		if c == nil {
			continue
		}
		full := slices.ContainsFunc(q.history.full, func(e hoststate.Event) bool {
			return e.Time.After(c.first.Add(-2*slack)) && e.Time.Before(c.last.Add(2*slack))
		})
		switch {
		case full:
			q.turn(class, detect.ConntrackTableFull, 0.97)
		case class == detect.ConntrackTableFull && q.watched("counters", c):
			c.sure *= 0.6
		}
	}
}

// restartsSeen doubts that servers on several machines restarted at once where no uplink is recorded: a node that lost its
// state makes them all reset ports that they had never seen, and only outside can one tell.
func (q *inquiry) restartsSeen() {
	c := q.claims[detect.ServerRestart]
	if c == nil || slices.ContainsFunc(q.found.Vantages, func(v detect.Vantage) bool { return v.Uplink }) {
		return
	}
	machines := map[string]bool{}
	for _, h := range c.hits {
		machines[host(h.Dst)] = true
	}
	if len(machines) > 1 {
		c.sure *= 0.6
	}
}

package evidence

import (
	"cmp"
	"slices"
	"time"

	"github.com/ringside/ringside/detect"
)

// overrides is which class explains which other ones, if both hold at the same time: what the other rules see is then a
// consequence. Why is what excludes the other class, for the report. No class overrides one that overrides it, over
// whatever steps.
var overrides = []struct {
	class detect.Class
	over  []detect.Class
	why   string
	only  *condition // nil: in any case
}{
	{detect.ConntrackLoss, []detect.Class{detect.ServerRestart, detect.ConnectRejected, detect.ServerIdleTimeout},
		"the resets answer segments from ports that the servers had never seen, or come from the node", nil},
	{detect.ConntrackLoss, []detect.Class{detect.ClientExit, detect.PodGone},
		"flows of clients that live on ended, and their entries had been lost before", nil},
	{detect.ConntrackLoss, []detect.Class{detect.PathOutage, detect.PathLoss, detect.ConnectDropped, detect.ServerSlow, detect.ServerOverload, detect.DNSFailure},
		"what took the state interrupted traffic for a moment, and flows without state are not answered", nil},
	{detect.NATRulesLoss, []detect.Class{detect.PathOutage, detect.PathLoss, detect.ConnectDropped, detect.ServerSlow, detect.ServerOverload, detect.DNSFailure, detect.ConnectRejected},
		"nobody answers packets that leave with addresses of pods", nil},
	{detect.NATRulesLoss, []detect.Class{detect.ConntrackLoss, detect.RoutePolicyLoss, detect.ServerRestart, detect.ClientExit, detect.PodGone},
		"new connections left untranslated as well, which they do with rules and an empty table not", nil},
	{detect.RoutePolicyLoss, []detect.Class{detect.PathOutage, detect.PathLoss, detect.ConnectDropped, detect.ServerSlow, detect.ServerOverload, detect.DNSFailure, detect.ConnectRejected,
		detect.PodGone, detect.ConntrackLoss, detect.ServerRestart, detect.ClientExit},
		"the flows left the node by another interface, and kept their ports", nil},
	{detect.ConntrackTableFull, []detect.Class{detect.ConnectDropped, detect.DNSFailure, detect.ServerOverload, detect.PathLoss, detect.ConnectRejected},
		"new connections vanished inside the node, before the network or a server could drop them", nil},
	{detect.ConntrackExpiry, []detect.Class{detect.ConntrackLoss, detect.ServerRestart, detect.ServerIdleTimeout, detect.ConnectRejected, detect.ClientExit},
		"only flows that had been idle were hit, and their entries had expired", nil},
	{detect.PodGone, []detect.Class{detect.PathOutage, detect.PathLoss, detect.ServerSlow, detect.ClientExit, detect.ServerIdleTimeout},
		"only one pod's flows fell silent, and what was sent to it reached nobody", nil},
	{detect.ServerRestart, []detect.Class{detect.ConnectRejected, detect.ConnectDropped, detect.PathLoss, detect.PathOutage, detect.ServerSlow, detect.ServerOverload,
		detect.ServerIdleTimeout, detect.ClientExit},
		"a server that is down answers nothing, or refuses, and then knows none of its connections", sameServices},
	{detect.ServerOverload, []detect.Class{detect.ServerSlow, detect.ConnectDropped, detect.PathLoss},
		"the server answered segments of its connections, late, while it took no new ones", sameServices},
	{detect.PathOutage, []detect.Class{detect.PathLoss, detect.ServerSlow, detect.ServerOverload, detect.ConnectDropped, detect.DNSFailure},
		"nothing at all came through for a while, of old connections neither", nil},
	{detect.PathLoss, []detect.Class{detect.ServerSlow},
		"segments were lost and sent again, which is what made answers late", nil},
	{detect.PathLoss, []detect.Class{detect.ConnectDropped},
		"SYNs were lost as other segments were, and got through when they were sent again", mostRecovered},
	{detect.DNSFailure, []detect.Class{detect.ConnectRejected, detect.ConnectDropped},
		"it is name servers that do not answer", sameServices},
}

// condition is what must hold of a consequence, and of what explains it.
type condition struct {
	text  string
	holds func(c, by *claim) bool
}

var (
	// The fault of a server does not explain what others suffer.
	sameServices = &condition{"of the same services", func(c, by *claim) bool { return within(c.services, by.services) }}

	// What the network loses now and then is tried again.
	mostRecovered = &condition{"if most of its flows recovered", func(c, _ *claim) bool {
		return 2*c.having(func(h *struck) bool { return h.fate() == detect.Recovered }) > len(c.hits)
	}}
)

// near is how far apart two faults may be that have to do with each other.
const near = 30 * time.Second

// decide finds the winner among what holds.
func (q *inquiry) decide() {
	var held []*claim
	for _, class := range detect.Classes {
		if c := q.claims[class]; c.holds() && class != detect.RecorderBlind {
			held = append(held, c)
		}
	}
	var free []*claim
	for _, c := range held {
		if !slices.ContainsFunc(held, func(by *claim) bool { _, yes := overridden(c, by); return yes }) {
			free = append(free, c)
		}
	}
	slices.SortStableFunc(free, func(a, b *claim) int {
		return cmp.Or(-cmp.Compare(a.weight(), b.weight()), -cmp.Compare(a.flows(), b.flows()))
	})
	if len(free) > 0 {
		q.winner, q.also = free[0], free[1:]
		return
	}
	if why := q.blind(); why != "" {
		q.winner = &claim{class: detect.RecorderBlind, sure: 0.9, first: q.found.First, last: q.found.Last}
	}
}

// weight is how much a claim counts beside others that have nothing to do with it, in tenths: less is not known. What
// happens every day, and often for no reason, counts less.
func (c *claim) weight() int {
	w := int(c.sure*10 + 0.5)
	switch c.class {
	case detect.PathLoss, detect.ClientExit, detect.ServerIdleTimeout:
		w -= 2
	}
	return w
}

// overridden says whether a claim is a consequence of another, and why.
func overridden(c, by *claim) (why string, yes bool) {
	if c == by || c.first.After(by.last.Add(near)) || by.first.After(c.last.Add(near)) {
		return "", false
	}
	for _, o := range overrides {
		if o.class == by.class && slices.Contains(o.over, c.class) && (o.only == nil || o.only.holds(c, by)) {
			return o.why, true
		}
	}
	return "", false
}

// within says whether all of a are in b.
func within(a, b []string) bool {
	return !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

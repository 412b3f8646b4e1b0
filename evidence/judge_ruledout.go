package evidence

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ringside/ringside/detect"
)

// alike is which classes people take for one another, so that a report says what tells them apart.
var alike = map[detect.Class][]detect.Class{
	detect.ConntrackLoss:      {detect.NATRulesLoss, detect.RoutePolicyLoss, detect.ConntrackExpiry, detect.ServerRestart, detect.ServerIdleTimeout, detect.PathOutage},
	detect.NATRulesLoss:       {detect.ConntrackLoss, detect.RoutePolicyLoss, detect.PathOutage, detect.ServerRestart},
	detect.RoutePolicyLoss:    {detect.ConntrackLoss, detect.NATRulesLoss, detect.PathOutage},
	detect.ConntrackTableFull: {detect.ConntrackLoss, detect.ConnectDropped, detect.ServerOverload},
	detect.ConntrackExpiry:    {detect.ConntrackLoss, detect.ServerIdleTimeout, detect.ServerRestart},
	detect.ServerRestart:      {detect.ConntrackLoss, detect.NATRulesLoss, detect.ServerIdleTimeout, detect.PathOutage, detect.ClientExit},
	detect.ServerIdleTimeout:  {detect.ConntrackLoss, detect.ConntrackExpiry, detect.ServerRestart},
	detect.ServerSlow:         {detect.ConntrackLoss, detect.PathLoss, detect.PathOutage, detect.ServerOverload},
	detect.ServerOverload:     {detect.ConntrackTableFull, detect.ConnectDropped, detect.PathLoss},
	detect.PathLoss:           {detect.ConntrackLoss, detect.RoutePolicyLoss, detect.PathOutage, detect.ServerSlow},
	detect.PathOutage:         {detect.ConntrackLoss, detect.NATRulesLoss, detect.RoutePolicyLoss, detect.ServerRestart},
	detect.ConnectDropped:     {detect.ConntrackTableFull, detect.NATRulesLoss, detect.PathOutage, detect.ServerOverload},
	detect.ConnectRejected:    {detect.ConntrackTableFull, detect.ServerRestart, detect.ConnectDropped},
	detect.DNSFailure:         {detect.ConntrackTableFull, detect.PathOutage, detect.ConnectDropped},
	detect.ClientExit:         {detect.ConntrackLoss, detect.ServerRestart, detect.PodGone},
	detect.PodGone:            {detect.ConntrackLoss, detect.PathOutage, detect.ClientExit},
	detect.None:               {detect.ConntrackLoss, detect.NATRulesLoss, detect.RoutePolicyLoss, detect.ServerRestart, detect.PathOutage, detect.ConnectDropped},
}

// absent is what would have been seen of a class, and was not.
var absent = map[detect.Class]string{
	detect.ConntrackLoss:      "no flow went on from a port that its server had never seen, and the node reset none",
	detect.NATRulesLoss:       "no new connection left the node with the address of a pod where others had been translated",
	detect.RoutePolicyLoss:    "no flow changed the interface by which it leaves the node",
	detect.ConntrackTableFull: "no new connection vanished inside the node while others went on",
	detect.ConntrackExpiry:    "no established entry is known to have expired before it was used again",
	detect.ServerRestart:      "no server ended flows at once on the ports that it knew them by",
	detect.ServerIdleTimeout:  "no server closed flows that had been idle",
	detect.ServerSlow:         "no server acknowledged requests at once and answered them late",
	detect.ServerOverload:     "no server left new connections waiting while it answered late",
	detect.PathLoss:           "segments were not sent again in both directions on flows of every kind",
	detect.PathOutage:         "flows did not all stall at once and go on where they were",
	detect.ConnectDropped:     "no series of new connections went without an answer",
	detect.ClientExit:         "no client ended its flows at once",
	detect.PodGone:            "no client fell silent with what was sent to it reaching nobody",
}

// inside is the classes that only packets at an uplink can exclude: elsewhere addresses are those of pods anyway.
var inside = []detect.Class{detect.ConntrackLoss, detect.NATRulesLoss, detect.RoutePolicyLoss, detect.ConntrackTableFull}

// proofs is what of the verdict's own flows excludes another class; "" if nothing does.
var proofs = map[[2]detect.Class]func(w *claim) string{
	{detect.ConntrackLoss, detect.ServerRestart}: func(w *claim) string {
		var parts []string
		if n := w.having(func(h *struck) bool { return h.Then != "" }); n > 0 {
			parts = append(parts, "segments of "+count(n, "flow")+" reached servers from ports that they had never seen")
		}
		if n := w.by("node-rst"); n > 0 {
			parts = append(parts, "the node itself reset "+count(n, "flow"))
		}
		return strings.Join(parts, "; ")
	},
	{detect.ServerRestart, detect.ConntrackLoss}: func(w *claim) string {
		if w.having(func(h *struck) bool { return h.Then != "" }) > 0 || w.flows() == 0 {
			return ""
		}
		return fmt.Sprintf("%s ended on the %s that %s server had known %s by", count(w.flows(), "flow"), verb(w.flows(), "port", "ports"),
			verb(w.flows(), "its", "their"), verb(w.flows(), "it", "them"))
	},
	{detect.PathOutage, detect.ConntrackLoss}: func(w *claim) string {
		n := w.having(func(h *struck) bool { return h.fate() == detect.Recovered })
		if n == 0 {
			return ""
		}
		return fmt.Sprintf("%s went on where %s had been, on the %s that %s had", count(n, "flow"), verb(n, "it", "they"), verb(n, "port", "ports"), verb(n, "it", "they"))
	},
}

// having counts the flows that are so.
func (c *claim) having(so func(*struck) bool) (n int) {
	for _, h := range c.hits {
		if so(h) {
			n++
		}
	}
	return n
}

// by is how many flows the findings of a rule are about; of several vantages the most.
func (c *claim) by(rule string) (n int) {
	for _, f := range c.findings {
		if f.Rule == rule {
			n = max(n, f.Count)
		}
	}
	return n
}

// ruledOut is what it is not, and why: what held and is a consequence, what the timeline corrected, and what people would
// ask about.
func (q *inquiry) ruledOut() []RuledOut {
	winner := detect.None
	if q.winner != nil {
		winner = q.winner.class
	}
	list, said := []RuledOut{}, map[detect.Class]bool{}
	say := func(class detect.Class, why string) {
		if said[class] {
			return
		}
		if proof := proofs[[2]detect.Class{winner, class}]; proof != nil && proof(q.winner) != "" {
			why = proof(q.winner) + q.timelineAbsent(class)
		}
		list, said[class] = append(list, RuledOut{class, why}), true
	}
	said[winner] = true
	for _, class := range detect.Classes {
		if c := q.claims[class]; c != nil && q.winner != nil {
			if why, yes := overridden(c, q.winner); yes {
				say(class, why)
			}
		}
	}
	for _, class := range alike[winner] {
		switch c := q.claims[class]; {
		case c != nil && len(c.findings) > 0: // something speaks for it
		case !q.excludes(class):
		default:
			say(class, absent[class]+q.timelineAbsent(class))
		}
	}
	return list
}

// excludes says whether this recording could have shown a class.
func (q *inquiry) excludes(class detect.Class) bool {
	if winner := q.winner; winner != nil && winner.class == detect.RecorderBlind {
		return false
	}
	if class == detect.ConntrackExpiry {
		return q.history.watched("conntrack", q.found.First, q.found.Last)
	}
	if q.dark() > 0 && q.winner == nil {
		return false
	}
	uplink := slices.ContainsFunc(q.found.Vantages, func(v detect.Vantage) bool { return v.Uplink })
	return uplink || !slices.Contains(inside, class)
}

// timelineAbsent is what the timeline would have told of a class.
func (q *inquiry) timelineAbsent(class detect.Class) string {
	from, to := q.found.First, q.found.Last
	switch class {
	case detect.ConntrackLoss:
		if len(q.history.losses) == 0 && q.history.watched("conntrack", from, to) {
			return "; no established entry was destroyed before its time"
		}
	case detect.NATRulesLoss:
		if len(q.history.nat) == 0 && q.history.watched("ruleset", from, to) {
			return "; the rules stayed as they were"
		}
	case detect.RoutePolicyLoss:
		if len(q.history.during(from, to, "rule.remove")) == 0 && q.history.watched("network", from, to) {
			return "; no policy rule was removed"
		}
	case detect.ConntrackTableFull:
		if len(q.history.full) == 0 && q.history.watched("counters", from, to) {
			return "; the kernel counted no packet that it dropped for want of an entry"
		}
	}
	return ""
}

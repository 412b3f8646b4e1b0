package detect

import (
	"fmt"
	"slices"
)

// hit adds a sign to the episode of its class, and reports it once there are enough.
func (l *loss) hit(class Class, s *sign) {
	e := l.episodes[class]
	if e == nil {
		e = &episode{first: s.at, gap: s.gap, flows: map[flowKey]bool{}, findings: map[string]*Finding{}, signs: map[string][]*sign{}}
		l.episodes[class] = e
		if l.all = append(l.all, e); len(l.all) > maxEpisodes {
			l.all = l.all[1:]
		}
	}
	e.first, e.last, e.gap = min(e.first, s.at), max(e.last, s.at), min(e.gap, s.gap)
	f := e.findings[s.rule]
	if f == nil {
		f = &Finding{Class: class, Rule: s.rule}
		e.findings[s.rule] = f
	}
	if !e.flows[s.key] {
		e.flows[s.key] = true
		if len(l.lost) >= maxMoves {
			clear(l.lost)
		}
		l.lost[s.key] = s.at
		f.add(s.flow)
		if len(f.Flows) == f.Count {
			e.signs[s.rule] = append(e.signs[s.rule], s)
		}
	}
	f.Text, f.Confidence = l.text(f), confidence(len(e.flows))
	if len(e.flows) < lossFlows {
		return
	}
	for _, f := range e.findings {
		if f.Count > 0 && !slices.Contains(l.d.found, f) {
			f.Confidence = confidence(len(e.flows))
			l.d.report(f)
		}
	}
}

// confidence grows with the number of connections that show the same.
func confidence(flows int) float64 { return min(0.98, 0.7+0.04*float64(flows)) }

func (l *loss) text(f *Finding) string {
	n := connections(f.Count)
	switch f.Rule {
	case rulePortMigration:
		return n + " went on from another port of the node: the node had forgotten how it translates them"
	case ruleAddressLeak:
		if f.Class == NATRulesLoss {
			return n + " and new ones left the node with the pods' own addresses: nothing translated them"
		}
		return n + " went on with the pods' own addresses, while new ones were translated: the node had forgotten them"
	case ruleNodeRST:
		return "the node itself answered segments of servers on " + n + " that lived with RST: it did not know whose they were"
	case ruleNodeICMP:
		return "the node itself refused segments of servers on " + n + " that lived, by ICMP: it did not know whose they were"
	case ruleVanished:
		return "segments of " + n + " entered the node and never left it, while new connections passed"
	case ruleForgedRST:
		return "the node ended " + n + " of its pods with RSTs that no server had sent"
	case ruleUntranslated:
		return n + " that began left the node with the pods' own addresses, which were translated before"
	case ruleWrongUplink:
		return n + " went on through another uplink, where nobody answered"
	case ruleSYNVanished:
		return "SYNs of " + n + " entered the node and never left it, while established connections went on"
	case ruleIdleMigration:
		return n + " went on from another port after a long silence: the node had let their state expire"
	}
	return n + " of one pod fell silent, and nothing reaches the pod any more"
}

func connections(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}

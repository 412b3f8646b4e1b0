package lab

import (
	"context"
	"time"

	"github.com/ringside/ringside/lab/wire"
)

func ipRulesLost() Scenario {
	return Scenario{
		Name:  "ip-rules-lost",
		Class: "route-policy-loss",
		Title: "the rule that leads a pod to its own uplink is removed, as networkd does with rules it did not make",
		What: "The pod's segments leave by the wrong uplink, where the network takes no such address. No entry is destroyed, no port changes, only the " +
			"interface does. Connections of that pod stall until the rule is back.",
		Setup: func(u *Setup) {
			u.Uplinks, u.NAT, u.Timeout, u.After, u.Rules = 2, NoNAT, 6*time.Second, 7*time.Second, ownRules
		},
		Fault: func(ctx context.Context, l *Lab) error {
			l.Begin("the rule of %s is removed for 2 s", l.Pods[1].Addr)
			if err := l.Node.RemoveRule(l.PodRule()); err != nil {
				return err
			}
			if err := l.Wait(ctx, 2*time.Second); err != nil {
				return err
			}
			return l.Node.Rule(l.PodRule())
		},
		Expect: func(s *Seen) []Expectation {
			return []Expectation{s.expectWrongUplink(), s.expectNoBurst(), s.expectUntriggered(), newConnectionsWork(s), s.expectNoMigration(),
				s.expectEvent("rule.remove", "the rule being removed", promptly), s.expectEvent("rule.add", "the rule coming back", promptly),
				s.expectAnswersAgain(), s.expectCause(self())}
		},
	}
}

// expectWrongUplink: the second pod's segments are seen on the first uplink, and only during the fault.
func (s *Seen) expectWrongUplink() Expectation {
	pod, during, before := s.World.Pods[1].Addr, map[uint16]bool{}, 0
	s.At(s.World.Uplinks[0].Link).Count(func(p *wire.Packet) bool {
		if p.Src.Addr() != pod {
			return false
		}
		if s.AfterFault(p) {
			during[p.Src.Port()] = true
		} else {
			before++
		}
		return true
	})
	return Expect("connections of the second pod leave by the first uplink", len(during) >= enough && before == 0,
		"%d connections, %d packets before", len(during), before)
}

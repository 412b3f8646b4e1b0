package lab

import (
	"context"
	"time"

	"github.com/ringside/ringside/lab/netfilter"
)

func natRulesLost() Scenario {
	return Scenario{
		Name:  "nat-rules-lost",
		Class: "nat-rules-loss",
		Title: "the node's address translation is flushed, and comes back two seconds later",
		What: "Segments leave with the pods' own addresses, SYNs of new connections among them, and nobody answers. No entry is destroyed. When the rules are " +
			"back, connections that were there go on from the port they had.",
		Setup: func(u *Setup) { u.Timeout, u.After, u.Rules = 6*time.Second, 7*time.Second, ownRules },
		Fault: func(ctx context.Context, l *Lab) error {
			var lost []netfilter.NAT
			l.Begin("the rules of address translation are flushed for 2 s")
			err := l.NodeRules(func(r *netfilter.Rules) { lost, r.NAT = r.NAT, nil })
			if err != nil {
				return err
			}
			if err := l.Wait(ctx, 2*time.Second); err != nil {
				return err
			}
			return l.NodeRules(func(r *netfilter.Rules) { r.NAT = lost })
		},
		Expect: func(s *Seen) []Expectation {
			return []Expectation{s.expectLeak(true), s.expectNoBurst(), s.expectUntriggered(), newConnectionsWork(s), s.expectNoMigration(),
				s.expectEvent("ruleset.change", "the rules being changed", promptly), s.expectAnswersAgain(), s.expectCause(self())}
		},
	}
}

package lab

import (
	"context"
	"time"

	"github.com/ringside/ringside/lab/netfilter"
)

func rulesReloadAtomic() Scenario {
	return Scenario{
		Name:  "rules-reload-atomic",
		Class: "none",
		Title: "all rules are replaced five times, each time in one transaction",
		What:  "The timeline has the reloads, and nothing else happens: no entry is destroyed, no packet takes another way.",
		Setup: func(u *Setup) { u.Rules = ownRules },
		Fault: func(ctx context.Context, l *Lab) error {
			l.Begin("the node's rules are replaced by the same rules, five times")
			for range 5 {
				if err := l.NodeRules(func(*netfilter.Rules) {}); err != nil {
					return err
				}
				if err := l.Wait(ctx, 200*time.Millisecond); err != nil {
					return err
				}
			}
			return nil
		},
		Expect: func(s *Seen) []Expectation {
			return []Expectation{s.expectEvent("ruleset.change", "the reloads", promptly), s.expectNoBurst(), s.expectUntriggered(),
				s.expectNoMigration(), s.expectNoImpact()}
		},
	}
}

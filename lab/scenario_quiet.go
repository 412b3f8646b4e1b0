package lab

import (
	"context"
	"time"
)

func quiet() Scenario {
	return Scenario{
		Name:  "quiet",
		Class: "none",
		Title: "nothing happens",
		What:  "Traffic goes on, and the recorder finds nothing to say.",
		Setup: func(u *Setup) { u.Rules = ownRules },
		Fault: func(ctx context.Context, l *Lab) error {
			l.Begin("nothing")
			return l.Wait(ctx, 2*time.Second)
		},
		Expect: func(s *Seen) []Expectation {
			e := []Expectation{s.expectNoBurst(), s.expectUntriggered(), s.expectNoMigration(), s.expectNoImpact()}
			for _, kind := range []string{"address.remove", "route.remove", "rule.remove", "ruleset.change", "link.change", "sysctl.change", "conntrack.gap", "timeline.gap"} {
				list := s.Timeline(kind)
				e = append(e, Expect("the timeline has no "+kind, len(list) == 0, "%s", s.describe(list)))
			}
			return e
		},
	}
}

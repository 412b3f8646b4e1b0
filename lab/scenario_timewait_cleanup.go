package lab

import (
	"context"
	"errors"

	"github.com/ringside/ringside/lab/netfilter"
)

func timewaitCleanup() Scenario {
	return Scenario{
		Name:  "timewait-cleanup",
		Class: "none",
		Title: "a program deletes the entries of connections that are over",
		What:  "The table shrinks, by entries in TIME_WAIT alone. Nobody notices, and it is no loss: the number of entries alone says nothing.",
		Setup: func(u *Setup) {
			u.Rules = ownRules
			for i := range u.Services {
				if l := &u.Services[i].Load; !l.Push {
					l.New = 4
				}
			}
		},
		Fault: func(_ context.Context, l *Lab) error {
			l.Begin("the entries in TIME_WAIT are deleted")
			n, err := netfilter.Delete(l.Node, l.Setup.IPv6, func(e netfilter.Entry) bool { return e.State == netfilter.TCPTimeWait })
			if err == nil && n == 0 {
				err = errors.New("there was no entry in TIME_WAIT")
			}
			return err
		},
		Expect: func(s *Seen) []Expectation {
			return []Expectation{s.expectNoBurst(), s.expectUntriggered(), s.expectNoMigration(), s.expectNoImpact()}
		},
	}
}

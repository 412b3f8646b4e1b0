package lab

import (
	"context"
	"time"

	"github.com/ringside/ringside/lab/traffic"
)

func conntrackExpiry() Scenario {
	return Scenario{
		Name:  "conntrack-expiry",
		Class: "conntrack-expiry",
		Title: "entries of idle connections expire, because somebody lowered their time-out",
		What: "Entries are destroyed one by one without any time left, so it is no burst of loss. Idle connections go on from another port and are reset; busy " +
			"ones notice nothing.",
		Setup: func(u *Setup) {
			u.NAT, u.After, u.Rules = MasqueradeRandom, 9*time.Second, ownRules
			u.Services = append(u.Services, Service{Name: idleService, Server: DB, Port: 5434, Pods: []int{0, 1},
				Load: traffic.Load{Flows: 4, Every: 3 * time.Second, Request: 100, Answer: 500}})
			for i := range u.Services { // busy: never idle for as long as the time-out
				if l := &u.Services[i].Load; l.Every > 0 && l.Every < time.Second {
					l.Every = min(l.Every, 150*time.Millisecond)
				}
			}
		},
		Fault: func(_ context.Context, l *Lab) error {
			l.Begin("net.netfilter.nf_conntrack_tcp_timeout_established is set to 1 s")
			return l.Node.Sysctl("net/netfilter/nf_conntrack_tcp_timeout_established", "1")
		},
		Expect: func(s *Seen) []Expectation {
			idle, others := 0, 0
			for _, f := range s.Hit() {
				if f.Service == idleService {
					idle++
				} else {
					others++
				}
			}
			return []Expectation{
				Expect("idle connections are lost, and no others", idle >= enough && others == 0, "%d idle and %d others", idle, others),
				s.expectMigration(), s.expectServerResets(), s.expectNoBurst(), s.expectUntriggered(),
				s.expectCause("nf_conntrack_tcp_timeout_established"),
				s.expectEvent("sysctl.change", "the time-out being changed", 30*time.Second),
			}
		},
	}
}

// idleService is used so rarely that its connections are idle most of the time.
const idleService = "archive"

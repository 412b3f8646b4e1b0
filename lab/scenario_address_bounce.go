package lab

import (
	"context"
	"time"

	"github.com/ringside/ringside/hoststate"
)

func addressBounce() Scenario {
	return Scenario{
		Name:  "address-bounce",
		Class: "conntrack-loss",
		Title: "an uplink loses its address for a moment, as when its DHCP client is restarted",
		What: "The kernel destroys every masqueraded entry of the address within a millisecond: a burst that no netlink socket did. Meanwhile there is no route, " +
			"and pods get ICMP unreachable. Afterwards it is as after a flush: other ports, RST of the servers and of the node. Translation to a fixed " +
			"address (SNAT) has no such notifier, and its connections only wait.",
		Variants: []Variant{
			{Name: "masquerade", What: "translated to whatever address the uplink has: the state is lost with the address"},
			{Name: "snat", Class: "none", What: "translated to a fixed address: the state is kept, and the connections go on"},
		},
		Setup: func(u *Setup) {
			if u.Variant == "snat" {
				u.NAT, u.Timeout, u.Rules = SNATRandom, 5*time.Second, ownRules
				return
			}
			u.NAT = MasqueradeRandom
			u.notices("conntrack.burst")
		},
		Fault: func(ctx context.Context, l *Lab) error {
			u := l.Uplinks[0]
			l.Begin("%s is removed from %s, and comes back after 300 ms", u.Addr, u.Link)
			if err := l.UnconfigureUplink(0); err != nil {
				return err
			}
			if err := l.Wait(ctx, 300*time.Millisecond); err != nil {
				return err
			}
			return l.ConfigureUplink(0)
		},
		Expect: func(s *Seen) []Expectation {
			e := []Expectation{newConnectionsWork(s), s.expectEvent("address.remove", "the address being removed", time.Second, s.uplinkAddress),
				s.expectEvent("address.add", "the address coming back", promptly, s.uplinkAddress)}
			if s.Variant == "snat" {
				return append(e, s.expectNoBurst(), s.expectNoMigration(), s.expectSurvival(), s.expectUntriggered())
			}
			return append(e, s.expectKernelBurst(), s.expectOwnTrigger("conntrack.burst"), s.expectCause(self()), s.expectMigration(), s.expectServerResets(),
				s.expectNodeResets())
		},
	}
}

// uplinkAddress says whether an event is about the first uplink.
func (s *Seen) uplinkAddress(e *hoststate.Event) bool { return e.Subject == s.World.Uplinks[0].Link }

// expectKernelBurst: cause and effect stand beside each other on one clock.
func (s *Seen) expectKernelBurst() Expectation {
	const apart = 50 * time.Millisecond
	removed := s.Timeline("address.remove", s.uplinkAddress)
	bursts := s.Timeline("conntrack.burst")
	held := len(removed) > 0 && len(bursts) > 0 && bursts[0].Subject == "kernel" && bursts[0].By != nil && bursts[0].By.PortID == 0 &&
		bursts[0].Time.Sub(removed[0].Time).Abs() < apart
	return Expect("the timeline has a burst of destroyed entries within 50 ms of the address's removal, done by the kernel", held,
		"%s", s.describe(append(removed, bursts...)))
}

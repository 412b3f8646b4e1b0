package lab

import (
	"context"
	"time"
)

func networkdRestart() Scenario {
	return Scenario{
		Name:  "networkd-restart",
		Class: "conntrack-loss",
		Title: "systemd-networkd is restarted, as an update of it does, on a node whose uplink has its address by DHCP",
		What: "networkd gives up the address when it stops and asks for it again when it starts. The kernel destroys every masqueraded entry of the address in " +
			"one burst, and from then on it is as with address-bounce. With KeepConfiguration=dhcp-on-stop the address stays, and nothing happens.",
		Variants: []Variant{
			{Name: "plain", What: "as distributions ship it: the address goes and comes back"},
			{Name: "keep", Class: "none", What: "KeepConfiguration=dhcp-on-stop: the cure"},
		},
		Needs: func(string) error { _, err := findNetworkd(); return err },
		Setup: func(u *Setup) {
			u.IPv6, u.Uplinks, u.NAT = false, 1, MasqueradeRandom
			if u.Variant == "keep" {
				u.DHCP, u.Rules = "KeepConfiguration=dhcp-on-stop", ownRules
				return
			}
			u.DHCP = "KeepConfiguration=no"
			u.notices("conntrack.burst")
		},
		Fault: func(ctx context.Context, l *Lab) error {
			l.Begin("systemd-networkd is stopped and started again (%s)", l.Setup.DHCP)
			if err := l.Networkd.Stop(); err != nil {
				return err
			}
			if err := l.Networkd.Start(); err != nil {
				return err
			}
			return l.AwaitLease(ctx)
		},
		Expect: func(s *Seen) []Expectation {
			if s.Variant == "keep" {
				return []Expectation{s.expectNoBurst(), s.expectUntriggered(), s.expectNoMigration(), s.expectNoImpact()}
			}
			return []Expectation{newConnectionsWork(s), s.expectEvent("address.remove", "the address being given up", promptly, s.uplinkAddress),
				s.expectEvent("address.add", "the address coming back", 30*time.Second, s.uplinkAddress), s.expectKernelBurst(),
				s.expectOwnTrigger("conntrack.burst"), s.expectCause("systemd-networkd"), s.expectMigration(), s.expectServerResets(), s.expectNodeResets()}
		},
	}
}

package lab

import (
	"context"
	"net/netip"
	"slices"

	"github.com/ringside/ringside/lab/netfilter"
	"github.com/ringside/ringside/lab/wire"
)

func rejectNew() Scenario {
	return Scenario{
		Name:  "reject-new",
		Class: "connect-rejected",
		Title: "a firewall outside rejects new connections",
		What: "SYNs leave the node and are answered by an ICMP error from outside (administratively prohibited), or by RST. " +
			"Clients fail at once. Connections that are there go on.",
		Variants: []Variant{{Name: "icmp", What: "the answer is an ICMP error"}, {Name: "reset", What: "the answer is RST"}},
		Setup:    func(u *Setup) { u.service(Orders).Load.New = 3 },
		Fault: func(ctx context.Context, l *Lab) error {
			if l.Setup.Variant == "reset" {
				return l.forbid(ctx, netfilter.Reset, "resets")
			}
			limit := "net/ipv4/icmp_ratelimit"
			if l.Setup.IPv6 {
				limit = "net/ipv6/icmp/ratelimit"
			}
			if err := l.Router.Sysctl(limit, "0"); err != nil { // every SYN is answered
				return err
			}
			return l.forbid(ctx, netfilter.Prohibit, "prohibits")
		},
		Expect: expectRejectNew,
	}
}

func expectRejectNew(s *Seen) []Expectation {
	a := s.aftermath(Orders)
	type attempt struct { // two may draw the same port, but not the same sequence number
		client netip.AddrPort
		number uint32
	}
	icmp, reset := map[attempt]bool{}, map[attempt]bool{}
	for _, p := range s.AtUplinks() {
		switch {
		case p.Quoted != nil && slices.Contains(s.servers(Orders), p.Quoted.Dst):
			icmp[attempt{p.Quoted.Src, p.Quoted.Seq}] = true
		case s.fromServer(&p, Orders) && p.Is(wire.RST|wire.ACK) && p.Seq == 0 && s.AfterFault(&p):
			reset[attempt{p.Dst, p.Ack}] = true
		}
	}
	fail, answered, other := a.Unconnected.Unreachable, len(icmp), len(reset)
	if s.Variant == "reset" {
		fail, answered, other = a.Unconnected.Refused, len(reset), len(icmp)
	}
	return append(s.spared(),
		Expect("new connections fail", fail > 0 && fail == a.Unconnected.Total(), "unconnected %v", a.Unconnected),
		// A client may hear of an error only with its second SYN, and that one may be let through.
		Expect("each of them is answered from outside", fail > 0 && answered >= fail && other == 0,
			"%d by ICMP errors, %d by RST, %d failed", len(icmp), len(reset), fail),
		s.established(Orders), a.recovers(), s.unharmed(Orders))
}

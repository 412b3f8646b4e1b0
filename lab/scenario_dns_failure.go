package lab

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/lab/traffic"
	"github.com/ringside/ringside/lab/wire"
)

func dnsFailure() Scenario {
	return Scenario{
		Name:  "dns-failure",
		Class: "dns-failure",
		Title: "names are not resolved",
		What: "Questions to port 53 have no answer, or are refused, or ICMP says that the port is unreachable. No SYN of a new " +
			"connection follows. Connections that are there go on.",
		Variants: []Variant{
			{Name: "silent", What: "the name server does not answer"},
			{Name: "refused", What: "the name server refuses to answer"},
			{Name: "unreachable", What: "there is no name server any more"},
		},
		Setup: func(u *Setup) {
			orders := u.service(Orders)
			orders.Resolve, orders.Load.New = true, 3
		},
		Fault: func(ctx context.Context, l *Lab) error {
			l.Begin("the name server is %s", l.Setup.Variant)
			switch l.Setup.Variant {
			case "silent":
				l.Names.Set(traffic.Silent)
			case "refused":
				l.Names.Set(traffic.Refusing)
			default:
				l.Names.Stop()
			}
			if err := l.until(ctx, 5*time.Second, func() bool { return l.since(Orders).Unconnected.NoName > 0 }); err != nil {
				return err
			}
			l.Names.Set(traffic.Answering)
			if l.Setup.Variant == "unreachable" {
				if err := l.Names.Start(); err != nil {
					return err
				}
			}
			l.End()
			return nil
		},
		Expect: expectDNSFailure,
	}
}

func expectDNSFailure(s *Seen) []Expectation {
	a := s.aftermath(Orders)
	const port = 53
	meanwhile := func(p *wire.Packet) bool {
		// A question that was asked before the fault may be answered, and followed by a SYN, a little later.
		return p.Time.After(s.Fault.At.Add(underWay)) && p.Time.Before(s.Fault.Until)
	}
	questions := s.AtUplinks().Count(func(p *wire.Packet) bool {
		return meanwhile(p) && p.Protocol == unix.IPPROTO_UDP && p.Dst.Port() == port
	})
	answers := s.AtUplinks().Count(func(p *wire.Packet) bool {
		return meanwhile(p) && p.Protocol == unix.IPPROTO_UDP && p.Src.Port() == port
	})
	icmp := s.AtUplinks().Count(func(p *wire.Packet) bool { return meanwhile(p) && p.Quoted != nil && p.Quoted.Dst.Port() == port })
	syns := s.AtUplinks().Count(func(p *wire.Packet) bool {
		return meanwhile(p) && p.Is(wire.SYN) && slices.Contains(s.servers(Orders), p.Dst)
	})
	as := map[string]bool{
		"silent":      answers == 0 && icmp == 0,
		"refused":     answers > 0 && icmp == 0,
		"unreachable": answers == 0 && icmp > 0,
	}
	return append(s.spared(),
		Expect("new connections fail for want of an address", a.Unconnected.NoName > 0 && a.Unconnected.NoName == a.Unconnected.Total(),
			"unconnected %v", a.Unconnected),
		Expect("the questions on the uplink fare as the name server does", questions > 0 && as[s.Variant],
			"%d questions, %d answers, %d ICMP errors", questions, answers, icmp),
		Expect("no connection is begun meanwhile", syns == 0, "%d SYNs", syns),
		s.established(Orders), a.recovers(), s.unharmed(Orders))
}

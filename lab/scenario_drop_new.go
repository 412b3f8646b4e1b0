package lab

import (
	"context"
	"time"

	"github.com/ringside/ringside/lab/netfilter"
	"github.com/ringside/ringside/lab/wire"
)

func dropNew() Scenario {
	return Scenario{
		Name:  "drop-new",
		Class: "connect-dropped",
		Title: "a security group drops new connections",
		What: "SYNs leave the node and are never answered; they are sent again, on the SYN ladder (1, 2, 3 s). Connections that " +
			"are there go on.",
		Setup: func(u *Setup) { u.service(Orders).Load.New = 3 },
		Fault: func(ctx context.Context, l *Lab) error {
			return l.forbid(ctx, netfilter.Drop, "drops")
		},
		Expect: expectDropNew,
	}
}

// forbid has the router treat new connections to Orders so for a while.
func (l *Lab) forbid(ctx context.Context, verdict netfilter.Verdict, does string) error {
	rule := netfilter.Match{Destination: single(l.Servers[DB].Addr), Protocol: 6, Port: l.Setup.service(Orders).Port, Opening: true, Do: verdict}
	l.Begin("the router %s new connections to %s", does, Orders)
	if err := l.RouterRules(func(r *netfilter.Rules) { r.Forward = append(r.Forward, rule) }); err != nil {
		return err
	}
	if err := l.until(ctx, 5*time.Second, func() bool { return l.since(Orders).Unconnected.Total() > 0 }); err != nil {
		return err
	}
	err := l.RouterRules(func(r *netfilter.Rules) { r.Forward = r.Forward[:len(r.Forward)-1] })
	l.End()
	return err
}

func expectDropNew(s *Seen) []Expectation {
	a := s.aftermath(Orders)
	again, unanswered := s.synsAgain(Orders)
	icmp := s.AtUplinks().Count(func(p *wire.Packet) bool { return p.Quoted != nil })
	return append(s.spared(),
		Expect("new connections time out, and nothing else happens to them",
			a.Unconnected.TimedOut > 0 && a.Unconnected.TimedOut == a.Unconnected.Total(), "unconnected %v", a.Unconnected),
		Expect("SYNs are sent again and not answered", unanswered >= a.Unconnected.TimedOut && icmp == 0,
			"%d connections sent theirs again, %d of them in vain; %d ICMP errors", again, unanswered, icmp),
		s.established(Orders), a.recovers(), s.unharmed(Orders))
}

// established states that the connections of a service that were there go on.
func (s *Seen) established(service string) Expectation {
	a := s.aftermath(service)
	return Expect("connections that are there go on, and as fast as ever",
		len(a.There) > 0 && len(a.Hit) == 0 && a.Broken.Total() == 0 && a.Median < 300*time.Millisecond,
		"%d of %d ended, broken %v; half of the answers took up to %v", len(a.Hit), len(a.There), a.Broken, a.Median)
}

package lab

import (
	"context"
	"time"

	"github.com/ringside/ringside/lab/wire"
)

func pathOutage() Scenario {
	return Scenario{
		Name:  "path-outage",
		Class: "path-outage",
		Title: "the network is interrupted",
		What: "Nothing comes from the far side. Clients send again, on the RTO ladder; when the path is back all connections go on " +
			"where they were, on the ports they always had, and what was waited for comes at last.",
		Setup: func(u *Setup) { u.Timeout = 12 * time.Second },
		Fault: func(ctx context.Context, l *Lab) error {
			p := l.Servers[DB].Path
			usual := p.Conditions()
			out := usual
			out.Loss = 1
			l.Begin("the path to %s and %s is interrupted", Orders, Events)
			p.Set(out)
			err := l.Wait(ctx, between(l.Setup.Rand, 1500*time.Millisecond, 2500*time.Millisecond))
			l.End()
			p.Set(usual)
			return err
		},
		Expect: expectPathOutage,
	}
}

func expectPathOutage(s *Seen) []Expectation {
	a := s.aftermath(Orders, Events)
	silent := s.AtUplinks().Count(func(p *wire.Packet) bool {
		return s.fromServer(p, Orders, Events) && p.Time.After(s.Fault.At.Add(underWay)) && p.Time.Before(s.Fault.Until)
	})
	asking := s.aftermath(Orders)
	again := tally(s.outside(asking.There), func(v *wire.Conversation) bool { return v.FromClient.Again > 0 })
	on := tally(s.outside(a.There), func(v *wire.Conversation) bool { return v.FromServer.Last.After(s.Fault.Until) })
	lasted := s.Fault.Until.Sub(s.Fault.At).Round(time.Millisecond)
	return append(s.spared(),
		Expect("nothing comes from the far side meanwhile", silent == 0, "%d packets", silent),
		Expect("clients that ask send again", again > 0, "%d of %d connections", again, len(asking.There)),
		Expect("all connections go on afterwards", on == len(a.There) && on > 0 && a.Broken.Total()+a.Unconnected.Total() == 0,
			"%d of %d, broken %v, unconnected %v", on, len(a.There), a.Broken, a.Unconnected),
		Expect("answers take as long as the interruption", a.Longest > lasted/2, "the longest took %v of %v", a.Longest, lasted),
		a.recovers(), s.unharmed(Orders, Events))
}

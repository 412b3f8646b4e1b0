package lab

import (
	"context"
	"time"

	"github.com/ringside/ringside/lab/wire"
)

func idleTimeout() Scenario {
	return Scenario{
		Name:  "idle-timeout",
		Class: "server-idle-timeout",
		Title: "a server closes idle connections that clients want to use again",
		What: "A connection on which nothing was asked for a while ends with the server's FIN. The client's next request, on " +
			"the port it always had, is answered with RST; the client sees the end of the connection and makes another.",
		Setup: func(u *Setup) { u.service(Orders).Load.Every = 2 * time.Second },
		Fault: func(ctx context.Context, l *Lab) error {
			usual := l.Setup.behaviour(Orders)
			strict := usual
			strict.Idle = 600 * time.Millisecond
			l.Begin("%s closes connections that are idle for %v", Orders, strict.Idle)
			if err := l.Served[Orders].Set(strict); err != nil {
				return err
			}
			if err := l.until(ctx, 4*time.Second, func() bool { return l.since(Orders).Broken.EOF > 0 }); err != nil {
				return err
			}
			err := l.Served[Orders].Set(usual)
			l.End()
			return err
		},
		Expect: expectIdleTimeout,
	}
}

func expectIdleTimeout(s *Seen) []Expectation {
	a := s.aftermath(Orders)
	closed := tally(s.outside(a.Hit), func(v *wire.Conversation) bool {
		fin, rst := v.FromServer.FIN, v.FromServer.RST
		return fin.After(s.Fault.At) && v.FromClient.FIN.IsZero() != v.FromClient.FIN.After(fin) && rst.After(fin)
	})
	return append(s.spared(),
		Expect("connections end when they are used again", len(a.Hit) > 0 && a.Broken.EOF == a.Broken.Total(),
			"%d of %d, broken %v", len(a.Hit), len(a.There), a.Broken),
		Expect("the uplink sees for each: the server's FIN, and its RST when more is asked", closed == len(a.Hit),
			"%d of %d", closed, len(a.Hit)),
		Expect("new connections are made at once", a.Unconnected.Total() == 0, "unconnected %v", a.Unconnected),
		a.recovers(), s.unharmed(Orders))
}

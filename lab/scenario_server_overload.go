package lab

import (
	"context"
	"time"
)

func serverOverload() Scenario {
	return Scenario{
		Name:  "server-overload",
		Class: "server-overload",
		Title: "a server has more work than it can do",
		What: "Answers are late because requests queue, and new connections are not accepted: the queue of the port is full, " +
			"SYNs are sent again on the SYN ladder (1, 2, 3 s). Connections that are there live.",
		Setup: func(u *Setup) {
			o := u.service(Orders)
			o.Load.New, o.Load.Flows = 3, 6
			u.Timeout = 5 * time.Second
		},
		Fault: func(ctx context.Context, l *Lab) error {
			usual := l.Setup.behaviour(Orders)
			busy := usual
			peers := len(l.Served[Orders].Peers())
			busy.Workers, busy.Conns, busy.Backlog = 1, peers, 1
			busy.Latency = time.Second / time.Duration(peers) // a full queue takes much less than the time-out
			l.Begin("%s works on one request at a time, and accepts no more connections", Orders)
			if err := l.Served[Orders].Set(busy); err != nil {
				return err
			}
			felt := func() bool {
				seen := l.since(Orders)
				return seen.Max >= 500*time.Millisecond && (seen.ConnectMax >= time.Second || seen.Unconnected.TimedOut > 0)
			}
			if err := l.until(ctx, 5*time.Second, felt); err != nil {
				return err
			}
			err := l.Served[Orders].Set(usual)
			l.End()
			return err
		},
		Expect: expectServerOverload,
	}
}

func expectServerOverload(s *Seen) []Expectation {
	a := s.aftermath(Orders)
	again, unanswered := s.synsAgain(Orders)
	return append(s.spared(),
		Expect("answers are late", a.Longest >= 500*time.Millisecond, "the longest took %v", a.Longest),
		Expect("connections that are there live", len(a.Hit) == 0 && len(a.There) > 0, "%d of %d ended", len(a.Hit), len(a.There)),
		s.acknowledged(Orders),
		Expect("SYNs are sent again", again > 0, "%d connections, %d of them never answered", again, unanswered),
		Expect("new connections take a second or fail", a.Connect >= time.Second || a.Unconnected.TimedOut > 0,
			"the longest handshake took %v, unconnected %v", a.Connect, a.Unconnected),
		a.recovers(), s.unharmed(Orders))
}

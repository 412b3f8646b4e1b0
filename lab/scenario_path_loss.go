package lab

import (
	"context"
	"time"
)

func pathLoss() Scenario {
	return Scenario{
		Name:  "path-loss",
		Class: "path-loss",
		Title: "the network loses packets",
		What: "Segments are sent again in both directions, on every connection to the far side, and answers take the RTO ladder " +
			"(0.2, 0.4, 0.8 s). Nothing is lost inside the node.",
		Setup: func(u *Setup) {
			for i := range u.Services { // busy enough that a loss of 2 % shows within seconds
				if l := &u.Services[i].Load; u.Services[i].Server == DB {
					l.Flows, l.Every, l.Answer = max(l.Flows, 4), 60*time.Millisecond, 6000
				}
			}
			u.Timeout = 8 * time.Second // nothing but the network decides how long an answer takes
		},
		Fault: func(ctx context.Context, l *Lab) error {
			p := l.Servers[DB].Path
			usual := p.Conditions()
			lossy := usual
			lossy.Loss = 0.02 + 0.13*l.Setup.Rand.Float64()
			l.Begin("the path to %s and %s loses %.0f %%, each way", Orders, Events, 100*lossy.Loss)
			p.Set(lossy)
			err := l.Wait(ctx, 5*time.Second)
			p.Set(usual)
			l.End()
			return err
		},
		Expect: expectPathLoss,
	}
}

func expectPathLoss(s *Seen) []Expectation {
	a := s.aftermath(Orders, Events)
	client, server, gaps, connections := 0, 0, 0, 0
	for _, v := range s.conversations(Orders, Events) {
		client += v.FromClient.Again
		server += v.FromServer.Again
		gaps += v.FromServer.Gaps
		if v.FromClient.Again+v.FromServer.Again > 0 {
			connections++
		}
	}
	return append(s.spared(),
		Expect("segments are sent again", client+server >= 3 && connections >= 3, "%d by clients, %d by servers, on %d connections", client, server, connections),
		Expect("segments from the far side are missing", gaps >= 3, "%d gaps", gaps),
		Expect("answers take a retransmission's time", a.Longest >= 200*time.Millisecond, "the longest took %v", a.Longest),
		Expect("nothing is reset", a.Broken.Total() == a.Broken.TimedOut && a.Unconnected.Total() == a.Unconnected.TimedOut,
			"broken %v, unconnected %v", a.Broken, a.Unconnected),
		a.recovers(), s.unharmed(Orders, Events))
}

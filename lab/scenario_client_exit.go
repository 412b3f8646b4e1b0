package lab

import (
	"context"
	"time"

	"github.com/ringside/ringside/lab/wire"
)

func clientExit() Scenario {
	return Scenario{
		Name:  "client-exit",
		Class: "client-exit",
		Title: "a client's process hangs and dies",
		What: "All connections of one pod end at once with the pod's own RST (where it had not read everything) or FIN: the uplink " +
			"sees the pod's packets pass, with the TTL of what is forwarded and on the ports they always had. Other pods " +
			"go on.",
		Fault: func(ctx context.Context, l *Lab) error {
			l.Begin("the clients in pod 0 hang, and die")
			for _, p := range l.inPod(0) {
				p.Freeze()
			}
			err := l.Wait(ctx, between(l.Setup.Rand, 500*time.Millisecond, time.Second)) // servers' messages arrive unread
			for _, p := range l.inPod(0) {
				p.Exit()
			}
			l.End()
			return err
		},
		Expect: expectClientExit,
	}
}

// inPod is the clients in a pod.
func (l *Lab) inPod(n int) (pools []*Pool) {
	for _, p := range l.Pools {
		if p.Pod == n {
			pools = append(pools, p)
		}
	}
	return pools
}

// byPod sums up what the clients in a pod saw.
func (s *Seen) byPod(n int) aftermath {
	only := *s
	only.Outcomes = nil
	var names []string
	for _, o := range s.Outcomes {
		if o.Pod == n {
			only.Outcomes = append(only.Outcomes, o)
			names = append(names, o.Service)
		}
	}
	return only.aftermath(names...)
}

func expectClientExit(s *Seen) []Expectation {
	gone, other := s.byPod(0), s.byPod(1)
	seen := s.outside(gone.There)
	ended := tally(seen, func(v *wire.Conversation) bool {
		return v.FromClient.RST.After(s.Fault.At) || v.FromClient.FIN.After(s.Fault.At)
	})
	reset := tally(seen, func(v *wire.Conversation) bool { return v.FromClient.RST.After(s.Fault.At) })
	first := tally(seen, func(v *wire.Conversation) bool {
		return v.FromServer.RST.After(s.Fault.At) && v.FromServer.RST.Before(s.Fault.Until.Add(-s.RTT))
	})
	return append(s.spared(),
		Expect("each connection of the pod ends by the pod's own RST or FIN", ended == len(gone.There) && ended > 0,
			"%d of %d on the uplink, %d of them by RST", ended, len(gone.There), reset),
		Expect("where something was not read it is RST", reset > 0, "%d", reset),
		Expect("no server ends a connection first", first == 0, "%d", first),
		Expect("the other pod's clients go on", len(other.Hit) == 0 && other.Broken.Total()+other.Unconnected.Total() == 0 && other.Answers > 0,
			"%d of %d ended, %d answers, broken %v, unconnected %v", len(other.Hit), len(other.There), other.Answers, other.Broken, other.Unconnected))
}

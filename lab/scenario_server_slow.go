package lab

import (
	"context"
	"time"

	"github.com/ringside/ringside/lab/wire"
)

func serverSlow() Scenario {
	return Scenario{
		Name:  "server-slow",
		Class: "server-slow",
		Title: "a server answers late",
		What: "Requests are acknowledged at once and answered late; handshakes are as fast as ever. Nothing is sent again, " +
			"nothing is reset: only the answers take their time.",
		Fault: func(ctx context.Context, l *Lab) error {
			usual := l.Setup.behaviour(Orders)
			slow := usual
			slow.Latency = between(l.Setup.Rand, time.Second, 2*time.Second)
			l.Begin("%s takes %v for each answer", Orders, slow.Latency.Round(time.Millisecond))
			if err := l.Served[Orders].Set(slow); err != nil {
				return err
			}
			late := func() bool { return l.since(Orders).Max >= slow.Latency }
			if err := l.until(ctx, 5*time.Second, late); err != nil {
				return err
			}
			err := l.Served[Orders].Set(usual)
			l.End()
			return err
		},
		Expect: expectServerSlow,
	}
}

func expectServerSlow(s *Seen) []Expectation {
	a := s.aftermath(Orders)
	resets := 0
	for _, v := range s.conversations(Orders) {
		if !v.FromServer.RST.IsZero() {
			resets++
		}
	}
	return append(s.spared(),
		Expect("answers come, and late", a.Longest >= time.Second && a.Broken.Total()+a.Unconnected.Total() == 0,
			"the longest took %v, broken %v, unconnected %v", a.Longest, a.Broken, a.Unconnected),
		s.acknowledged(Orders),
		Expect("connections are made as fast as ever, and none is reset", a.Connect < time.Second && resets == 0,
			"the longest handshake took %v, %d resets", a.Connect, resets),
		a.recovers(), s.unharmed(Orders))
}

// acknowledged states that requests were acknowledged at once, and so not sent again. A busy machine may delay an
// acknowledgement now and then.
func (s *Seen) acknowledged(service string) Expectation {
	data, again := 0, 0
	for _, v := range s.conversations(service) {
		data += v.FromClient.Data
		again += v.FromClient.Again
		if v.FromClient.SYNs > 1 { // those are counted, too
			again -= v.FromClient.SYNs - 1
		}
	}
	return Expect("requests are acknowledged at once", data > 0 && again*50 <= data, "%d of %d sent again", again, data)
}

// synsAgain is connections on the uplink whose SYN was sent more than once, and those of them that never had an answer.
func (s *Seen) synsAgain(service string) (again, unanswered int) {
	for _, v := range s.conversations(service) {
		if v.FromClient.SYNs > 1 {
			again++
			if v.FromServer == (wire.Direction{}) {
				unanswered++
			}
		}
	}
	return again, unanswered
}

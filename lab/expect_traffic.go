package lab

import (
	"github.com/ringside/ringside/lab/traffic"
)

// newConnectionsWork holds where the fault leaves nothing behind for connections that begin later.
func newConnectionsWork(s *Seen) Expectation {
	made, failed := 0, 0
	for _, o := range s.Outcomes {
		for _, f := range o.Flows {
			switch {
			case !f.Opened.After(s.Fault.Until) || f.End == traffic.Open && f.Connect < 0:
			case f.Connect >= 0:
				made++
			case f.End != traffic.Closed:
				failed++
			}
		}
	}
	return Expect("connections that begin later work", made > 0 && failed == 0, "%d made, %d not", made, failed)
}

// hitOf counts the pooled connections whose server, or whose client, speaks first: those that were lost, and all.
func (s *Seen) hitOf(push bool) (hit, live int) {
	speaks := map[string]bool{}
	for _, v := range s.Services {
		speaks[v.Name] = v.Load.Push == push
	}
	for _, f := range s.Live() {
		if f.Pooled && speaks[f.Service] {
			live++
			if f.Hit(s.Fault.At) {
				hit++
			}
		}
	}
	return hit, live
}

// expectMuteClients: where nothing of the loss reaches the client, it waits for its own time-out.
func (s *Seen) expectMuteClients() Expectation {
	n := 0
	for _, f := range s.Hit() {
		if f.End == traffic.TimedOut {
			n++
		}
	}
	return Expect("clients that hear nothing give up after their time-out", n >= 1, "%d connections", n)
}

// expectSpared: connections whose client speaks first survive, the others do not.
func (s *Seen) expectSpared() Expectation {
	asked, ofAsked := s.hitOf(false)
	pushed, ofPushed := s.hitOf(true)
	return Expect("connections whose client speaks first survive, those whose server does are lost", 2*asked < ofAsked && pushed > 0,
		"%d of %d and %d of %d lost", asked, ofAsked, pushed, ofPushed)
}

func (s *Seen) expectNoImpact() Expectation {
	broken, unconnected := s.Failed()
	return Expect("no client notices anything", broken.Total()+unconnected.Total() == 0, "%d connections broken, %d not made", broken.Total(), unconnected.Total())
}

// expectSurvival: every connection that was there when the fault began goes on.
func (s *Seen) expectSurvival() Expectation {
	return Expect("every open connection survives", len(s.Hit()) == 0, "%d of %d lost", len(s.Hit()), len(s.Live()))
}

// expectAnswersAgain: connections of clients that speak first survive and are answered when the fault is over.
func (s *Seen) expectAnswersAgain() Expectation {
	hit, live := s.hitOf(false)
	answers := 0
	for _, o := range s.Outcomes {
		answers += o.After.Answers
	}
	return Expect("connections go on when the fault is over", 4*hit < 3*live && answers > 0, "%d of %d lost, %d answers afterwards", hit, live, answers)
}

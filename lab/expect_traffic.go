package lab

import (
	"time"

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

// pooled are the pooled connections that were there when the fault came, and whose server, or whose client, speaks first.
func (s *Seen) pooled(push bool) (list []traffic.Flow) {
	speaks := map[string]bool{}
	for _, v := range s.Services {
		speaks[v.Name] = v.Load.Push == push
	}
	for _, f := range s.Live() {
		if f.Pooled && speaks[f.Service] {
			list = append(list, f)
		}
	}
	return list
}

// hitOf counts them: those that were lost, and all.
func (s *Seen) hitOf(push bool) (hit, live int) {
	for _, f := range s.pooled(push) {
		live++
		if f.Hit(s.Fault.At) {
			hit++
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

// expectAnswersAgain: connections of clients that speak first go on, and are answered when the fault is over. Only those may be
// lost of which something was on its way when the fault came: an answer, or the delayed acknowledgement of one.
func (s *Seen) expectAnswersAgain() Expectation {
	const onItsWay = 100 * time.Millisecond
	hit, later, live, answers := 0, 0, 0, 0
	for _, f := range s.pooled(false) {
		live++
		if f.Hit(s.Fault.At) {
			hit++
			if f.Ended.Add(-f.Waited).After(s.Fault.At.Add(onItsWay)) {
				later++
			}
		}
	}
	for _, o := range s.Outcomes {
		answers += o.After.Answers
	}
	return Expect("connections go on when the fault is over", later == 0 && hit < live && answers > 0,
		"%d of %d lost, %d of them asked while it lasted; %d answers afterwards", hit, live, later, answers)
}

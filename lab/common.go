package lab

import (
	"fmt"
	"time"
)

// common is what holds for every scenario: the traffic was sound before, and all of it was recorded.
func common(s *Seen) []Expectation {
	broken, unconnected, answers := 0, 0, 0
	for _, o := range s.Outcomes {
		broken += o.Before.Broken.Total()
		unconnected += o.Before.Unconnected.Total()
		answers += o.Before.Answers
	}
	return []Expectation{
		Expect("before the fault every request is answered", broken+unconnected == 0 && answers > 0,
			"%d answers, %d connections broken, %d not made", answers, broken, unconnected),
		s.expectCoverage(),
		Expect("packets are recorded at the uplinks and at the pods", len(s.AtUplinks()) > 0 && len(s.AtPods()) > 0,
			"%d and %d packets", len(s.AtUplinks()), len(s.AtPods())),
	}
}

// expectCoverage: what came in the last second may not be on the disk yet when the window ends.
func (s *Seen) expectCoverage() Expectation {
	c := s.Manifest.Window.Coverage
	must := s.Fault.Until.Add(s.After - time.Second)
	saw, held := "complete", c.From.Before(s.Fault.At) && !c.To.Before(must)
	for _, m := range c.Missing {
		saw = fmt.Sprintf("%s lacks %v from %+.3f s on: %s", m.Ring, m.To.Sub(m.From), m.From.Sub(s.Fault.At).Seconds(), m.Reason)
		if m.From.Before(must) {
			held = false
			break
		}
	}
	return Expect("the bundle covers the fault and what follows, and lacks nothing", held, "%s", saw)
}

package lab

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ringside/ringside/detect"
)

// Live is how a fault of the node was found while it was recorded. Durations are as people write them.
type Live struct {
	Rule       string `json:"rule"`
	AfterFault string `json:"after_fault"` // until the trigger was accepted
	AfterFirst string `json:"after_first"` // the same, from the first packet that the report's findings rest on
	Soonest    string `json:"soonest"`     // the same, of whatever rule triggered first: events of conntrack may tell sooner

	afterFirst time.Duration
	soonest    time.Duration
}

// live is how the fault that is due was found, nil if it was not.
func (s *Seen) live() *Live {
	rule := findingRule(s.Class)
	if !s.Class.Node() {
		return nil
	}
	var soonest time.Time
	for _, t := range s.Manifest.Triggers {
		if t.Source != "rule" {
			continue
		}
		if soonest.IsZero() || t.Received.Before(soonest) {
			soonest = t.Received
		}
		if t.Reason != rule {
			continue
		}
		l := &Live{Rule: rule, AfterFault: t.Received.Sub(s.Fault.At).Round(time.Millisecond).String()}
		if first := s.firstSign(); !first.IsZero() {
			l.afterFirst, l.soonest = t.Received.Sub(first), soonest.Sub(first)
			l.AfterFirst, l.Soonest = l.afterFirst.Round(time.Millisecond).String(), l.soonest.Round(time.Millisecond).String()
		}
		return l
	}
	return nil
}

// firstSign is the time of the first packet that proves the fault that is due.
func (s *Seen) firstSign() (first time.Time) {
	if s.Report == nil {
		return first
	}
	for _, f := range s.Report.Findings {
		if f.Class == s.Class && (first.IsZero() || f.First.Before(first)) {
			first = f.First
		}
	}
	return first
}

// judged is what holds of every report, and of what the recorder found by itself.
func judged(s *Seen) (list []Expectation) {
	list = []Expectation{s.expectVerdict(), s.expectNoOtherFault()}
	if s.Class.Node() {
		list = append(list, s.expectLive())
	}
	return list
}

func (s *Seen) expectVerdict() Expectation {
	what := "the bundle's report says " + string(s.Class)
	if s.Report == nil {
		return Expect(what, false, "no report: %s", s.Manifest.ReportError)
	}
	v := s.Report.Verdict
	return Expect(what, v.Class == s.Class, "%s (%.2f): %s", v.Class, v.Confidence, v.Sentence)
}

// expectNoOtherFault: a false alarm costs more than a late one.
func (s *Seen) expectNoOtherFault() Expectation {
	what := "the recorder finds no fault of the node"
	if s.Class.Node() {
		what += " but " + string(s.Class)
	}
	list := s.falseTriggers()
	return Expect(what, len(list) == 0 && s.Report != nil && !s.blames(), "%d triggers: %s; the report's verdict: %s", len(list),
		strings.Join(list, "; "), s.verdictClass())
}

// falseTriggers are those on faults of the node that there are not.
func (s *Seen) falseTriggers() (list []string) {
	for _, t := range s.ownTriggers() {
		for _, c := range detect.Classes {
			if c.Node() && c != s.Class && strings.HasPrefix(t, "rule: "+findingRule(c)) {
				list = append(list, t)
			}
		}
	}
	return list
}

// blames says whether the verdict is a fault of the node that there is not.
func (s *Seen) blames() bool { c := s.verdictClass(); return c.Node() && c != s.Class }

func (s *Seen) verdictClass() detect.Class {
	if s.Report == nil {
		return ""
	}
	return s.Report.Verdict.Class
}

func (s *Seen) expectLive() Expectation {
	l := s.live()
	saw := "it did not"
	if l != nil {
		saw = l.AfterFault + " after the fault, " + l.AfterFirst + " after the first packet that shows it"
	}
	return Expect("the recorder triggers by itself, on "+findingRule(s.Class), l != nil, "%s", saw)
}

// expectCause: the verdict says who did it.
func (s *Seen) expectCause(who string) Expectation {
	cause := ""
	if s.Report != nil {
		cause = s.Report.Verdict.Cause
	}
	return Expect("the verdict names the cause: "+who, strings.Contains(cause, who), "%q", cause)
}

// self is this process, as causes name it: it brings most faults about.
func self() string { return fmt.Sprintf("(pid %d)", os.Getpid()) }

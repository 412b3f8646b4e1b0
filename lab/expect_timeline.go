package lab

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// promptly is how soon after the fault the recorder must have acted by itself.
const promptly = 5 * time.Second

// expectBurst: the timeline has the loss of conntrack state, by whom.
func (s *Seen) expectBurst(who string) Expectation {
	list := s.Timeline("conntrack.burst", func(e *hoststate.Event) bool { return e.Subject == who })
	held := len(list) > 0 && (list[0].By == nil || (list[0].By.PortID == 0) == (who == "kernel"))
	return Expect("the timeline has a burst of destroyed entries, done by "+who, held, "%s", s.describe(s.Timeline("conntrack.burst")))
}

func (s *Seen) expectNoBurst() Expectation {
	list := append(s.Timeline("conntrack.burst"), s.Timeline("conntrack.drop")...)
	return Expect("the timeline has no loss of conntrack state", len(list) == 0, "%s", s.describe(list))
}

// expectDrop: the table shows what no event tells.
func (s *Seen) expectDrop() Expectation {
	return Expect("the timeline has entries vanish from the table, although the kernel tells of none",
		len(s.Timeline("conntrack.drop")) > 0 && len(s.Timeline("conntrack.burst")) == 0,
		"%s", s.describe(append(s.Timeline("conntrack.drop"), s.Timeline("conntrack.burst")...)))
}

// ownTriggers is what the recorder triggered on by itself since the fault: of this incident, and of any other that the
// timeline knows of.
func (s *Seen) ownTriggers() (list []string) {
	for _, t := range s.Manifest.Triggers {
		if t.Source == "rule" {
			list = append(list, fmt.Sprintf("rule: %s at %+.3f s", t.Reason, t.At.Sub(s.Fault.At).Seconds()))
		}
	}
	for _, e := range s.Timeline("trigger.accepted") {
		if strings.HasPrefix(e.Text, "rule: ") && e.Incident != s.Manifest.Incident {
			list = append(list, e.Text+" in incident "+e.Incident)
		}
	}
	return list
}

// expectOwnTrigger: the recorder noticed by a rule, before anybody told it.
func (s *Seen) expectOwnTrigger(on string) Expectation {
	list := s.ownTriggers()
	ours := func(t string) bool { return strings.HasPrefix(t, "rule: "+on) }
	return Expect("the recorder triggers by itself, on "+on, slices.ContainsFunc(list, ours), "%d triggers by rule: %s", len(list), strings.Join(list, "; "))
}

// expectEvent: the timeline has an event of that kind within some time of the fault.
func (s *Seen) expectEvent(kind, what string, within time.Duration, match ...func(*hoststate.Event) bool) Expectation {
	list := s.Timeline(kind, match...)
	held := len(list) > 0 && list[0].Time.Sub(s.Fault.At) < within
	return Expect("the timeline has "+what, held, "%s", s.describe(list))
}

func (s *Seen) describe(list []hoststate.Event) string {
	if len(list) == 0 {
		return "none"
	}
	const shown = 3
	var parts []string
	for _, e := range list[:min(len(list), shown)] {
		parts = append(parts, fmt.Sprintf("%s %s at %+.1f ms: %s", e.Kind, e.Subject, float64(e.Time.Sub(s.Fault.At).Microseconds())/1000, e.Text))
	}
	if len(list) > shown {
		parts = append(parts, fmt.Sprintf("and %d more", len(list)-shown))
	}
	return strings.Join(parts, "; ")
}

// ownRules are those that a recorder triggers on unless it is told otherwise.
var ownRules = []string{"conntrack.burst", "conntrack.drop"}

// expectUntriggered: what is no loss of state has the recorder do nothing by itself, but for the fault that there is.
func (s *Seen) expectUntriggered() Expectation {
	ours := "rule: " + findingRule(s.Class)
	list := slices.DeleteFunc(s.ownTriggers(), func(t string) bool { return strings.HasPrefix(t, ours) })
	return Expect("the recorder does not trigger by itself", len(list) == 0, "%d triggers by rule: %s", len(list), strings.Join(list, "; "))
}

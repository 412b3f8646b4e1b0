package lab

import (
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/evidence"
)

// TestSummary counts a right verdict, a wrong one, one that blames the node, and a run without a report.
func TestSummary(t *testing.T) {
	said := func(due, verdict detect.Class, after time.Duration) *Result {
		r := &Result{Scenario: "x", Class: due, Seed: 7, Passed: due == verdict}
		if verdict != "" {
			r.Verdict = &evidence.Verdict{Class: verdict, Sentence: "it is so"}
		}
		if after > 0 {
			r.Live = &Live{AfterFirst: after.String(), afterFirst: after, soonest: after / 2}
		}
		return r
	}
	var s Summary
	for _, r := range []*Result{
		said(detect.ConntrackLoss, detect.ConntrackLoss, 1200*time.Millisecond), said(detect.ConntrackLoss, detect.ConntrackLoss, 2500*time.Millisecond),
		said(detect.ConntrackLoss, detect.None, 0), said(detect.PathLoss, detect.NATRulesLoss, 0), said(detect.None, "", 0),
	} {
		if r.Class == detect.PathLoss {
			r.False = []string{"rule: finding nat-rules-loss"}
		}
		s.Add(r)
	}
	if s.Runs != 5 || s.Passed != 2 || s.Right != 2 || s.False != 1 || len(s.Wrong) != 3 {
		t.Errorf("%+v", s)
	}
	if l := s.Live; l.Due != 3 || l.Found != 2 || l.Prompt != 1 || l.Any != 2 || l.Median != "2.5s" || l.Max != "2.5s" {
		t.Errorf("live: %+v", l)
	}
	var b strings.Builder
	if err := WriteSummary(&b, &s); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"conntrack-loss  conntrack-loss 2, none 1\n", "path-loss       nat-rules-loss 1\n", "none            no report 1\n",
		"2 of 5 right (40.0 %), 1 false faults of the node; false triggers on one in 1 runs\n", "2 of 3 faults of the node were triggered on while they were recorded, 1 within 2s",
		"wrong: x , seed 7: nat-rules-loss, is path-loss: it is so\n",
	} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("lacks %q:\n%s", line, &b)
		}
	}
}

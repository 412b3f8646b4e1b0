package lab

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/lab/traffic"
)

// nothing is what is seen of a scenario of which nothing was seen.
func nothing(s Scenario, v Variant) *Seen {
	u := draw(s, v, nil, 1)
	w := &World{setup: u, Servers: map[string]*Server{}}
	for i := range 2 {
		w.Pods = append(w.Pods, &Pod{Addr: u.addr(podNetwork, byte(11+i)), Veth: fmt.Sprint("eni", i)})
	}
	for i := range u.Uplinks {
		w.Uplinks = append(w.Uplinks, Uplink{Link: fmt.Sprint("eth", i), Addr: u.in(u.addr(byte(uplinkNetwork+i), 10))})
	}
	for i, name := range []string{DB, Cache} {
		w.Servers[name] = &Server{Addr: u.addr(byte(serverNetwork+i), 5)}
	}
	seen := &Seen{Setup: u, Bundle: &Bundle{}, World: w, Fault: Fault{At: now(), Until: now()}}
	for _, x := range u.Services {
		for _, pod := range x.Pods {
			seen.Outcomes = append(seen.Outcomes, Outcome{pod, traffic.Outcome{Service: x.Name}})
		}
	}
	return seen
}

// TestExpectationsFail: where nothing was seen, no scenario is content.
func TestExpectationsFail(t *testing.T) {
	for _, s := range Scenarios() {
		for _, v := range append(s.Variants, Variant{})[:max(1, len(s.Variants))] {
			seen := nothing(s, v)
			failed := 0
			for _, e := range s.Expect(seen) {
				if !e.Held {
					failed++
				}
				if e.What == "" || e.Saw == "" {
					t.Errorf("%s %s: %+v says too little", s.Name, v.Name, e)
				}
			}
			if failed == 0 && s.ClassOf(v) != "none" {
				t.Errorf("%s %s is content with nothing", s.Name, v.Name)
			}
			for _, e := range common(seen) {
				if e.Held {
					t.Errorf("%s %s: %q holds of nothing", s.Name, v.Name, e.What)
				}
			}
		}
	}
}

func TestReport(t *testing.T) {
	r := &Result{
		Scenario: "address-bounce", Variant: "masquerade", Class: "conntrack-loss", Title: "an uplink loses its address", Seed: 7,
		Parameters: Parameters{Family: 6, Uplinks: 1, NAT: "masquerade", RTT: "10ms", Flows: 12},
		Fault:      Fault{What: "10.0.0.1 is removed", At: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)},
		Traffic: Traffic{Flows: 12, Hit: 9, Services: []ServiceOutcome{
			{Pod: 0, Service: "orders-db", Before: traffic.Summary{P50: 1200 * time.Microsecond, Max: 3 * time.Millisecond},
				During: traffic.Summary{Broken: traffic.Failures{Reset: 1}}, After: traffic.Summary{Answers: 5, Max: 1234 * time.Millisecond}},
			{Pod: 1, Service: "orders-db", Before: traffic.Summary{P50: 1300 * time.Microsecond},
				After: traffic.Summary{Answers: 4, Unconnected: traffic.Failures{TimedOut: 2, Refused: 1}}},
		}},
		Recorded: Recorded{Packets: 99, Kinds: map[string]int{"route.remove": 3, "counters": 1}, Triggers: []string{"rule: conntrack.burst"}, Key: []KeyEvent{
			{After: "-1ms", Kind: "route.remove", Text: "one"}, {After: "1ms", Kind: "route.remove", Text: "two"},
			{After: "2ms", Kind: "route.remove", Text: "three"}, {After: "3ms", Kind: "conntrack.burst", Text: strings.Repeat("é", 200)}}},
		Expectations: []Expectation{{What: "this", Held: true, Saw: "it"}, {What: "that", Saw: "nothing"}}, Took: "9s", Attempts: 2, Stall: "3ms",
	}
	var b bytes.Buffer
	if err := WriteReport(&b, r, false); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{
		"address-bounce (masquerade): an uplink loses its address\n", "IPv6, NAT masquerade, 1 uplink,", "seed 7", "03:04:05.006  10.0.0.1 is removed",
		"9 of 12 open connections were lost", "1.3ms", "1.23s", "99 packets and 4 events", "triggered by rule: conntrack.burst",
		"-1ms  route.remove      one", "+1ms  route.remove      two", "and 1 more of these kinds", strings.Repeat("é", 97) + "...\n",
		"yes  this\n", "NO   that\n       seen: nothing\n", "1 of 2 hold; the verdict that is due: conntrack-loss. Took 9s.", "attempt 2",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "three") || strings.Contains(text, "\x1b") || strings.Count(text, "orders-db") != 1 {
		t.Errorf("the report has too much:\n%s", text)
	}
	b.Reset()
	if err := WriteReport(&b, r, true); err != nil || !strings.Contains(b.String(), "\x1b[31mNO \x1b[0m") {
		t.Errorf("on a terminal: %q, %v", b.String(), err)
	}
}

package evidence

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/detect"
)

// TestOverrides holds the table of precedence together: no class explains one that explains it, over whatever steps, and
// every class that it names is one.
func TestOverrides(t *testing.T) {
	var visit func(class detect.Class, path []detect.Class)
	visit = func(class detect.Class, path []detect.Class) {
		if slices.Contains(path, class) {
			t.Fatalf("a circle: %v, %s", path, class)
		}
		for _, o := range overrides {
			if o.class == class {
				for _, over := range o.over {
					visit(over, append(slices.Clone(path), class))
				}
			}
		}
	}
	for _, class := range detect.Classes {
		visit(class, nil)
		if alike[class] == nil && class != detect.RecorderBlind {
			t.Errorf("%s is like nothing else", class)
		}
		if class != detect.None && class != detect.RecorderBlind && culprits[class] == "" {
			t.Errorf("nothing says what would tell more of %s", class)
		}
	}
	for class, others := range alike {
		for _, other := range others {
			if !slices.Contains(detect.Classes, other) || other == class || absent[other] == "" {
				t.Errorf("%s is alike to %s", class, other)
			}
		}
	}
	for _, o := range overrides {
		for _, class := range append(o.over, o.class) {
			if !slices.Contains(detect.Classes, class) {
				t.Errorf("%s is no class", class)
			}
		}
	}
}

// TestPrecedence is what becomes of faults that hold at the same time.
func TestPrecedence(t *testing.T) {
	of := func(class detect.Class, sure float64, n int, service string, ms int) detect.Finding {
		f := finding(class, "of-"+string(class), sure, flows(n, service, detect.Reset))
		f.First, f.Last = after(ms), after(ms+1000)
		return f
	}
	for _, c := range []struct {
		name  string
		found []detect.Finding
		class detect.Class
		out   []detect.Class // ruled out as consequences, or else besides
	}{
		{"an address bounce stops traffic as well", []detect.Finding{of(detect.PathOutage, 0.95, 9, "orders-db", 0), of(detect.ConntrackLoss, 0.8, 4, "orders-db", 300)},
			detect.ConntrackLoss, []detect.Class{detect.PathOutage}},
		{"an outage an hour before", []detect.Finding{of(detect.PathOutage, 0.95, 9, "orders-db", -3600e3), of(detect.ConntrackLoss, 0.8, 4, "orders-db", 300)},
			detect.PathOutage, nil},
		{"a server that restarts refuses", []detect.Finding{of(detect.ConnectRejected, 0.95, 9, "orders-db", 100), of(detect.ServerRestart, 0.8, 4, "orders-db", 0)},
			detect.ServerRestart, []detect.Class{detect.ConnectRejected}},
		{"another server refuses", []detect.Finding{of(detect.ConnectRejected, 0.95, 9, "sessions-cache", 100), of(detect.ServerRestart, 0.8, 4, "orders-db", 0)},
			detect.ConnectRejected, nil},
		{"an outage loses segments", []detect.Finding{of(detect.PathLoss, 0.95, 9, "orders-db", 0), of(detect.PathOutage, 0.8, 4, "orders-db", 0)},
			detect.PathOutage, []detect.Class{detect.PathLoss}},
		{"a node fault that is not likely", []detect.Finding{of(detect.ConntrackLoss, 0.55, 9, "orders-db", 0), of(detect.ServerRestart, 0.55, 4, "orders-db", 0)},
			detect.ServerRestart, nil},
		{"much that is weak", []detect.Finding{of(detect.ConntrackLoss, 0.3, 9, "orders-db", 0), of(detect.ConntrackLoss, 0.4, 9, "orders-db", 0), of(detect.ConntrackLoss, 0.45, 9, "orders-db", 0)},
			detect.None, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Judge(capture(c.found...), Facts{})
			if r.Verdict.Class != c.class {
				t.Errorf("%s: %s", r.Verdict.Class, r.Verdict.Sentence)
			}
			for _, class := range c.out {
				if !slices.ContainsFunc(r.RuledOut, func(o RuledOut) bool { return o.Class == class }) {
					t.Errorf("%s is not ruled out: %+v", class, r.RuledOut)
				}
			}
		})
	}
}

// TestRuledOut is what a report says of the classes that people would ask about.
func TestRuledOut(t *testing.T) {
	moved := outside(flows(9, "orders-db", detect.Reset), true)
	for i := range moved {
		moved[i].Then = fmt.Sprintf("10.20.0.10:%d", 20000+i)
	}
	loss := []detect.Finding{finding(detect.ConntrackLoss, "port-migration", 0.95, moved), finding(detect.ConntrackLoss, "node-rst", 0.95, flows(4, "sessions-cache", detect.Hung))}
	restart := []detect.Finding{finding(detect.ServerRestart, "server-ended-all", 0.95, flows(1, "orders-db", detect.Reset))}
	podsOnly := func(r *detect.Result) { r.Vantages = r.Vantages[1:] }
	for _, c := range []struct {
		name   string
		found  []detect.Finding
		facts  Facts
		change func(*detect.Result)
		class  detect.Class
		why    string // "": it is not ruled out
	}{
		{"a restart is no loss", restart, timeline(), nil, detect.ConntrackLoss, "1 flow ended on the port that its server had known it by; no established entry was destroyed before its time"},
		{"a loss is no restart", loss, Facts{}, nil, detect.ServerRestart,
			"segments of 9 flows reached servers from ports that they had never seen; the node itself reset 4 flows"},
		{"a loss leaves the rules alone", loss, timeline(burst(conntrack, moved)...), nil, detect.NATRulesLoss,
			"no new connection left the node with the address of a pod where others had been translated; the rules stayed as they were"},
		{"expiry is told by the timeline alone", loss, Facts{}, nil, detect.ConntrackExpiry, ""},
		{"expiry, with a timeline", loss, timeline(burst(conntrack, moved)...), nil, detect.ConntrackExpiry,
			"no established entry is known to have expired before it was used again"},
		{"what only an uplink shows", restart, Facts{}, podsOnly, detect.NATRulesLoss, ""},
		{"what something speaks for", append(restart, finding(detect.ConntrackLoss, "port-migration", 0.4, flows(1, "orders-db", ""))), Facts{}, nil, detect.ConntrackLoss, ""},
		{"a gap, and nothing found", nil, Facts{}, func(r *detect.Result) { r.Blind = []detect.Blind{{From: night, To: after(1000), Packets: 3}} }, detect.PathOutage, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := capture(c.found...)
			if c.change != nil {
				c.change(&found)
			}
			why := ""
			for _, o := range Judge(found, c.facts).RuledOut {
				if o.Class == c.class {
					why = o.Why
				}
			}
			if why != c.why {
				t.Errorf("%q", why)
			}
		})
	}
}

// TestRestartsSeen doubts that servers of two machines restarted at once, where only pods were looked at.
func TestRestartsSeen(t *testing.T) {
	f := finding(detect.ServerRestart, "server-ended-all", 0.9, flows(4, "orders-db", detect.Reset), flows(4, "sessions-cache", detect.Reset))
	found := capture(f)
	if v := Judge(found, Facts{}).Verdict; v.Confidence != 0.9 {
		t.Errorf("with an uplink: %.2f", v.Confidence)
	}
	found.Vantages = found.Vantages[1:]
	if v := Judge(found, Facts{}).Verdict; v.Confidence != 0.54 || !strings.HasPrefix(v.Sentence, "it looks as if") || len(v.Need) < 2 {
		t.Errorf("without: %+v", v)
	}
}

// TestLargeBurst judges a table of 30,000 connections that was flushed, in a moment.
func TestLargeBurst(t *testing.T) {
	lost := flows(30000, "orders-db", detect.Reset)
	f := finding(detect.ConntrackLoss, "port-migration", 0.95, lost[:detect.MaxFlows])
	f.Count = len(lost)
	facts := timeline(append(burst(conntrack, lost), digest(30000))...)
	began := time.Now()
	v := Judge(capture(f), facts).Verdict
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	if want := "conntrack state of 30,000 flows to orders-db was lost at 02:14:07.318; conntrack (pid 29531) flushed it; 256 flows were reset; impact ended at "; !strings.HasPrefix(v.Sentence, want) {
		t.Error(v.Sentence)
	}
}

// TestImpact counts each flow once, whatever rules found it at whatever interfaces.
func TestImpact(t *testing.T) {
	inside := flows(5, "orders-db", detect.Hung)
	for i := range inside {
		inside[i].Last = after(4000)
	}
	uplink := outside(flows(5, "orders-db", detect.Reset), true)
	r := Judge(capture(finding(detect.ConntrackLoss, "port-migration", 0.9, uplink), finding(detect.ConntrackLoss, "node-reset", 0.9, inside[:3]),
		finding(detect.ConntrackLoss, "vanished", 0.9, inside)), Facts{})
	i := r.Verdict.Impact
	if i.Flows != 5 || i.Fates[detect.Hung] != 5 || len(i.Fates) != 1 {
		t.Errorf("5 flows hung, for so their client saw them: %+v", i)
	}
	if !i.From.Equal(after(30)) || !i.To.Equal(after(4000)) || i.Seconds != 3.97 {
		t.Errorf("%v to %v, %v s", i.From, i.To, i.Seconds)
	}

	unlinked := outside(flows(5, "orders-db", detect.Reset), false)
	found := []detect.Finding{finding(detect.ConntrackLoss, "port-migration", 0.9, unlinked), finding(detect.ConntrackLoss, "vanished", 0.9, inside)}
	if n := Judge(capture(found...), Facts{}).Verdict.Impact.Flows; n != 10 {
		t.Errorf("%d flows: nothing links those of two interfaces", n)
	}
	if n := Judge(capture(found...), timeline(burst(kernel, inside)...)).Verdict.Impact.Flows; n != 5 {
		t.Errorf("%d flows: their entries link them", n)
	}

	many := finding(detect.ConntrackLoss, "port-migration", 0.9, inside)
	many.Count = 1000
	if n := Judge(capture(many), Facts{}).Verdict.Impact.Flows; n != 1000 {
		t.Errorf("%d flows: a finding lists some of 1000", n)
	}
	last := finding(detect.ConntrackLoss, "mute", 0.9, inside)
	found2 := capture(last)
	found2.Last = after(4000 + int(time.Second/time.Millisecond)/2)
	if s := Judge(found2, Facts{}).Verdict.Sentence; s != "conntrack state of 5 flows to orders-db was gone by 02:14:07.348; 5 flows hung; "+
		"impact had not ended when the recording did, at 02:14:11.818" {
		t.Error(s)
	}
}

// TestBlind is when silence proves nothing.
func TestBlind(t *testing.T) {
	dark := detect.Blind{From: night, To: night.Add(25 * time.Second), Why: "dropped"}
	counted := dark
	counted.Packets = 3
	suspect := finding(detect.Suspect, "mute", 0.4, flows(3, "orders-db", detect.Hung))
	proven := finding(detect.ServerRestart, "known-reset", 0.9, flows(3, "orders-db", detect.Reset))
	for _, c := range []struct {
		name     string
		change   func(*detect.Result)
		class    detect.Class
		sentence string
	}{
		{"nothing recorded", func(r *detect.Result) { *r = detect.Result{} }, detect.RecorderBlind, "nothing can be said: the recording holds no packet"},
		{"a long gap", func(r *detect.Result) { r.Blind = []detect.Blind{dark, dark} }, detect.RecorderBlind,
			"what happened between 02:13:37.318 and 02:14:37.318 cannot be said: of 1 min, 25 s are not recorded in full"},
		{"three packets", func(r *detect.Result) { r.Blind = []detect.Blind{counted} }, detect.None,
			"no fault was seen in 12,345 packets of 2 services between 2026-11-22 02:13:37.318 and 2026-11-22 02:14:37.318; " +
				"3 packets in 1 stretch were not recorded, and of that nothing is known"},
		{"a gap where something is suspect", func(r *detect.Result) { r.Blind, r.Findings = []detect.Blind{counted}, []detect.Finding{suspect} }, detect.RecorderBlind,
			"what happened between 02:13:37.318 and 02:14:37.318 cannot be said: something is suspect, and not all packets around it were recorded: something was seen"},
		{"a gap, and a proof", func(r *detect.Result) { r.Blind, r.Findings = []detect.Blind{dark}, []detect.Finding{proven} }, detect.ServerRestart,
			"the server of orders-db ended 3 flows from 02:14:07.348 on, as one that restarts does; 3 flows were reset; impact ended at 02:14:07.450"},
		{"segments missing", func(r *detect.Result) { r.Stats.Unseen = 5000 }, detect.RecorderBlind,
			"what happened between 02:13:37.318 and 02:14:37.318 cannot be said: 5,000 segments that were acknowledged are not in the recording"},
		{"few segments missing", func(r *detect.Result) { r.Stats.Unseen, r.Stats.TCP = 90, 500 }, detect.None,
			"no fault was seen in 12,345 packets of 2 services between 2026-11-22 02:13:37.318 and 2026-11-22 02:14:37.318; " +
				"90 segments that were acknowledged are not in the recording, and of that nothing is known"},
		{"one segment missing", func(r *detect.Result) { r.Stats.Unseen, r.Stats.TCP = 1, 50 }, detect.None,
			"no fault was seen in 12,345 packets of 2 services between 2026-11-22 02:13:37.318 and 2026-11-22 02:14:37.318; " +
				"1 segment that was acknowledged is not in the recording, and of that nothing is known"},
		{"packets skipped", func(r *detect.Result) { r.Stats.Skipped = 5000 }, detect.RecorderBlind,
			"what happened between 02:13:37.318 and 02:14:37.318 cannot be said: 5,000 packets of the recording were not looked at"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := capture()
			c.change(&found)
			if v := Judge(found, Facts{}).Verdict; v.Class != c.class || v.Sentence != c.sentence {
				t.Errorf("%s:\n got %s\nwant %s", v.Class, v.Sentence, c.sentence)
			}
		})
	}
}

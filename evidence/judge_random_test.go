package evidence

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/rotate"
)

// TestRandom judges whatever findings and events there may be: the judge never panics, says the same of the same, and its
// sentence is one.
func TestRandom(t *testing.T) {
	classes := map[detect.Class]int{}
	for seed := range uint64(1200) {
		found, facts := random(rand.New(rand.NewPCG(seed, 1)))
		r := Judge(found, facts)
		classes[r.Verdict.Class]++
		if again := Judge(found, facts); !reflect.DeepEqual(r, again) {
			t.Fatalf("seed %d: another verdict of the same: %+v, %+v", seed, r.Verdict, again.Verdict)
		}
		sound(t, seed, r)
	}
	for _, class := range detect.Classes {
		if classes[class] == 0 {
			t.Errorf("%s never came", class)
		}
	}
	t.Log(classes)
}

// sound checks what holds of every report.
func sound(t *testing.T, seed uint64, r *Report) {
	t.Helper()
	v := r.Verdict
	for _, s := range []string{v.Sentence, v.Cause} {
		if strings.Contains(s, "%!") || strings.Contains(s, "  ") || strings.ContainsAny(s, "\n\t") || strings.Contains(s, "; ;") || strings.HasSuffix(s, ".") {
			t.Errorf("seed %d: %q", seed, s)
		}
	}
	if v.Sentence == "" || v.Confidence < 0 || v.Confidence > 1 || v.Impact.Seconds < 0 || v.Impact.To.Before(v.Impact.From) || v.Last.Before(v.First) {
		t.Errorf("seed %d: %+v", seed, v)
	}
	sum := 0
	for _, n := range v.Impact.Fates {
		sum += n
	}
	if sum > v.Impact.Flows {
		t.Errorf("seed %d: %d fates of %d flows", seed, sum, v.Impact.Flows)
	}
	for _, o := range r.RuledOut {
		if o.Class == v.Class || o.Why == "" {
			t.Errorf("seed %d: %s: ruled out %+v", seed, v.Class, o)
		}
	}
	b, err := json.Marshal(r)
	if err != nil || strings.Contains(string(b), `"findings":null`) || strings.Contains(string(b), `"services":null`) || strings.Contains(string(b), `"flows":null`) {
		t.Errorf("seed %d: %v: %s", seed, err, b)
	}
}

// random is some findings, events and gaps.
func random(r *rand.Rand) (detect.Result, Facts) {
	at := func() time.Time { return night.Add(time.Duration(r.Int64N(int64(2*time.Minute))) - time.Minute) }
	services := []string{"orders-db", "sessions-cache", "dns"}
	fates := []string{"", detect.Reset, detect.Hung, detect.Recovered, detect.Refused, detect.Closed, detect.Unhurt}
	all := append([]detect.Class{detect.StateLost, detect.Suspect, detect.Class("of another version")}, detect.Classes...)
	var found []detect.Finding
	for range r.IntN(4) {
		list := flows(r.IntN(6), services[r.IntN(3)], fates[r.IntN(len(fates))])
		if r.IntN(2) == 0 {
			list = outside(list, r.IntN(2) == 0)
		}
		f := finding(all[r.IntN(len(all))], fmt.Sprintf("rule-%d", r.IntN(3)), r.Float64(), list)
		f.First = at()
		f.Last = f.First.Add(time.Duration(r.Int64N(1e10)))
		f.Count += r.IntN(3)
		found = append(found, f)
	}
	result := capture(found...)
	switch r.IntN(12) {
	case 0:
		result = detect.Result{}
	case 1:
		result.Stats.Unseen = 5000
	case 2:
		result.Blind = []detect.Blind{{From: at(), To: night.Add(time.Minute), Packets: uint64(r.IntN(2) * 5000), Why: "dropped"}}
	case 3:
		result.Vantages = result.Vantages[r.IntN(2):][:1]
	}
	return result, randomFacts(r, at)
}

func randomFacts(r *rand.Rand, at func() time.Time) Facts {
	if r.IntN(4) == 0 {
		return Facts{}
	}
	processes := []*hoststate.Process{nil, kernel, networkd, conntrack, nft, {PortID: 5}}
	who := func() *hoststate.Process { return processes[r.IntN(len(processes))] }
	var events []hoststate.Event
	for range r.IntN(4) {
		switch r.IntN(8) {
		case 0:
			events = append(events, burstAt(at(), processes[1+r.IntN(5)], flows(3+r.IntN(3), "orders-db", ""))...)
		case 1:
			events = append(events, rules(who(), r.IntN(5)-2, r.IntN(60000)))
		case 2:
			events = append(events, removed(who()), needrestart())
		case 3:
			events = append(events, expiry(flows(4, "orders-db", ""))...)
		case 4:
			events = append(events, dropped(3))
		default: // any kind, with data that does not fit
			kind := hoststate.Kinds[r.IntN(len(hoststate.Kinds))].Name
			odd := []string{"", "null", "7", `"x"`, `{}`, `{"src":7}`, `{"assured":-3,"first":1}`, `{"conntrack.drop":9}`, `{"phase":"end","chains":[{"minus":["snat"]}]}`}
			events = append(events, hoststate.Event{Time: at(), Kind: kind, By: who(), Text: " odd\n text. ", Subject: "ens5", Data: json.RawMessage(odd[r.IntN(len(odd))])})
		}
	}
	facts := timeline(events...)
	facts.Coverage.Timeline.Complete = r.IntN(3) > 0
	if r.IntN(6) == 0 {
		facts.Coverage.Missing = []rotate.Missing{{Span: rotate.Span{From: at(), To: night.Add(2 * time.Minute)}, Reason: rotate.MissingGap}}
	}
	return facts
}

package lab

import (
	"slices"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/evidence"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/lab/traffic"
)

// Result is a run, as JSON has it. Durations are in nanoseconds where their name says so, else as people write them.
type Result struct {
	Scenario   string       `json:"scenario"`
	Variant    string       `json:"variant,omitempty"`
	Class      detect.Class `json:"class"` // of the verdict that is due
	Title      string       `json:"title"`
	Seed       uint64       `json:"seed"`
	Parameters Parameters   `json:"parameters"`
	Fault      Fault        `json:"fault"`
	Traffic    Traffic      `json:"traffic"`
	Recorded   Recorded     `json:"recorded"`

	Verdict *evidence.Verdict `json:"verdict"`                  // of the report in the bundle; null if there is none
	Live    *Live             `json:"live,omitempty"`           // of a fault of the node that was found while it was recorded
	False   []string          `json:"false_triggers,omitempty"` // on faults of the node that there are not

	Expectations []Expectation `json:"expectations"`
	Passed       bool          `json:"passed"` // every expectation held
	Took         string        `json:"took"`
	Attempts     int           `json:"attempts"` // more than 1 if the machine stood still, see Run
	Stall        string        `json:"stall"`    // for how long at most, in the last of them
}

// Parameters is what the laboratory was built of.
type Parameters struct {
	Family  int    `json:"family"` // 4 or 6
	Uplinks int    `json:"uplinks"`
	NAT     string `json:"nat"`
	Loose   bool   `json:"tcp_loose"`
	RTT     string `json:"rtt"`
	Older   bool   `json:"older_than_recorder,omitempty"`
	Flows   int    `json:"flows"` // kept open
}

// Traffic is what the clients saw.
type Traffic struct {
	Flows    int `json:"flows"` // open when the fault began
	Hit      int `json:"hit"`   // of them, those that ended badly
	Answers  int `json:"answers"`
	Resets   int `json:"resets"`
	Timeouts int `json:"timeouts"`
	Other    int `json:"other"` // failures

	Services []ServiceOutcome `json:"services"`
	HitFlows []traffic.Flow   `json:"hit_flows"`
}

// ServiceOutcome is what the clients of a service in one pod saw.
type ServiceOutcome struct {
	Pod     int             `json:"pod"`
	Service string          `json:"service"`
	Before  traffic.Summary `json:"before"`
	During  traffic.Summary `json:"during"`
	After   traffic.Summary `json:"after"`
}

// Recorded is what the bundle has of it.
type Recorded struct {
	Incident string                    `json:"incident"`
	Triggers []string                  `json:"triggers"` // what asked for it: source and reason
	Packets  int                       `json:"packets"`
	Complete bool                      `json:"complete"` // nothing of the window is missing
	Kinds    map[string]int            `json:"kinds"`    // events of the timeline
	Key      []KeyEvent                `json:"key_events"`
	Watchers []hoststate.WatcherStatus `json:"watchers"`
}

// KeyEvent is an event that matters, with its time relative to the fault. They are in the order of time.
type KeyEvent struct {
	After   string `json:"after"` // the fault's beginning
	Kind    string `json:"kind"`
	Subject string `json:"subject,omitempty"`
	Text    string `json:"text"`
	By      string `json:"by,omitempty"`
}

// maxKey bounds the key events of a result, and maxHit the flows that were hit.
const (
	maxKey = 40
	maxHit = 200
)

// keyKinds are the kinds that tell what happened; all others are counted alone.
var keyKinds = []string{
	"conntrack.burst", "conntrack.drop", "conntrack.gap", "address.add", "address.remove", "route.add", "route.remove", "rule.add",
	"rule.remove", "ruleset.change", "link.change", "sysctl.change", "unit.stop", "unit.start", "unit.restart", "kernel.log", "observation",
	"trigger.accepted",
}

func (s *Seen) result(scenario Scenario, expectations []Expectation) *Result {
	r := &Result{
		Scenario: s.Scenario, Variant: s.Variant, Class: s.Class, Title: scenario.Title, Seed: s.Seed, Fault: s.Fault,
		Parameters: s.parameters(), Traffic: s.traffic(), Recorded: s.recorded(), Live: s.live(), False: s.falseTriggers(), Expectations: expectations,
	}
	if s.Report != nil {
		r.Verdict = &s.Report.Verdict
	}
	r.Passed = !slices.ContainsFunc(expectations, func(e Expectation) bool { return !e.Held })
	return r
}

func (s *Seen) parameters() Parameters {
	p := Parameters{Family: 4, Uplinks: s.Uplinks, NAT: s.NAT.String(), Loose: s.Loose, RTT: s.RTT.Round(100 * time.Microsecond).String(), Older: s.Older}
	if s.IPv6 {
		p.Family = 6
	}
	for _, v := range s.Services {
		p.Flows += v.Load.Flows * len(v.Pods)
	}
	return p
}

func (s *Seen) traffic() Traffic {
	hit := s.Hit()
	t := Traffic{Flows: len(s.Live()), Hit: len(hit), HitFlows: hit[:min(len(hit), maxHit)], Services: []ServiceOutcome{}}
	for _, o := range s.Outcomes {
		t.Services = append(t.Services, ServiceOutcome{o.Pod, o.Service, o.Before, o.During, o.After})
		t.Answers += o.Before.Answers + o.During.Answers + o.After.Answers
	}
	broken, unconnected := s.Failed()
	all := broken.Add(unconnected)
	t.Resets, t.Timeouts = all.Reset, all.TimedOut
	t.Other = all.Total() - all.Reset - all.TimedOut
	return t
}

func (s *Seen) recorded() Recorded {
	r := Recorded{
		Incident: s.Manifest.Incident, Packets: len(s.Packets), Complete: s.Manifest.Window.Complete, Kinds: map[string]int{},
		Key: []KeyEvent{}, Watchers: s.Manifest.Recorder.Watchers,
	}
	for _, t := range s.Manifest.Triggers {
		r.Triggers = append(r.Triggers, t.Source+": "+t.Reason)
	}
	byTime := func(a, b hoststate.Event) int { return a.Time.Compare(b.Time) }
	for _, e := range slices.SortedStableFunc(slices.Values(s.Events), byTime) {
		r.Kinds[e.Kind]++
		if slices.Contains(keyKinds, e.Kind) && len(r.Key) < maxKey {
			k := KeyEvent{After: e.Time.Sub(s.Fault.At).Round(100 * time.Microsecond).String(), Kind: e.Kind, Subject: e.Subject, Text: e.Text}
			if e.By != nil {
				k.By = e.By.String()
			}
			r.Key = append(r.Key, k)
		}
	}
	return r
}

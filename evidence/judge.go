package evidence

import (
	"cmp"
	"math"
	"slices"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/hoststate"
)

// Facts is what a report is made of, beside what detection found.
type Facts struct {
	Program  string
	Incident *Incident // nil: the capture is no bundle's
	Files    []File
	Events   []hoststate.Event // of the timeline, in the order in which they were seen
	Coverage Coverage          // Known, Missing and Timeline; the rest is filled in
}

// Judge makes a report of what was found. The same findings and facts make the same report: it reads no clock and does no
// I/O. Created is left to the caller. None of the report's slices that JSON always has is nil.
func Judge(found detect.Result, facts Facts) *Report {
	q := newInquiry(found, facts)
	for _, w := range weights {
		w.weigh(q)
	}
	q.decide()
	verdict := q.verdict()
	return &Report{
		Version: Version, Program: facts.Program, Incident: facts.Incident,
		Verdict:  verdict,
		Findings: q.findings(),
		RuledOut: q.ruledOut(),
		Services: services(found),
		Coverage: q.coverage,
		Events:   q.events(verdict),
		Paths:    found.Paths,
		Files:    some(facts.Files),
	}
}

// inquiry is what is known while a verdict is made.
type inquiry struct {
	found    detect.Result
	coverage Coverage
	history  *history
	names    *names
	claims   map[detect.Class]*claim // of every class that a finding points to
	lost     *loss                   // of state, the one that the verdict speaks of; nil if the timeline tells of none
	added    []detect.Finding        // by the judge

	winner *claim   // nil: no fault
	also   []*claim // held as well, and none of them is a consequence of another
}

func newInquiry(found detect.Result, facts Facts) *inquiry {
	q := &inquiry{found: found, history: readHistory(facts.Events, facts.Coverage.Timeline), names: newNames()}
	q.coverage = facts.Coverage
	q.coverage.From, q.coverage.To = found.First, found.Last
	q.coverage.Vantages, q.coverage.Blind, q.coverage.Stats = some(found.Vantages), found.Blind, found.Stats
	q.coverage.Complete = len(found.Blind) == 0 && len(q.coverage.Missing) == 0 && found.Stats.Skipped == 0 && found.Stats.Evicted == 0
	q.names.learn(found.Findings, q.history)
	q.claims = claims(found.Findings, q.names)
	return q
}

// verdict is the outcome, after decide.
func (q *inquiry) verdict() Verdict {
	v := Verdict{Class: detect.None, StateLost: q.stateLost(), Impact: Impact{Services: []string{}}}
	switch w := q.winner; {
	case w == nil:
		v.Confidence = q.innocence()
	default:
		v.Class, v.Confidence, v.First, v.Last = w.class, w.sure, w.first, w.last
	}
	v.Confidence = math.Round(v.Confidence*100) / 100
	if l := q.lost; l != nil {
		v.First, v.Last = earlier(v.First, l.from), later(v.Last, l.to)
	}
	cause := q.cause()
	v.Cause, v.Chain = cause.text, cause.chain
	v.Impact = q.impact()
	v.Sentence = q.sentence(v)
	v.Need = q.need(v)
	return v
}

// stateLost says whether conntrack state was lost, whether it hurt anybody or not.
func (q *inquiry) stateLost() bool {
	if q.winner != nil && q.winner.class == detect.ConntrackLoss {
		return true
	}
	return q.lost != nil || q.claims[detect.StateLost] != nil
}

// findings are those of detection and the judge's own, in the order of time.
func (q *inquiry) findings() []detect.Finding {
	all := slices.Concat(q.found.Findings, q.added)
	slices.SortStableFunc(all, func(a, b detect.Finding) int {
		return cmp.Or(a.First.Compare(b.First), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Rule, b.Rule))
	})
	for i := range all {
		all[i].Flows, all[i].Services, all[i].Citations = some(all[i].Flows), some(all[i].Services), some(all[i].Citations)
	}
	return some(all)
}

func services(found detect.Result) []Service {
	list := []Service{}
	for _, s := range found.Series {
		list = append(list, Service{Name: s.Service, Packets: s.Packets, Series: s})
	}
	return list
}

// some is a slice that JSON shows as [] and not as null.
func some[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

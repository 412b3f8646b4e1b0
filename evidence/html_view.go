package evidence

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/ringside/ringside/detect"
)

// What a page shows at most, if all of it together is small enough. It says how much more there is.
const (
	maxPlots    = 8
	maxServices = 48
	maxMarks    = 160
	maxFindings = 16
	maxFlows    = 48
	openFlows   = 12
	maxCited    = 8 // of a flow
	maxStrip    = 200
	maxGaps     = 40
	maxWays     = 4
	maxSeen     = 3  // of a flow at one vantage
	maxShort    = 16 // of what is usually a handful: files, vantages, watchers
)

// view is a report as its page shows it.
type view struct {
	*page
	*Report
	Title string
	Fetch string // the command that gets the packets, annotated; "" if there is no bundle

	Plots        []plot
	PlotsMore    int
	Data         plotData
	Marks        []mark
	MarksMore    int
	List         []detect.Finding
	ListMore     int
	Flows        []shownFlow
	FlowsRest    []shownFlow // shown when they are asked for
	FlowsMore    int
	Ways         []way
	Steps        []detect.Path
	StepsMore    int
	Table        []Service // with what was seen of them
	TableMore    int
	Gaps         []gap
	GapsMore     int
	Strips       []strip
	Vantages     []detect.Vantage
	VantagesMore int
	Captures     []File
	CapturesMore int
}

// newView prepares a report for its page, with one of so many shares of what a page shows at most.
func newView(r *Report, p *page, share int) *view {
	v := &view{page: p, Report: r, Title: classTitle(r.Verdict.Class)}
	if in := r.Incident; in != nil {
		v.Title += " · " + in.ID
		v.Fetch = fetch(in, "--annotated -o "+quote(in.ID+".pcapng"))
	}
	v.Table, v.TableMore = first(byTrouble(r), maxServices/share)
	var drawn []Service
	drawn, v.PlotsMore = first(withSeries(v.Table), max(1, maxPlots/share))
	v.Plots, v.Data = plots(r, drawn)
	v.Marks, v.MarksMore = marks(r, maxMarks/share)
	v.List, v.ListMore = first(byWeight(r), maxFindings)
	v.Flows, v.FlowsMore = hits(r, max(1, maxFlows/share))
	v.Ways = ways(r, v.Flows)
	n := min(len(v.Flows), openFlows)
	v.Flows, v.FlowsRest = v.Flows[:n], v.Flows[n:]
	v.Steps, v.StepsMore = first(r.Paths, maxShort)
	v.Gaps, v.GapsMore = first(gaps(r), maxGaps)
	v.Strips = strips(r)
	v.Vantages, v.VantagesMore = first(r.Coverage.Vantages, maxShort)
	v.Captures, v.CapturesMore = first(r.Files, maxShort)
	return v
}

// first is the first n of a list, and how many more there are.
func first[T any](list []T, n int) ([]T, int) {
	n = min(n, len(list))
	return list[:n], len(list) - n
}

// Fates is what became of the flows that were hit, the most frequent first.
func (v *view) Fates() (list []string) {
	fates := v.Verdict.Impact.Fates
	names := slices.SortedFunc(maps.Keys(fates), func(a, b string) int { return cmp.Or(cmp.Compare(fates[b], fates[a]), cmp.Compare(a, b)) })
	for _, name := range names {
		list = append(list, grouped(strconv.Itoa(fates[name]))+" "+name)
	}
	return list
}

// Hurt says whether the page has a fault to show.
func (v *view) Hurt() bool { return v.Verdict.Class != detect.None && v.Verdict.Class != "" }

// byTrouble is the services that were hurt first, then by how much went wrong, then by how much was seen.
func byTrouble(r *Report) []Service {
	list := slices.Clone(r.Services)
	hurt := func(s Service) int {
		if i := slices.Index(r.Verdict.Impact.Services, s.Name); i >= 0 {
			return i
		}
		return len(r.Verdict.Impact.Services)
	}
	trouble := func(s Service) uint64 {
		t := s.Series.Total
		return t.Refused + t.Unanswered + t.Resets + t.Retransmitted + t.TimeOuts
	}
	slices.SortStableFunc(list, func(a, b Service) int {
		return cmp.Or(cmp.Compare(hurt(a), hurt(b)), cmp.Compare(trouble(b), trouble(a)), cmp.Compare(b.Packets, a.Packets))
	})
	return list
}

// withSeries is the services that something can be drawn of.
func withSeries(list []Service) []Service {
	return slices.DeleteFunc(slices.Clone(list), func(s Service) bool { return len(s.Series.Buckets) == 0 || s.Series.StepNS <= 0 })
}

// byWeight is the findings of the verdict's class first, then by confidence.
func byWeight(r *Report) []detect.Finding {
	list := slices.Clone(r.Findings)
	slices.SortStableFunc(list, func(a, b detect.Finding) int {
		return cmp.Or(cmp.Compare(other(r, a), other(r, b)), cmp.Compare(b.Confidence, a.Confidence))
	})
	return list
}

// other is 0 for a finding of the verdict's class, and 1 else.
func other(r *Report, f detect.Finding) int {
	if f.Class == r.Verdict.Class {
		return 0
	}
	return 1
}

// mark is an event or a finding on the time axis and in its table.
type mark struct {
	Event
	What string // finding, aside (a finding of another class than the verdict), chain (it led to the fault), event
}

// marks is at most so many of the findings, what led to the fault, and the events nearest to it, in the order of time.
func marks(r *Report, most int) (list []mark, more int) {
	for _, f := range r.Findings {
		what := "aside"
		if f.Class == r.Verdict.Class {
			what = "finding"
		}
		list = append(list, mark{Event{Time: f.First, Kind: string(f.Class), Text: f.Text, By: f.Rule}, what})
	}
	for _, e := range r.Verdict.Chain {
		list = append(list, mark{e, "chain"})
	}
	for _, e := range r.Events {
		if !slices.Contains(r.Verdict.Chain, e) {
			list = append(list, mark{e, "event"})
		}
	}
	at := r.Verdict.First
	if at.IsZero() && r.Incident != nil {
		at = r.Incident.At
	}
	slices.SortStableFunc(list, func(a, b mark) int {
		plain := func(m mark) int {
			if m.What == "event" {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(plain(a), plain(b)), cmp.Compare(a.Time.Sub(at).Abs(), b.Time.Sub(at).Abs()))
	})
	list, more = first(list, most)
	slices.SortStableFunc(list, func(a, b mark) int { return a.Time.Compare(b.Time) })
	return list, more
}

// gap is a stretch of time of which something is missing.
type gap struct {
	Where, Why string
	From, To   time.Time
	Packets    uint64
}

// gaps is what the recorder and what detection missed, by time.
func gaps(r *Report) []gap {
	var list []gap
	for _, b := range r.Coverage.Blind {
		list = append(list, gap{b.Vantage, b.Why, b.From, b.To, b.Packets})
	}
	for _, m := range r.Coverage.Missing {
		list = append(list, gap{m.Ring, cmp.Or(m.Text, m.Reason), m.From, m.To, m.Packets})
	}
	slices.SortStableFunc(list, func(a, b gap) int { return a.From.Compare(b.From) })
	return list
}

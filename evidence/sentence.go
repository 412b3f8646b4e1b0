package evidence

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/detect"
)

// sentence says the verdict in one sentence. It says no more than what was seen: numbers are distinct flows, times UTC.
func (q *inquiry) sentence(v Verdict) string {
	if q.winner == nil {
		return q.nothing(v)
	}
	if q.winner.class == detect.RecorderBlind {
		return q.unknown()
	}
	parts := []string{q.happened()}
	if q.winner.sure < 0.75 {
		parts[0] = "it looks as if " + parts[0]
	}
	for _, part := range []string{v.Cause, q.slowest(), fates(v), q.ended(v.Impact)} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	var also []string
	for _, c := range q.also {
		also = append(also, fmt.Sprintf("%s from %s on", c.class, moment(c.first)))
	}
	if len(also) > 0 {
		parts = append(parts, "besides, there is "+enumerate(also))
	}
	return strings.Join(parts, "; ")
}

// happened is what the class says, of how many flows, and when.
func (q *inquiry) happened() string {
	w := q.winner
	n, at := w.flows(), moment(w.first)
	to := ""
	if len(w.services) > 0 {
		to = " to " + enumerate(w.services)
	}
	flows, connections := count(n, "flow")+to, count(n, "new connection")+to
	switch w.class {
	case detect.ConntrackLoss:
		return q.lossOf(n)
	case detect.NATRulesLoss:
		return flows + " left the node untranslated from " + at + " on"
	case detect.RoutePolicyLoss:
		return flows + " left the node by another interface than before from " + at + " on"
	case detect.ConntrackTableFull:
		if w.agreed {
			return connections + verb(n, " was", " were") + " dropped by the node from " + at + " on, for its conntrack table was full"
		}
		return connections + " vanished inside the node from " + at + " on, as when its conntrack table is full"
	case detect.ConntrackExpiry:
		return "conntrack entries of " + count(n, "idle flow") + to + " had expired when " + verb(n, "it was", "they were") + " used again from " + at + " on"
	case detect.PathLoss:
		return "segments of " + flows + " were lost on the way from " + at + " on, and sent again"
	case detect.PathOutage:
		return "the path" + to + " was interrupted at " + at + ": " + count(n, "flow") + " stalled"
	case detect.ConnectDropped:
		return connections + verb(n, " was", " were") + " not answered from " + at + " on"
	case detect.ConnectRejected:
		return connections + verb(n, " was", " were") + " refused from " + at + " on"
	case detect.DNSFailure:
		return "names were not resolved from " + at + " on: " + flows + " got no answer, or an error"
	case detect.ClientExit:
		return q.clients("client", "clients") + " ended " + flows + " at " + at
	case detect.PodGone:
		return q.clients("pod", "pods") + " fell silent at " + at + " with " + flows + " open"
	}
	return q.server(n, at)
}

// lossOf says which state was lost. When packets alone show it, it was lost some time before.
func (q *inquiry) lossOf(n int) string {
	services, l := q.winner.services, q.lost
	when := "was gone by " + moment(q.winner.first)
	switch {
	case l == nil:
	case l.told:
		when = "was lost at " + moment(l.from)
	default:
		when = "was lost between " + moment(l.from) + " and " + moment(earlier(l.to, q.winner.first))
	}
	if l != nil {
		n = max(n, l.flows)
		if len(l.services) > 0 { // the recorder's own names, of all that were lost
			services = l.services
		}
	}
	to := ""
	if len(services) > 0 {
		to = " to " + enumerate(services)
	}
	return "conntrack state of " + count(n, "flow") + to + " " + when
}

// server says what a server did.
func (q *inquiry) server(n int, at string) string {
	w, who := q.winner, "the server"
	several := len(w.services) > 1
	if several {
		who = "the servers of " + enumerate(w.services)
	} else if len(w.services) == 1 {
		who = "the server of " + w.services[0]
	}
	flows := count(n, "flow")
	switch w.class {
	case detect.ServerRestart:
		as := "as one that restarts does"
		if several {
			as = "as servers that restart do"
		}
		return who + " ended " + flows + " from " + at + " on, " + as
	case detect.ServerIdleTimeout:
		return who + " closed " + count(n, "idle flow") + " from " + at + " on"
	case detect.ServerSlow:
		return who + " answered late on " + flows + " from " + at + " on, and acknowledged requests at once"
	case detect.ServerOverload:
		return who + " had more work than " + verb(len(w.services), "it", "they") + " could do from " + at + " on: " + flows + " waited"
	}
	return string(w.class) + " on " + flows + " from " + at + " on"
}

// clients names those whose flows the verdict is about.
func (q *inquiry) clients(one, several string) string {
	var hosts []string
	for _, h := range q.winner.hits {
		a := h.Src
		if h.Inner != "" {
			a = h.Inner
		}
		hosts = append(hosts, host(a))
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	switch len(hosts) {
	case 0:
		return "a " + one
	case 1:
		return one + " " + hosts[0]
	}
	return several + " " + enumerate(hosts)
}

// slowest is the longest that an answer took, where that is the fault.
func (q *inquiry) slowest() string {
	w := q.winner
	if w.class != detect.ServerSlow && w.class != detect.ServerOverload {
		return ""
	}
	var longest int64
	for _, s := range q.found.Series {
		if !slices.Contains(w.services, s.Service) {
			continue
		}
		for i, b := range s.Buckets {
			at := s.From.Add(time.Duration(int64(i) * s.StepNS))
			if !at.Before(w.first.Add(-time.Duration(s.StepNS))) && !at.After(w.last.Add(near)) {
				longest = max(longest, b.Max)
			}
		}
	}
	if longest < int64(time.Millisecond) {
		return ""
	}
	return "the slowest answer took " + span(time.Duration(longest))
}

// fateWords is what became of flows, in the order of a sentence: of one, and of several.
var fateWords = []struct{ fate, one, several string }{
	{detect.Reset, "was reset", "were reset"},
	{detect.Hung, "hung", "hung"},
	{detect.Refused, "was refused", "were refused"},
	{detect.Closed, "was closed", "were closed"},
	{detect.Recovered, "recovered", "recovered"},
}

// implied is a fate that the class says already.
var implied = map[detect.Class]string{
	detect.ConnectRejected: detect.Refused, detect.ConnectDropped: detect.Hung, detect.ConntrackTableFull: detect.Hung,
	detect.ServerIdleTimeout: detect.Closed, detect.PodGone: detect.Hung,
}

// fates is what became of the flows: 33 flows were reset, 8 hung.
func fates(v Verdict) string {
	var parts []string
	for _, f := range fateWords {
		n := v.Impact.Fates[f.fate]
		if n == 0 || n == v.Impact.Flows && f.fate == implied[v.Class] {
			continue
		}
		number := thousands(uint64(n))
		if len(parts) == 0 {
			number = count(n, "flow")
		}
		parts = append(parts, number+" "+verb(n, f.one, f.several))
	}
	return strings.Join(parts, ", ")
}

// ended is when the impact was over.
func (q *inquiry) ended(i Impact) string {
	switch {
	case i.Flows == 0:
		return ""
	case q.lasts(i):
		return "impact had not ended when the recording did, at " + moment(q.found.Last)
	}
	return "impact ended at " + moment(i.To)
}

// nothing is what was looked at and is not at fault.
func (q *inquiry) nothing(v Verdict) string {
	served := 0
	for _, s := range q.found.Series {
		if s.Packets > 0 {
			served++
		}
	}
	const full = "2006-01-02 15:04:05.000"
	s := fmt.Sprintf("no fault was seen in %s of %s between %s and %s", count(int(q.found.Stats.Packets), "packet"), count(served, "service"),
		q.found.First.UTC().Format(full), q.found.Last.UTC().Format(full))
	if q.lost != nil {
		s += fmt.Sprintf("; conntrack state of %s was lost at %s, and none was seen to be hurt", count(q.lost.flows, "flow"), moment(q.lost.from))
		if v.Cause != "" {
			s += ": " + v.Cause
		}
	}
	if c := q.suspect(); c != nil {
		s += "; something is suspect, and packets do not show what: " + c.findings[0].Text
	}
	if why := q.gaps(); why != "" {
		s += "; " + why + ", and of that nothing is known"
	}
	return s
}

// unknown is why nothing can be said.
func (q *inquiry) unknown() string {
	why := q.blind()
	if q.found.Stats.Packets == 0 {
		return "nothing can be said: " + why
	}
	return fmt.Sprintf("what happened between %s and %s cannot be said: %s", moment(q.found.First), moment(q.found.Last), why)
}

// suspect is what is wrong without being enough for a class, the strongest of it.
func (q *inquiry) suspect() (strongest *claim) {
	for _, class := range append(slices.Clone(detect.Classes), detect.Suspect) {
		c := q.claims[class]
		if c == nil || c.holds() || class == detect.RecorderBlind || class == detect.None || len(c.findings) == 0 {
			continue
		}
		if strongest == nil || c.sure > strongest.sure {
			strongest = c
		}
	}
	return strongest
}

// verb is the form of a word that fits a number.
func verb(n int, one, several string) string {
	if n == 1 {
		return one
	}
	return several
}

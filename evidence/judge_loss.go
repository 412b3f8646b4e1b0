package evidence

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/detect"
)

// lossTold finds the loss that packets show on the timeline.
func (q *inquiry) lossTold() {
	c := q.claims[detect.ConntrackLoss]
	if c == nil {
		return
	}
	for _, l := range q.history.losses {
		switch {
		case slices.ContainsFunc(c.hits, func(h *struck) bool { return l.names[h.name] }):
			if q.explained(l) {
				c.sure *= 0.6
				continue
			}
			c.confirm(0.99)
		case len(l.names) == 0 && c.follows(l.from, l.to):
			c.confirm(0.95)
		default:
			continue
		}
		if q.lost == nil || l.flows > q.lost.flows {
			q.lost = l
		}
	}
}

// lossBefore is a loss that a claim follows.
func (q *inquiry) lossBefore(c *claim) *loss {
	for _, l := range q.history.losses {
		if c.follows(l.from, l.to) {
			return l
		}
	}
	return nil
}

// expired turns a loss into expiry where the entries of its flows expired, and no loss is known.
func (q *inquiry) expired() {
	c := q.claims[detect.ConntrackLoss]
	if c == nil || c.agreed {
		return
	}
	expired := map[string]bool{}
	for _, e := range q.history.entries {
		if e.Expired && e.At.Before(c.last.Add(slack)) {
			expired[q.names.of(pair(e.Src, e.Dst))] = true
		}
	}
	n := 0
	for _, h := range c.hits {
		if expired[h.name] {
			n++
		}
	}
	switch {
	case n > 0 && 2*n >= len(c.hits):
		q.turn(detect.ConntrackLoss, detect.ConntrackExpiry, 0.97)
	case q.history.expired >= uint64(max(3, c.flows()/2)) && q.watched("conntrack", c):
		q.turn(detect.ConntrackLoss, detect.ConntrackExpiry, 0.9)
	}
}

// idleLost turns expiry into a loss where the entries of its flows were lost: only idle flows noticed.
func (q *inquiry) idleLost() {
	c := q.claims[detect.ConntrackExpiry]
	if c == nil || c.agreed {
		return
	}
	for _, l := range q.history.losses {
		n := 0
		for _, h := range c.hits {
			if l.names[h.name] && !h.First.Before(l.from.Add(-slack)) {
				n++
			}
		}
		if n > 0 && 2*n >= len(c.hits) && !q.explained(l) {
			q.lost = l
			q.turn(detect.ConntrackExpiry, detect.ConntrackLoss, 0.97)
			return
		}
	}
}

// lossFelt finds flows that lost their entries and then were reset or fell silent, whatever rules took that for.
func (q *inquiry) lossFelt() {
	if q.claims[detect.ConntrackLoss].holds() || q.claims[detect.NATRulesLoss].holds() {
		return
	}
	for _, l := range q.history.losses {
		f := q.felt(l)
		if f.Count < 3 || q.explained(l) {
			continue
		}
		q.lost = l
		q.added = append(q.added, *f)
		c := q.claim(detect.ConntrackLoss)
		c.add(f)
		c.sum(q.names)
		c.confirm(f.Confidence)
		return
	}
}

// felt makes a finding of the flows that a loss hit.
func (q *inquiry) felt(l *loss) *detect.Finding {
	f := &detect.Finding{Class: detect.ConntrackLoss, Rule: "entries-lost", Confidence: 0.95, Citations: []detect.Citation{}}
	seen := map[string]bool{}
	for _, class := range append(slices.Clone(detect.Classes), detect.Suspect) {
		c := q.claims[class]
		if c == nil {
			continue
		}
		for _, h := range c.hits {
			hurt := h.fate() == detect.Reset || h.fate() == detect.Hung
			if seen[h.name] || !hurt || h.First.Before(l.from.Add(-slack/10)) || h.First.After(l.to.Add(patience)) || !l.names[h.name] {
				continue
			}
			seen[h.name] = true
			f.First, f.Last = earlier(f.First, h.First), later(f.Last, h.Last)
			f.Flows = append(f.Flows, h.Flow)
			f.Citations = append(f.Citations, h.Citations...)
		}
	}
	for _, flow := range q.orphans(l, seen) {
		f.First, f.Last = earlier(f.First, flow.First), later(f.Last, flow.Last)
		f.Flows = append(f.Flows, flow)
	}
	f.Count = len(f.Flows)
	f.Flows, f.Citations = f.Flows[:min(f.Count, detect.MaxFlows)], f.Citations[:min(len(f.Citations), detect.MaxCitations)]
	f.Text = fmt.Sprintf("%s whose conntrack entries were lost at %s were reset or fell silent afterwards", count(f.Count, "flow"), moment(l.from))
	return f
}

// orphans are lost flows to whose translated address the server sent something, which made an entry that ends at the node
// itself: the pod does not hear of it, and the connection is dead. The timeline shows that by itself.
func (q *inquiry) orphans(l *loss, seen map[string]bool) (list []detect.Flow) {
	at := map[string]time.Time{}
	for _, e := range q.history.entries {
		if e.Kind == "conntrack.pickup" && !e.At.Before(l.from) && e.At.Before(l.to.Add(patience)) {
			at[e.Src+" "+e.Dst] = e.At
		}
	}
	for _, e := range l.entries {
		when, spoke := at[e.ReplySrc+" "+e.ReplyDst]
		if name := q.names.of(pair(e.Src, e.Dst)); spoke && !seen[name] {
			seen[name] = true
			list = append(list, detect.Flow{Src: e.Src, Dst: e.Dst, Service: e.Service, Fate: detect.Hung, First: when, Last: when})
		}
	}
	return list
}

// explained says whether something else explains that entries were destroyed: whoever removes a pod or a server may delete its
// entries. Then their flows ended before the entries did, or the pod's link or route went with them.
func (q *inquiry) explained(l *loss) bool {
	if len(l.names) == 0 {
		return false
	}
	for _, class := range []detect.Class{detect.PodGone, detect.ClientExit, detect.ServerRestart} {
		c := q.claims[class]
		if c.holds() && c.first.Before(l.from) && c.has(l.names) {
			return true
		}
	}
	return !l.kernel && q.removed(l.client, l.from)
}

// has says whether all of some flows are its own.
func (c *claim) has(names map[string]bool) bool {
	own := map[string]bool{}
	for _, h := range c.hits {
		own[h.name] = true
	}
	for name := range names {
		if !own[name] {
			return false
		}
	}
	return true
}

// removed says whether a pod was removed around a time: a link of a pod, or the route to its address.
func (q *inquiry) removed(pod string, at time.Time) bool {
	const around = 10 * time.Second
	if pod == "" {
		return false
	}
	for _, e := range q.history.during(at.Add(-around), at.Add(around), "link.change", "route.remove") {
		to, _, _ := strings.Cut(field(&e, "to"), "/")
		if e.Kind == "route.remove" && to == pod || e.Kind == "link.change" && e.Subject == "quiet" && number(&e, "gone") > 0 {
			return true
		}
	}
	return false
}

// lossUntold doubts a loss that the timeline does not tell of, although entries were watched. It does not rule it out: the
// entries may have gone before the timeline begins.
func (q *inquiry) lossUntold() {
	if c := q.claims[detect.ConntrackLoss]; c != nil && !c.agreed && q.watched("conntrack", c) {
		c.sure *= 0.7
	}
}

// lossUnfelt tells of a loss that hurt nobody.
func (q *inquiry) lossUnfelt() {
	if q.claims[detect.ConntrackLoss].holds() || q.claims[detect.ConntrackExpiry].holds() {
		return
	}
	for _, l := range q.history.losses {
		if q.explained(l) {
			continue
		}
		if q.lost == nil || l.flows > q.lost.flows {
			q.lost = l
		}
	}
	if l := q.lost; l != nil {
		q.added = append(q.added, detect.Finding{Class: detect.StateLost, Rule: "conntrack-burst", Confidence: 0.97, First: l.from, Last: l.to,
			Count: l.flows, Services: l.services, Text: fmt.Sprintf("%s lost their conntrack entries within %v, and no flow is seen to be hurt by that",
				count(l.flows, "established connection"), l.to.Sub(l.from).Round(time.Microsecond))})
	}
}

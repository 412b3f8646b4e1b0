package detect

import (
	"fmt"
	"slices"
	"time"

	"github.com/ringside/ringside/detect/track"
)

// Thresholds of connect-dropped and connect-rejected.
const (
	synPatience = int64(900 * time.Millisecond) // the first SYN is sent again after a second (RFC 6298): less is none that was lost
	callsJudged = int64(3 * time.Second)        // by then a restart of the server is known as such
)

// What became of a call.
type fateOfCall uint8

const (
	pending  fateOfCall = iota
	taken               // at once
	late                // SYNs were sent again before it was taken
	silent              // SYNs were sent again, and nobody answers
	refused             // by RST
	rejected            // by ICMP
)

func outcome(c *call, now int64) fateOfCall {
	v := c.Conversation
	switch {
	case c.icmp != 0 && v.Accepted == 0:
		return rejected
	case v.Accepted != 0 && v.Accepted-v.Opened < synPatience:
		return taken
	case v.Accepted != 0 && v.SYNs > 1:
		return late
	case v.Accepted != 0:
		return taken
	case v.Half[track.Server].RST != 0:
		return refused
	case v.SYNs > 1 && now-v.Opened > synPatience:
		return silent
	}
	return pending
}

// failing is what became of the calls to a server of late.
type failing struct {
	*server
	calls []*call // that failed in one way
	alive bool    // connections that were there go on
	mute  bool    // they do not: they wait
	slow  bool    // they wait for late answers: what that is shows when those come
}

// connects looks for new connections that are dropped or rejected on the way to servers that are there.
func (w *services) connects(now int64) {
	w.liveliness(now)
	refusals, dropped := w.failing(now, refused, rejected), w.failing(now, silent, late)
	w.decide(&w.drops, ConnectDropped, "syn-unanswered", dropped, now)
	w.decide(&w.rejects, ConnectRejected, "syn-rejected", refusals, now)
}

// failing gathers servers most of whose calls failed in some ways.
func (w *services) failing(now int64, ways ...fateOfCall) (list []*failing) {
	for _, e := range w.busy {
		if len(e.calls) == 0 {
			continue
		}
		f := &failing{server: e}
		first, last := int64(0), int64(0)
		for i := range e.calls {
			c := &e.calls[i]
			if now-c.at > nearby+callsJudged || !counts(c.Conversation) || !slices.Contains(ways, outcome(c, now)) || !w.isCall(c) {
				continue
			}
			if first == 0 {
				first = c.at
			}
			last = c.at
			f.calls = append(f.calls, c)
			f.alive, f.mute, f.slow = f.alive || c.alive, f.mute || c.mute, f.slow || c.slow
		}
		if len(f.calls) == 0 {
			continue
		}
		if slices.Contains(ways, rejected) {
			e.rejected = now
		}
		well := 0
		for i := range e.calls {
			if c := &e.calls[i]; c.at >= first && c.at <= last && counts(c.Conversation) && outcome(c, now) == taken {
				well++
			}
		}
		if well < len(f.calls) {
			list = append(list, f)
		}
	}
	return list
}

// isCall says whether a failed call would be answered if all was well: by a server that has answered, to an address that has
// been answered; and it left the node, as far as can be seen.
func (w *services) isCall(c *call) bool {
	d := w.d
	if _, ok := w.callers[caller{c.Vantage, c.Client.Addr}]; !ok || d.isBlind(c.Vantage, c.at) {
		return false
	}
	for _, p := range d.vantages[c.Vantage].paths {
		if p.flows > 0 {
			return false // those of others are seen further on
		}
	}
	return true
}

// decide reports failed calls, if there are enough that nothing else explains.
func (w *services) decide(s *story, class Class, rule string, list []*failing, now int64) {
	if len(list) == 0 {
		return
	}
	alive, fresh, flows := false, false, distinct{}
	var first, last int64
	var names []string
	list = slices.DeleteFunc(list, func(f *failing) bool {
		switch {
		case f.restart.finding != nil && now-f.restart.last < downAtMost:
			return true
		case class == ConnectDropped && (f.mute || f.slow || now-f.rejected < nearby+callsJudged):
			return true // an outage; an overload; a filter that does not answer each SYN
		}
		return f.answers.overload.open(now)
	})
	for _, f := range list {
		alive = alive || f.alive
		for _, c := range f.calls {
			flows.add(c.Conversation)
			fresh = fresh || !c.told
			if first == 0 || c.at < first {
				first = c.at
			}
			last = max(last, c.at, lastUnanswered(c))
		}
		names = append(names, f.at.String())
	}
	if class == ConnectDropped && last-first < synPatience {
		return // a moment's interruption
	}
	if len(flows) < someFlows && !s.open(now) || !fresh || len(list) == 0 || now-list[0].calls[0].at < callsJudged {
		return
	}
	for _, f := range list {
		for _, c := range f.calls {
			w.tellCall(s, class, rule, c, now)
		}
	}
	g := s.finding
	sure := 0.45 // it may be that the server is gone
	if class == ConnectRejected {
		sure = 0.6
	}
	if alive {
		sure = 0.9
	}
	g.Confidence = max(g.Confidence, sure)
	how := "were not answered"
	if class == ConnectRejected {
		how = "were refused"
	}
	g.Text = fmt.Sprintf("SYNs of %s to %s %s", some(g.Count, "new connection"), all(names), how)
	if alive {
		g.Text += ", while connections that were there went on"
	}
}

// lastUnanswered is when the last SYN was sent that nobody answered, as far as is known.
func lastUnanswered(c *call) int64 {
	switch {
	case c.Accepted == 0:
		return c.LastSYN
	case c.SYNs > 2:
		return c.Opened + synPatience
	}
	return c.Opened
}

func (w *services) tellCall(s *story, class Class, rule string, c *call, now int64) {
	if c.told {
		return
	}
	c.told = true
	d, v := w.d, c.Conversation
	var f Flow
	switch outcome(c, now) {
	case late:
		f = d.flow(v, Recovered, c.at, v.Accepted)
		f.Citations = []Citation{c.cite}
	case silent:
		f = d.flow(v, Hung, c.at, v.LastSYN)
		f.Citations = []Citation{c.cite, d.citeLast(v, track.Client, "the SYN once more: nobody has answered")}
	case refused:
		f = d.flow(v, Refused, c.at, v.Half[track.Server].RST)
		f.Citations = []Citation{c.cite, d.citeLast(v, track.Server, "RST in answer to it")}
	default:
		f = d.flow(v, Refused, c.at, c.icmp)
		f.Citations = []Citation{c.cite}
	}
	s.tell(d, class, rule, v, f, c.at)
}

// liveliness takes note, for calls that fail, of whether connections that there were to that machine go on.
func (w *services) liveliness(now int64) {
	hosts := map[[16]byte]*lively{}
	for _, e := range w.busy {
		for i := range e.calls {
			c := &e.calls[i]
			if now-c.at < synPatience/2 || c.Accepted != 0 || now-c.at > nearby || c.told {
				continue
			}
			h := hosts[c.Server.Addr]
			if h == nil {
				h = &lively{since: c.at}
				hosts[c.Server.Addr] = h
			}
			h.since = min(h.since, c.at)
			h.calls = append(h.calls, c)
		}
	}
	if len(hosts) == 0 {
		return
	}
	w.d.table.Each(func(c *track.Conversation) {
		h := hosts[c.Server.Addr]
		if h == nil || !counts(c) || !c.Talked() || c.First > h.since {
			return
		}
		h.heard = max(h.heard, c.Half[track.Server].Data)
		if e := w.servers[c.Server]; e != nil && e.answers.waits(c, now) {
			h.slow++
		}
		if client := &c.Half[track.Client]; client.Repeated > 0 && client.RepeatedAt > h.since-nearby {
			h.mute++
		}
	})
	for _, h := range hosts {
		for _, c := range h.calls {
			c.alive = c.alive || h.heard > c.at+synPatience/3
			c.mute = c.mute || h.mute > 1
			c.slow = c.slow || h.slow > 1
		}
	}
}

// lively is what is known of a machine.
type lively struct {
	calls []*call
	since int64 // the first of them
	heard int64 // when data last came in from it, on a connection that is older
	mute  int   // connections that send again what is not acknowledged
	slow  int   // connections that wait for a late answer
}

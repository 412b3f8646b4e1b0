package detect

import (
	"fmt"
	"time"

	"github.com/ringside/ringside/detect/track"
)

// Thresholds of server-restart.
const (
	burst      = int64(500 * time.Millisecond) // a process that ends closes all it had within milliseconds; a slow shutdown takes a little
	inUse      = int64(100 * time.Millisecond) // a connection that was silent for less
	spread     = int64(time.Second)            // and one that was silent for more do not end together by an idle time-out
	longIdle   = int64(30 * time.Second)       // no load balancer forgets connections that were used this lately
	absence    = int64(time.Second)            // of a machine that restarts, at least
	downAtMost = int64(60 * time.Second)       // refusals after it are the restart's
	aFewLive   = 5                             // one in so many connections may live on: another process of the server has it
)

// restarted looks whether a server has ended all its connections at once, and is not there for a moment; or does not know
// any of them any more.
func (w *services) restarted(e *server, now int64) {
	if len(e.ends) == 0 {
		return
	}
	var hits []*ending
	flows := distinct{}
	for i := range e.ends {
		if n := &e.ends[i]; !n.told && now-n.at <= nearby+judgeAfter && counts(n.Conversation) && flows.add(n.Conversation) {
			hits = append(hits, n)
		}
	}
	if len(hits) == 0 {
		return
	}
	if e.restart.open(now) {
		for _, n := range hits {
			if n.at <= e.restart.last+nearby && (n.rst || n.at-e.restart.last < burst) {
				w.tellRestart(e, n, now)
			}
		}
		return
	}
	first := hits[0].at
	if now-first < judgeAfter {
		return
	}
	if w.moved(e, first) || w.closedAll(e, hits, now) {
		return
	}
	w.forgotAll(e, hits, now)
}

// closedAll is the restart of a process: its connections end within a moment, and then it is not there, or they end no matter
// how long each had been idle.
func (w *services) closedAll(e *server, hits []*ending, now int64) bool {
	for i := range hits {
		first := hits[i].at
		n, busy, longest := 0, 0, hits[i].idle
		for _, h := range hits[i:] {
			if h.at-first > burst {
				break
			}
			n++
			longest = max(longest, h.idle)
			if h.asked || h.idle < inUse {
				busy++
			}
		}
		away, unanswered := w.away(e, first, now)
		if n+away < someFlows || now-first < judgeAfter {
			continue
		}
		sure := 0.0
		switch {
		case away > 0 && n >= someFlows:
			sure = 0.95
		case away > unanswered:
			sure = 0.8
		case n > someFlows && busy > 1 && longest > spread && e.connected > first:
			sure = 0.7
		default:
			continue
		}
		if lives := w.survivors(e, first, now); lives*aFewLive > n {
			continue
		}
		for _, h := range hits[i : i+n] {
			w.tellRestart(e, h, now)
		}
		e.restart.finding.Confidence = sure
		if away == 0 && w.forgot(hits[i:i+n]) {
			e.restart.finding.Confidence = w.sureForgot(hits[i : i+n])
			e.doubt()
		}
		return true
	}
	return false
}

// away counts the calls after a time that the server did not take, before it took one; unanswered are those of them that
// were not even refused.
func (w *services) away(e *server, since, now int64) (n, unanswered int) {
	for _, c := range e.calls {
		if c.at < since || !c.ok() || !counts(c.Conversation) {
			continue
		}
		switch outcome(&c, now) {
		case taken:
			if n > 0 {
				return n, unanswered
			}
		case silent:
			n, unanswered = n+1, unanswered+1
		case refused, rejected:
			n++
		}
	}
	return n, unanswered
}

// forgotAll is the restart of a machine: it knows none of its connections any more, and answers their segments with RST on the
// ports that they always had.
func (w *services) forgotAll(e *server, hits []*ending, now int64) {
	var last int64
	n := 0
	for _, h := range hits {
		if h.rst && h.replies {
			n, last = n+1, h.at
		}
	}
	first := hits[0].at
	if !w.forgot(hits) || now-last < judgeAfter && now-first < nearby/2 {
		return
	}
	if w.survivors(e, first, now)*aFewLive > n {
		return
	}
	for _, h := range hits {
		if h.rst && h.replies {
			w.tellRestart(e, h, now)
		}
	}
	e.restart.finding.Confidence = w.sureForgot(hits)
	e.doubt()
}

// forgot says whether connections ended by RST in reply to their own segments, and were used lately.
func (w *services) forgot(hits []*ending) bool {
	n, lately := 0, 0
	for _, h := range hits {
		if !h.rst || !h.replies {
			continue
		}
		n++
		if pause(h.Conversation, h.at) < longIdle {
			lately++
		}
	}
	return n >= someFlows && lately*2 >= n && n*2 > len(hits)
}

// sureForgot is how sure it is. Where packets come from the client itself, they have not been translated yet, and a loss of
// the node's translation looks the same; but it takes no time, and all servers' connections are hit.
func (w *services) sureForgot(hits []*ending) float64 {
	waited, translated := false, false
	for _, h := range hits {
		client := &h.Half[track.Client]
		translated = translated || !made(client.TTL)
		waited = waited || client.Repeated > 0 && h.at-client.RepeatedAt > absence
	}
	alone := true
	for _, e := range w.busy {
		for _, h := range e.ends {
			if h.Server.Addr != hits[0].Server.Addr && h.rst && h.replies && h.at-hits[0].at < absence && hits[0].at-h.at < absence {
				alone = false
			}
		}
	}
	if translated || waited && alone {
		return 0.9
	}
	return 0.45
}

// doubt says what is left of a finding that is not sure.
func (e *server) doubt() {
	f := e.restart.finding
	if f.Confidence >= 0.5 {
		return
	}
	f.Class, f.Rule = Suspect, "reset-without-absence"
	f.Text = fmt.Sprintf("%s of %s were answered with RST within %s, and the server was never away: it, or a translation on the way to it, has forgotten them",
		some(f.Count, "connection"), e.at, seconds(int64(f.Last.Sub(f.First))))
}

// pause is how long a connection had been silent before what led to its end at a time.
func pause(c *track.Conversation, at int64) int64 {
	if c.WentOn != 0 && at-c.WentOn < int64(5*time.Second) {
		return c.WentOn - c.PausedAt
	}
	return 0
}

// survivors counts the server's connections that were there at a time and went on afterwards.
func (w *services) survivors(e *server, at, now int64) (n int) {
	w.d.table.Each(func(c *track.Conversation) {
		h := &c.Half[track.Server]
		if c.Server == e.at && c.First < at && c.Talked() && counts(c) && h.RST|h.FIN == 0 && h.Last > at+burst {
			n++
		}
	})
	return n
}

// tellRestart adds a connection that the server ended.
func (w *services) tellRestart(e *server, h *ending, now int64) {
	h.told = true
	d := w.d
	fate := Closed
	if h.rst || h.Half[track.Server].RST != 0 {
		fate = Reset
	}
	f := d.flow(h.Conversation, fate, h.at, h.at)
	f.Citations = []Citation{h.cite}
	if !e.restart.tell(d, ServerRestart, "server-ended-all", h.Conversation, f, h.at) {
		return
	}
	g := e.restart.finding
	away := 0
	for _, c := range e.calls {
		if c.at >= g.First.UnixNano() && c.ok() && counts(c.Conversation) {
			switch outcome(&c, now) {
			case refused, rejected, silent:
				if away == 0 && len(g.Citations) < MaxCitations {
					g.Citations = append(g.Citations, d.citeLast(c.Conversation, track.Server, "and it does not take a new connection"))
				}
				away++
			}
		}
	}
	g.Text = fmt.Sprintf("%s ended %s that it knew within %s", e.at, some(g.Count, "connection"), seconds(int64(g.Last.Sub(g.First))))
	if g.Class == Suspect {
		e.doubt()
		return
	}
	if away > 0 {
		g.Text += fmt.Sprintf(", and did not take %s that followed", some(away, "new one"))
	}
}

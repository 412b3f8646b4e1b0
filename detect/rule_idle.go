package detect

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ringside/ringside/detect/track"
)

// Thresholds of server-idle-timeout.
const (
	lateRequest = int64(100 * time.Millisecond) // after the server's FIN: what comes sooner has crossed it, or takes leave (TLS)
	idleAlike   = 5                             // idle times differ by no more than one in so many of the longest
	idleSlack   = int64(300 * time.Millisecond) // or by that: timers of servers are coarse
	reconnect   = int64(2 * time.Second)        // within which a client that was hurt connects anew
)

// idled looks whether a server ends connections after the same time of silence, which clients want to use again.
func (w *services) idled(e *server, now int64) {
	if len(e.hurt) == 0 || e.restart.finding != nil && now-e.restart.last < downAtMost {
		return
	}
	var hits []*ending
	fresh, flows := false, distinct{}
	for i := range e.hurt {
		if n := &e.hurt[i]; counts(n.Conversation) && now-n.at > judgeAfter && (n.told || w.calledAgain(e, n)) && flows.add(n.Conversation) {
			hits = append(hits, n)
			fresh = fresh || !n.told
		}
	}
	if !fresh || len(hits) < someFlows || w.moved(e, hits[0].at) {
		return
	}
	slices.SortFunc(hits, func(a, b *ending) int { return cmp.Compare(a.idle, b.idle) })
	n, limit := alike(hits)
	if n < someFlows || n*2 < len(hits) {
		return
	}
	d := w.d
	for _, h := range hits {
		if h.told || h.idle < limit {
			continue
		}
		h.told = true
		fin := h.Half[track.Server].FIN
		f := d.flow(h.Conversation, Reset, fin, h.at)
		f.Citations = []Citation{h.fin, h.cite}
		e.idle.tell(d, ServerIdleTimeout, "closed-when-idle", h.Conversation, f, h.at)
	}
	e.idle.finding.Confidence = 0.9
	e.idle.finding.Text = fmt.Sprintf("%s ended %s with FIN after %s of silence or more; the next request was answered with RST",
		e.at, some(e.idle.finding.Count, "connection"), seconds(limit))
}

// alike finds the largest number of connections that ended after about the same time, and that time.
func alike(hits []*ending) (n int, limit int64) {
	for i, h := range hits {
		j := i
		for j < len(hits) && hits[j].idle-h.idle <= max(idleSlack, h.idle/idleAlike) {
			j++
		}
		if j-i > n {
			n, limit = j-i, h.idle
		}
	}
	return n, limit
}

// askedLate takes a connection of which the client asked for something after the server had ended it, and was reset.
func (w *services) askedLate(e *server, h ending) {
	for _, f := range e.ends {
		if f.serial != h.serial {
			continue
		}
		if h.sent-f.sent <= farewell && slices.Contains(tlsPorts, e.at.Port) {
			return
		}
		h.idle, h.fin = f.idle, f.cite
		e.hurt = keep(w, e.hurt, h)
		return
	}
}

// farewell is the size of what TLS sends when a client closes a connection, at most: an alert, encrypted.
const farewell = 100

// tlsPorts are ports whose clients send one.
var tlsPorts = []uint16{443, 465, 587, 636, 853, 989, 990, 993, 995, 5061, 6443, 8443, 9443}

// calledAgain says whether the client connected anew, as one does that wanted an answer.
func (w *services) calledAgain(e *server, h *ending) bool {
	for _, c := range e.calls {
		if c.ok() && c.Client.Addr == h.Client.Addr && c.at > h.at-reconnect/2 && c.at < h.at+reconnect {
			return true
		}
	}
	return false
}

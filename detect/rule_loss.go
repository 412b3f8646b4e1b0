package detect

import (
	"fmt"
	"slices"
	"time"

	"github.com/ringside/ringside/detect/track"
)

// Thresholds of path-loss.
const (
	lossFor     = int64(20 * time.Second)        // as long as it is looked at: 2 % of a slow service's segments are few
	lossEvents  = 6                              // segments that were sent again and then acknowledged
	lossData    = 500                            // segments: a share of a few says nothing
	lossSeconds = 4                              // distinct seconds that have one: congestion and stalls come in one piece
	lossLasts   = int64(1200 * time.Millisecond) // two retransmissions, or that of a SYN: what takes longer is an interruption
	lossPercent = 0.4                            // of segments with payload, that were sent again after a time-out: a quarter to a third of those that a path loses are
)

// losses looks for segments that are sent again on several connections, again and again, while the path works.
type losses struct {
	waiting map[uint64]lostSegment
	events  []lossEvent
	data    []dataSeen // of the vantages' data, each second
	story
}

// lostSegment is one that was sent again and is not acknowledged yet.
type lostSegment struct {
	ref
	since   int64
	stamp   uint32 // of what was sent again
	stamped bool
	cite    Citation
}

// lossEvent is one that was.
type lossEvent struct {
	lostSegment
	at int64
}

// dataSeen is how many segments with payload had been seen at a time.
type dataSeen struct {
	at int64
	n  uint64
}

func (l *losses) packet(d *Detector, s *track.Seen) {
	c, p := s.Conversation, s.Packet
	key := c.Serial<<1 | uint64(s.From)
	switch {
	case c.Half[track.Client].RST|c.Half[track.Server].RST != 0: // whose segments those are that come after it is not known
	case s.News&track.Accepted != 0 && c.SYNs > 1 && p.Time-c.Opened > synPatience && p.Time-c.Opened < lossLasts:
		l.lost(d, s, c.Opened)
	case s.News&track.Again != 0 && timedOut(s.Flags):
		if _, ok := l.waiting[key]; !ok && len(l.waiting) < maxStalls {
			if l.waiting == nil {
				l.waiting = map[uint64]lostSegment{}
			}
			since := c.Half[s.From].Waiting
			if since == 0 {
				since = p.Time
			}
			l.waiting[key] = lostSegment{refer(c), since, p.TSVal, p.Stamped, d.citation(p, "sent again, because it was not acknowledged")}
		}
	}
	if s.News&track.Progress != 0 {
		n, ok := l.waiting[key^1]
		delete(l.waiting, key^1)
		// The reply to what was sent first says that it was late, not lost (RFC 3522). What came in meanwhile on any
		// connection shows that it is no outage.
		if n.stamped && p.Stamped && track.Less(p.TSEcr, n.stamp) {
			return
		}
		if ok && p.Time-n.since < lossLasts && d.vantages[p.Vantage].in > n.since && len(l.events) < maxStalls {
			l.events = append(l.events, lossEvent{n, p.Time})
		}
	}
}

// lost takes a segment or an acknowledgement that was lost for sure.
func (l *losses) lost(d *Detector, s *track.Seen, since int64) {
	if len(l.events) < maxStalls {
		n := lostSegment{ref: refer(s.Conversation), since: since, cite: d.citation(s.Packet, "this had to be sent again")}
		l.events = append(l.events, lossEvent{n, s.Packet.Time})
	}
}

func (l *losses) tick(w *services, now int64) {
	d := w.d
	if len(l.data) == 0 || now-l.data[len(l.data)-1].at >= int64(time.Second) {
		var n uint64
		for i := range d.vantages {
			if len(d.vantages[i].paths) == 0 {
				n += d.vantages[i].data
			}
		}
		l.data = append(l.data, dataSeen{now, n})
		if now-l.data[0].at > lossFor+int64(time.Second) {
			l.data = slices.Delete(l.data, 0, 1)
		}
		for key, n := range l.waiting {
			if !n.ok() || now-n.since > remembered {
				delete(l.waiting, key)
			}
		}
	}
	if len(l.events) == 0 {
		return
	}
	l.events = slices.DeleteFunc(l.events, func(e lossEvent) bool { return !e.ok() || now-e.at > lossFor })
	l.judge(w, now)
}

func (l *losses) judge(w *services, now int64) {
	if w.outages.now != nil {
		return
	}
	flows, seen := distinct{}, map[int64]bool{}
	n := 0
	from := now
	for _, e := range l.events {
		if !counts(e.Conversation) || now-e.at < int64(time.Second) || w.outages.open(now) && e.since < w.outages.last {
			continue
		}
		n++
		from = min(from, e.at)
		flows.add(e.Conversation)
		seen[e.at/int64(time.Second)] = true
	}
	before := l.data[0]
	for _, s := range l.data {
		if s.at < from {
			before = s
		}
	}
	data := l.data[len(l.data)-1].n - before.n
	percent := 100 * float64(n) / float64(max(data, 1))
	if n < lossEvents || data < lossData || len(flows) < someFlows || len(seen) < lossSeconds || percent < lossPercent {
		return
	}
	for _, e := range l.events {
		if !counts(e.Conversation) || now-e.at < int64(time.Second) || w.outages.open(now) && e.since < w.outages.last {
			continue
		}
		f := w.d.flow(e.Conversation, Recovered, e.since, e.at)
		f.Citations = []Citation{e.cite}
		if !l.tell(w.d, PathLoss, "sent-again", e.Conversation, f, e.at) {
			l.finding.Last = at(max(l.finding.Last.UnixNano(), e.at))
		}
	}
	l.finding.Confidence = max(l.finding.Confidence, 0.85)
	l.finding.Text = fmt.Sprintf("of %s, %d of %d segments with payload within %s were sent again and then acknowledged: the network loses packets",
		some(len(flows), "connection"), n, data, seconds(now-before.at))
}

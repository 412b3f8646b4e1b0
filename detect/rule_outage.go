package detect

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/detect/sequence"
	"github.com/ringside/ringside/detect/track"
)

// Thresholds of path-outage.
const (
	silence    = int64(800 * time.Millisecond) // of all a machine's connections while clients send again: shorter ones are lost packets
	outageWait = int64(3 * time.Second)        // for connections to go on: each waits for its own retransmission timer
	endless    = int64(5 * time.Second)        // an outage that lasts until the end of the capture
)

// outages looks for stretches of time in which nothing comes in from machines while clients send again and again, and
// after which connections go on as before.
type outages struct {
	stalls map[uint64]*stall
	now    *outage // the one that goes on
	story
}

// stall is a connection that waits for an answer, or for its handshake.
type stall struct {
	ref
	since int64 // when it sent what is not acknowledged
	until int64 // when it went on
	cites []Citation
}

// outage is a time of silence.
type outage struct {
	hosts  map[[16]byte]int64 // when something last came in
	from   int64
	silent int64 // when it was last seen to go on
}

const maxStalls = 4096

// packet takes a segment; known is whether the server has ever answered.
func (o *outages) packet(d *Detector, s *track.Seen, known bool) {
	c, p := s.Conversation, s.Packet
	switch {
	case s.News&track.SYNAgain != 0 && c.Accepted == 0 && known:
		o.stalled(d, s, c.Opened, "the SYN is sent again")
	case s.News&track.Again != 0 && s.From == track.Client && s.Flags&sequence.TimeOut != 0 && s.Flags&sequence.Spurious == 0:
		since := c.Half[track.Client].Waiting
		if since == 0 {
			since = c.Half[track.Client].RepeatedAt
		}
		o.stalled(d, s, since, "the client sends again what is not acknowledged")
	case s.News&(track.Progress|track.Accepted) != 0 && s.From == track.Server:
		if n := o.stalls[c.Serial]; n != nil && n.ok() && n.until == 0 {
			n.until = p.Time
			n.cites = append(n.cites, d.citation(p, "and the connection goes on"))
		}
	}
}

func (o *outages) stalled(d *Detector, s *track.Seen, since int64, what string) {
	n := o.stalls[s.Serial]
	if n == nil || !n.ok() || n.until != 0 {
		if len(o.stalls) >= maxStalls && n == nil {
			return
		}
		if o.stalls == nil {
			o.stalls = map[uint64]*stall{}
		}
		o.stalls[s.Serial] = &stall{ref: refer(s.Conversation), since: since, cites: []Citation{d.citation(s.Packet, what)}}
	}
}

func (o *outages) tick(w *services, now int64) {
	if len(o.stalls) == 0 {
		return
	}
	for serial, n := range o.stalls {
		if !n.ok() || now-n.since > 2*remembered || n.until != 0 && now-n.until > 2*nearby {
			delete(o.stalls, serial)
		}
	}
	if o.now == nil {
		o.begin(w, now)
		return
	}
	quiet := o.quiet(w, now)
	for host, last := range o.now.hosts {
		if q, ok := quiet[host]; ok && q == last {
			o.now.silent = now
		}
	}
	if now-o.now.silent > outageWait {
		o.judge(w)
		o.now = nil
	} else if now-o.now.from > 2*remembered {
		o.now = nil // those connections are given up by now
	}
}

// quiet is the machines that connections wait for, and when something last came in from them.
func (o *outages) quiet(w *services, now int64) map[[16]byte]int64 {
	hosts := map[[16]byte]int64{}
	for _, n := range o.stalls {
		if n.until == 0 && counts(n.Conversation) && n.Half[track.Server].RST == 0 {
			hosts[n.Server.Addr] = 0
		}
	}
	if len(hosts) == 0 {
		return hosts
	}
	w.d.table.Each(func(c *track.Conversation) {
		if last, ok := hosts[c.Server.Addr]; ok && c.Half[track.Server].Last > last {
			hosts[c.Server.Addr] = c.Half[track.Server].Last
		}
	})
	for host, last := range hosts {
		if last == 0 || now-last < silence {
			delete(hosts, host)
		}
	}
	return hosts
}

// begin looks whether there is an outage now.
func (o *outages) begin(w *services, now int64) {
	waiting, data := 0, 0
	for _, n := range o.stalls {
		if n.until == 0 && now-n.since >= silence && now-n.since < nearby {
			waiting++
			if n.Accepted != 0 || n.MidStream() {
				data++
			}
		}
	}
	if waiting < someFlows || data < someFlows-1 {
		return
	}
	quiet := o.quiet(w, now)
	flows := distinct{}
	from := now
	for _, s := range o.stalls {
		last, ok := quiet[s.Server.Addr]
		if ok && s.until == 0 && now-s.since < nearby && counts(s.Conversation) && !w.d.isBlind(s.Vantage, last) {
			flows.add(s.Conversation)
			from = min(from, max(last, s.since-nearby))
		}
	}
	if len(flows) >= someFlows {
		o.now = &outage{hosts: quiet, from: from, silent: now}
	}
}

// judge decides when it is over: connections that went on prove that it was the path, those that were reset that it was not.
func (o *outages) judge(w *services) {
	var well []*stall
	gone, flows := 0, distinct{}
	resumed := int64(0)
	for _, n := range o.stalls {
		if _, ok := o.now.hosts[n.Server.Addr]; !ok || !n.ok() || !counts(n.Conversation) || n.since > o.now.silent {
			continue
		}
		switch {
		case n.Half[track.Server].RST != 0 || n.until == 0:
			gone++
		case n.until > o.now.from:
			well = append(well, n)
			flows.add(n.Conversation)
			if resumed == 0 || n.until < resumed {
				resumed = n.until
			}
		}
	}
	if len(flows) < someFlows || gone > len(well)/2 {
		return
	}
	inOrder(well)
	for _, n := range well {
		o.add(w, n, Recovered, n.until)
	}
	f := o.finding
	f.Confidence = 0.92
	f.Text = fmt.Sprintf("nothing came in from %s for %s, while %s sent again; then %s went on under the same names",
		hosts(o.now.hosts), seconds(resumed-o.now.from), some(f.Count, "connection"), some(len(flows), "connection"))
}

func (o *outages) add(w *services, n *stall, fate string, last int64) {
	f := w.d.flow(n.Conversation, fate, n.since, last)
	f.Citations = n.cites
	o.tell(w.d, PathOutage, "nothing-comes-in", n.Conversation, f, last)
}

// end judges an outage that the capture does not show the end of: what it was cannot be told for certain.
func (o *outages) end(w *services) {
	if o.now == nil {
		return
	}
	now := w.d.now
	if now-o.now.silent > int64(time.Second) {
		o.judge(w)
		return
	}
	if now-o.now.from < endless {
		return
	}
	var lost []*stall
	for _, s := range o.stalls {
		_, ok := o.now.hosts[s.Server.Addr]
		if ok && s.ok() && s.until == 0 && counts(s.Conversation) && s.Talked() && s.since > o.now.from-silence && s.since-o.now.from < nearby {
			lost = append(lost, s)
		}
	}
	if len(lost) < someFlows || len(o.now.hosts) > 2 && w.d.vantages[lost[0].Vantage].in > o.now.from+endless {
		return // that so many machines are silent and others are not has many reasons
	}
	inOrder(lost)
	from, n := o.now.from, len(lost)
	for _, s := range lost {
		o.add(w, s, Hung, now)
	}
	o.finding.Confidence = 0.4
	if len(o.now.hosts) > 1 {
		o.finding.Confidence = 0.6
	}
	o.finding.Text = fmt.Sprintf("nothing came in from %s for the last %s of the capture, while %s sent again",
		hosts(o.now.hosts), seconds(now-from), some(n, "connection"))
}

func inOrder(list []*stall) {
	slices.SortFunc(list, func(a, b *stall) int { return cmp.Or(cmp.Compare(a.since, b.since), cmp.Compare(a.serial, b.serial)) })
}

// hosts names machines.
func hosts(list map[[16]byte]int64) string {
	var names []string
	for host := range list {
		names = append(names, frame.Endpoint{Addr: host}.IP().String())
	}
	return all(names)
}

package detect

import (
	"slices"
	"time"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/detect/track"
)

// vanishAfter is how long a segment may take through the node, in ns, before it counts as vanished: microseconds, but
// rings are read in turn, and an address that is gone for a moment is no loss of state.
const vanishAfter = int64(600 * time.Millisecond)

// vanished finds what enters the node and does not leave it: of connections that were there, of new ones, and of all of
// one pod. It needs vantages on both sides.
type vanished struct {
	base
	looked int64
	syns   []ref            // that vanished, and are not reported
	mute   map[uint16]int64 // vantages of pods that were reported as gone, and when
}

func newVanished(d *Detector) *vanished {
	return &vanished{base: base{d}, mute: map[uint16]int64{}}
}

// Marks of a conversation that was counted.
const (
	markVanished = 2 << iota
	markForged
	markSYN
	markMute
	markTold
)

func (v *vanished) tick(now int64) {
	if v.d.links.total < 2 || now-v.looked < int64(500*time.Millisecond) {
		return
	}
	v.looked = now
	gone := map[uint16][]*track.Conversation{}
	v.d.table.Each(func(c *track.Conversation) {
		out := c.Out()
		if out == nil {
			if c.SYNs >= 2 && c.Accepted == 0 {
				v.syn(c, now)
			}
			return
		}
		if p := v.d.vantages[c.Vantage].paths[out.Vantage]; p != nil {
			p.passed = max(p.passed, out.Half[track.Client].Data)
			v.outward(c, out, p, now)
			v.inward(c, out, now, gone)
		}
	})
	for i := range v.d.vantages {
		for _, p := range v.d.vantages[i].paths {
			p.lately.add(p.passed)
		}
	}
	v.pods(gone, now)
	if len(v.syns) > 0 {
		v.full(now)
	}
}

// outward looks for segments of the client that were sent again, and never passed. A server that acknowledges them has
// got them, whatever the capture says.
func (v *vanished) outward(c, out *track.Conversation, p *path, now int64) {
	d := v.d
	h, u := &c.Half[track.Client], &out.Half[track.Client]
	behind := h.KnowsNext() && u.KnowsNext() && track.Less(u.Next, h.Next)
	if !behind || h.KnowsAcked() && track.Less(u.Next, h.Acked) {
		return
	}
	// The same pod reaches the same server: nobody has forbidden that, and the way is open.
	way := d.links.served[served{c.Vantage, out.Server}]
	if way.to != out.Vantage || d.vantages[out.Vantage].woke > h.Waiting && made(out.Half[track.Server].TTL) {
		return // the server has moved to another interface, or its interface was away: a pod that was replaced
	}
	opened := way.opened
	server := &c.Half[track.Server]
	if server.RST != 0 && server.ResetTTL != server.TTL && made(server.ResetTTL) && out.Half[track.Server].RST == 0 && c.Mark&markForged == 0 && d.readTo(out.Vantage)-server.RST >= int64(300*time.Millisecond) &&
		now-server.RST < lossWindow && opened > server.RST && !d.isBlind(out.Vantage, h.Data) && out.Half[track.Client].RST|out.Half[track.Client].FIN == 0 {
		c.Mark |= markForged
		f := d.flow(c, Reset, server.RST, server.RST)
		f.Citations = []Citation{
			d.citeLast(c, track.Server, "the pod gets an RST in the server's name"),
			d.citeLast(out, track.Server, "the server's last segment at the uplink: it has sent no RST"),
		}
		d.loss.take(&sign{rule: ruleForgedRST, before: max(u.Last, out.Half[track.Server].Last), at: server.RST, flow: f, conv: refer(c)})
		return
	}
	if h.Repeated == 0 || c.Mark&markVanished != 0 || d.readTo(out.Vantage)-h.RepeatedAt < vanishAfter || d.isBlind(out.Vantage, h.Waiting) {
		return
	}
	if opened <= h.Waiting || out.Moved != 0 {
		return
	}
	c.Mark |= markVanished
	p.stuck++
	p.vanished += uint64(h.Repeated) + 1
	f := d.flow(c, Hung, h.Waiting, h.Last)
	f.Citations = []Citation{
		d.citeLast(c, track.Client, "sent again by the pod, and not seen at the uplink"),
		d.citeLast(out, track.Client, "the connection's last segment at the uplink"),
	}
	d.loss.take(&sign{rule: ruleVanished, before: max(u.Last, out.Half[track.Server].Last), at: h.Waiting, flow: f, conv: refer(c), waits: track.Client, sent: h.Repeated})
}

// inward looks for segments of the server that were sent again, and never reached the pod.
func (v *vanished) inward(c, out *track.Conversation, now int64, gone map[uint16][]*track.Conversation) {
	d := v.d
	sp, su := &c.Half[track.Server], &out.Half[track.Server]
	if su.Repeated < 2 || !sp.KnowsNext() || !su.KnowsNext() || !track.Less(sp.Next, su.Next) || out.Mark&(markVanished|markMute) != 0 {
		return
	}
	if d.readTo(c.Vantage)-su.RepeatedAt < vanishAfter || d.isBlind(c.Vantage, su.Waiting) || now-su.RepeatedAt > int64(30*time.Second) {
		return
	}
	pod := &d.vantages[c.Vantage]
	if pod.seen < su.Waiting {
		if pod.File != d.vantages[out.Vantage].File {
			return // a capture of its own, which may have ended
		}
		gone[c.Vantage] = append(gone[c.Vantage], out)
		return
	}
	if pod.in <= su.RepeatedAt {
		return
	}
	out.Mark |= markVanished
	f := d.flow(out, Hung, su.Waiting, su.Last)
	f.Citations = []Citation{
		d.citeLast(out, track.Server, "sent again by the server, and not seen on the pod's side"),
		d.citeLast(c, track.Server, "the connection's last segment on the pod's side"),
	}
	d.loss.take(&sign{rule: ruleVanished, before: max(sp.Last, c.Half[track.Client].Last), at: su.Waiting, flow: f, conv: refer(out), waits: track.Server, sent: su.Repeated})
}

// firm says whether a sign is one by itself. A segment that vanished is, if it was sent again after others were seen to pass: before
// that, the way may have been closed to all, by an address or a link that was gone for a moment.
func (l *loss) firm(s *sign) bool {
	const arrive = int64(300 * time.Millisecond) // rings are read in turn
	if s.rule != ruleVanished || s.open || !s.conv.ok() {
		return s.rule != ruleVanished || s.open
	}
	h := &s.conv.Half[s.waits]
	if h.Repeated == 0 || h.Waiting != s.at || l.d.now-h.Last < arrive {
		return false
	}
	s.open = h.Repeated > s.sent
	if out := s.conv.Out(); out != nil && s.waits == track.Client {
		way := l.d.links.served[served{s.vantage, out.Server}]
		s.open = s.open || way.lately.between(s.at, h.Last)
	}
	return s.open
}

// pods reports those to which nothing gets through any more.
func (v *vanished) pods(gone map[uint16][]*track.Conversation, now int64) {
	for n, list := range gone {
		if len(list) < lossFlows || v.mute[n] != 0 {
			continue
		}
		v.mute[n] = now
		f := &Finding{Class: PodGone, Rule: rulePodMute, Confidence: 0.9}
		for _, c := range list {
			c.Mark |= markMute
			h := &c.Half[track.Server]
			w := v.d.flow(c, Hung, h.Waiting, h.Last)
			w.Citations = []Citation{v.d.citeLast(c, track.Server, "sent again by the server; nothing more is seen on the pod's side")}
			f.add(w)
		}
		f.Text = v.d.loss.text(f)
		v.d.report(f)
	}
}

// resolveFor is how long the node looks for a neighbour before it says that the host cannot be reached (three times a second).
const resolveFor = int64(3500 * time.Millisecond)

// icmp takes note that the node has said why a SYN does not leave: then it has not been dropped for want of an entry.
func (v *vanished) icmp(p *frame.Packet, c *track.Conversation, from int) {
	if c != nil && from == track.Client && c.Accepted == 0 && c.Opened != 0 && unreachable(p) {
		c.Mark |= markTold | markSYN
	}
}

// again is how soon a SYN is sent again at the earliest, in ns (RFC 6298: after a second).
const again = int64(500 * time.Millisecond)

// syn looks for new connections that enter the node where others passed before, and never leave.
func (v *vanished) syn(c *track.Conversation, now int64) {
	d := v.d
	if c.LastSYN-c.Opened < again || c.Mark&markSYN != 0 || c.In() != nil || c.Half[track.Server].Packets > 0 || now-c.Opened > int64(30*time.Second) {
		return
	}
	way, ok := d.links.served[served{c.Vantage, c.Server}]
	if !ok {
		return
	}
	p := d.vantages[c.Vantage].paths[way.to]
	if p == nil || p.flows < lossFlows || d.readTo(way.to)-c.LastSYN < int64(300*time.Millisecond) || d.isBlind(way.to, c.Opened) || p.passed <= c.LastSYN || d.vantages[way.to].woke > c.Opened {
		return
	}
	if !p.lately.between(c.Opened, c.LastSYN) {
		return // nobody passed before it was sent again: the way may have been closed to all
	}
	c.Mark |= markSYN
	if v.syns = append(v.syns, refer(c)); len(v.syns) > maxMoves {
		v.syns = v.syns[1:]
	}
}

// full reports SYNs that vanish, if it is the table that has no room. Then it is anybody's: some of a client still pass
// between others that do not, or nobody's do. Where those of some clients to some servers vanish, all of them, and those of
// others never, somebody has forbidden it.
func (v *vanished) full(now int64) {
	v.syns = slices.DeleteFunc(v.syns, func(r ref) bool { return !r.ok() || r.Mark&markTold != 0 || now-r.Opened > int64(time.Minute) })
	ripe := 0
	for _, r := range v.syns {
		if now-r.Opened > resolveFor {
			ripe++
		}
	}
	if ripe < lossFlows {
		return
	}
	first := v.syns[0].Opened
	gone := map[clientOf]bool{}
	for _, r := range v.syns {
		gone[clientOf{r.Client.Addr, r.Server}] = true
		first = min(first, r.Opened)
	}
	between, others, elsewhere := 0, 0, 0
	v.d.table.Each(func(c *track.Conversation) {
		if c.Out() == nil && c.In() == nil && c.Accepted != 0 && c.Opened > first-lossWindow && v.d.now-c.Accepted > int64(time.Second) {
			if way, ok := v.d.links.served[served{c.Vantage, c.Server}]; ok && !v.d.isBlind(way.to, c.Opened) {
				elsewhere++ // it passed, and not where this recording looks
			}
		}
		switch {
		case c.Opened <= first || c.Accepted == 0 || c.Out() == nil:
		case gone[clientOf{c.Client.Addr, c.Server}]:
			between++
		default:
			others++
		}
	})
	if others > 0 && between == 0 || elsewhere > 0 {
		return
	}
	for _, r := range v.syns {
		f := v.d.flow(r.Conversation, Hung, r.Opened, r.LastSYN)
		f.Citations = []Citation{v.d.citeLast(r.Conversation, track.Client, "a SYN, sent again, that is not seen at the uplink")}
		v.d.loss.hit(ConntrackTableFull, &sign{rule: ruleSYNVanished, key: flowKey{r.Client, r.Server}, at: r.Opened, flow: f, conv: r})
	}
	v.syns = v.syns[:0]
}

package detect

import (
	"slices"
	"time"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/detect/track"
)

// links finds out what is one connection at several vantages, and which conversation is the continuation of another whose
// address, port or interface has changed.
type links struct {
	d       *Detector
	opened  [2]map[uint32]ref // conversations by the client's first sequence number, of two stretches of time
	swapped int64
	waiting []*newcomer
	moves   []*move // in the order in which they were found
	total   int     // vantages that have had conversations
	had     map[uint16]bool

	served     map[served]passage   // where a server's connections from a vantage pass on
	translated map[clientOf]outward // what address a client had towards a server, as it names it, and where that was seen
}

// served is a server as a vantage nearer to its clients reaches it.
type served struct {
	vantage uint16
	server  frame.Endpoint
}

// outward is an address that a client is translated to, and the vantage that shows it.
type outward struct {
	addr    [16]byte
	vantage uint16
}

// passage is the vantage by which connections pass on, and when the youngest of them was opened.
type passage struct {
	to     uint16
	opened int64
	lately recent // when connections were
}

// recent is the last times of something.
type recent struct {
	at [8]int64 // in turn
	n  uint8
}

func (r *recent) add(at int64) {
	r.at[r.n%uint8(len(r.at))] = at
	r.n++
}

// between says whether any of them is between two times.
func (r *recent) between(from, to int64) bool {
	return slices.ContainsFunc(r.at[:], func(at int64) bool { return from < at && at < to })
}

// clientOf is a client of a server.
type clientOf struct {
	client [16]byte
	server frame.Endpoint
}

// ref is a conversation as it was.
type ref struct {
	*track.Conversation
	serial uint64
}

func refer(c *track.Conversation) ref { return ref{c, c.Serial} }

// ok says whether it is still the same.
func (r ref) ok() bool { return r.Conversation != nil && r.Serial == r.serial }

// move is a connection that goes on under other names, or another way.
type move struct {
	old, new ref
	vantage  uint16 // of new
	route    bool   // the same names, at another vantage
	leak     bool   // another client address
	idle     int64  // ns for which the old one had been silent, both sides
	at       int64  // when the new one was first seen
	before   int64  // when the old one was last seen
	lastOld  Citation
	firstNew Citation
	client   frame.Endpoint // old
	then     frame.Endpoint // new
	server   frame.Endpoint
	service  uint16
	answer   int64 // the server's RST for the new one
	answered Citation
	inner    frame.Endpoint // as a vantage nearer to the client knows it; zero: none does
	returned int64          // the old one went on
	taken    bool           // the server went along: it is no loss
	ttl      uint8          // of the client's packets
	closing  bool           // its first segment was a FIN
}

// Bounds of what waits, and for how long it may.
const (
	maxOpened   = 1 << 16
	maxWaiting  = 8192
	maxCompared = 64 // newcomers with a conversation: more have made up their numbers
	openedFor   = int64(4 * time.Second)
	waitFor     = int64(4 * time.Second)
	skew        = int64(3 * time.Second) // between two vantages that are read one after the other
	copyWithin  = int64(50 * time.Millisecond)
	maxMoves    = 16384
	maxReach    = 1 << 24 // sequence numbers that may be on their way
	maxServed   = 4096
)

func newLinks(d *Detector) *links {
	return &links{d: d, opened: [2]map[uint32]ref{{}, {}}, had: map[uint16]bool{},
		served: map[served]passage{}, translated: map[clientOf]outward{}}
}

// begun takes a conversation that was not known before this packet.
func (l *links) begun(s *track.Seen) {
	if !l.had[s.Vantage] {
		l.had[s.Vantage] = true
		l.total++
	}
	p := s.Packet
	if p.Flags&frame.SYN != 0 {
		if s.From == track.Client {
			l.open(s.Conversation, p)
		}
		return
	}
	if len(l.waiting) < maxWaiting {
		l.waiting = append(l.waiting, &newcomer{ref: refer(s.Conversation), seq: p.Seq, ack: p.Ack, end: p.End(), from: s.From, at: p.Time, inbound: p.In, closing: p.Flags&frame.FIN != 0,
			cite: l.d.citation(p, "")})
	}
}

// open links a connection whose SYN passes several vantages.
func (l *links) open(c *track.Conversation, p *frame.Packet) {
	for _, m := range l.opened {
		o, ok := m[p.Seq]
		if ok && o.ok() && o.Vantage == c.Vantage && o.Server == c.Server && abs(o.Opened-p.Time) < copyWithin {
			l.d.vantages[c.Vantage].mixed++
		}
		if !ok || !o.ok() || o.Vantage == c.Vantage || o.Opened == 0 || abs(o.Opened-p.Time) > skew {
			continue
		}
		if o.Server == c.Server || o.Client == c.Client || o.Half[track.Client].Stamped && o.Half[track.Client].Stamp == p.TSVal {
			l.join(o.Conversation, c, o.Half[track.Client].TTL, p.TTL, o.Opened, p.Time)
			break
		}
	}
	if len(l.opened[0]) < maxOpened {
		l.opened[0][p.Seq] = refer(c)
	}
}

// join links two views of a connection. Its client's packets lose a hop at each router, so the one with the higher hop
// limit is nearer to the client; at the same, the earlier.
func (l *links) join(a, b *track.Conversation, ttlA, ttlB uint8, atA, atB int64) {
	in, out := a, b
	if ttlB > ttlA || ttlA == ttlB && atB < atA {
		in, out = b, a
	}
	if in.Out() != nil || out.In() != nil {
		return
	}
	in.Join(out)
	v := &l.d.vantages[in.Vantage]
	p := v.paths[out.Vantage]
	if p == nil {
		p = &path{}
		v.paths[out.Vantage] = p
	}
	p.flows++
	p.last = l.d.now
	if len(l.served) >= maxServed || len(l.translated) >= maxServed { // they are learnt anew
		clear(l.served)
		clear(l.translated)
	}
	way := l.served[served{in.Vantage, out.Server}]
	way.to, way.opened = out.Vantage, max(way.opened, out.Opened)
	way.lately.add(out.Opened)
	l.served[served{in.Vantage, out.Server}] = way
	if in.Client.Addr != out.Client.Addr {
		l.translated[clientOf{in.Client.Addr, in.Server}] = outward{out.Client.Addr, out.Vantage}
	}
	if ttlA != ttlB {
		p.routed++
	}
}

func abs(n int64) int64 {
	if n < 0 {
		return -n
	}
	return n
}

// moved keeps that a newcomer continues o.
func (l *links) moved(n *newcomer, o *track.Conversation, route bool) {
	d := l.d
	c := n.Conversation
	n.settled = true
	if o.Half[track.Client].RST|o.Half[track.Server].FIN|o.Half[track.Server].RST != 0 || n.inbound && d.vantages[c.Vantage].leaves || hops(c.Half[track.Client].TTL) > maxHops {
		return // it was over; or its client is elsewhere, and so is whoever translates it
	}
	if in := o.In(); route && in != nil && in.Vantage == c.Vantage {
		return // it goes back by where it came in: what is gone is the way to a server on this node
	}
	if len(l.moves) >= maxMoves {
		forget := maxMoves / 2
		l.moves = slices.Delete(l.moves, 0, forget)
		d.loss.handled = max(d.loss.handled-forget, 0)
	}
	before := max(o.Half[0].Last, minBefore(o.Half[1].Last, n.at))
	m := &move{
		old: refer(o), new: refer(c), vantage: c.Vantage, route: route, leak: !route && o.Client.Addr != c.Client.Addr,
		idle: n.at - before, at: n.at, before: before, client: o.Client, then: c.Client, server: c.Server, service: c.Service, ttl: c.Half[track.Client].TTL, closing: n.closing,
		lastOld: d.citeLast(o, track.Client, "the connection as it was: its client's last segment"), firstNew: n.cite,
	}
	what := "goes on from another port, with the same sequence numbers"
	switch {
	case route:
		what = "goes on through another interface"
	case m.leak:
		what = "goes on from another address, with the same sequence numbers"
	}
	m.firstNew.What = what
	o.Moved, c.From = c.Serial, o.Serial
	if in := o.In(); in != nil {
		m.inner = in.Client
		in.Join(c)
	}
	l.moves = append(l.moves, m)
}

// maxHops is how many routers a packet has passed at most, from a pod to where it leaves the node.
const maxHops = 2

// hops is how many routers a packet has passed, by its hop limit: systems begin with 64, 128 or 255.
func hops(ttl uint8) int {
	for _, first := range []uint8{64, 128, 255} {
		if ttl <= first {
			return int(first - ttl)
		}
	}
	return 0
}

// minBefore is t, or 0 if it is not before at.
func minBefore(t, at int64) int64 {
	if t < at {
		return t
	}
	return 0
}

// follow looks at what became of the moves of late: the server's answer, and whether they came back.
func (l *links) follow() {
	d := l.d
	for i := len(l.moves) - 1; i >= 0; i-- {
		m := l.moves[i]
		if d.now-m.at > int64(2*time.Minute) {
			break
		}
		if m.new.ok() {
			s := &m.new.Half[track.Server]
			if m.answer == 0 && s.RST != 0 {
				m.answer = s.RST
				m.answered = d.citeLast(m.new.Conversation, track.Server, "the server does not know the connection: RST")
			}
			if m.answer == 0 && !m.route && s.Bytes > 0 && s.KnowsAck() && track.Less(m.firstSeq(), s.Ack) {
				m.taken = true
			}
		}
		if m.returned == 0 && m.old.ok() && m.old.Half[track.Client].Last > m.at && m.old.Half[track.Client].RST == 0 {
			m.returned = m.old.Half[track.Client].Last
		}
	}
}

func (m *move) firstSeq() uint32 { return m.new.Half[track.Client].Base }

// leadsOut says whether the conversation's vantage leads out of the node: its packets came from an inner one, or left here.
func (d *Detector) leadsOut(c *track.Conversation) bool {
	return c.In() != nil || d.isUplink(c.Vantage)
}

func (d *Detector) leadsOutAt(n uint16) bool { return d.isUplink(n) }

// isUplink says whether a vantage leads out of the node: because it was named so, because conversations of others pass on
// to it, or by its name where nothing else tells.
func (d *Detector) isUplink(n uint16) bool {
	v := &d.vantages[n]
	if len(d.uplinks) > 0 {
		return slices.Contains(d.uplinks, v.Name)
	}
	var out, in uint64
	for i := range d.vantages {
		if p := d.vantages[i].paths[n]; p != nil {
			out += p.flows
		}
	}
	for _, p := range v.paths {
		in += p.flows
	}
	if out+in >= 3 {
		return out > in
	}
	return uplinkName(v.Name)
}

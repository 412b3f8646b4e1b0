package detect

import (
	"slices"
	"time"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/detect/track"
)

// What the rules about servers, paths, connects, names and clients have in common.
const (
	someFlows  = 3                       // distinct connections: one or two prove nothing
	nearby     = int64(10 * time.Second) // within which they are hit
	remembered = int64(60 * time.Second) // how long what happened to a server is kept
	maxServers = 2048                    // that are followed; those that were quiet for the longest give way
	maxKept    = 512                     // of anything that is kept of a server
	maxHeld    = 1 << 15                 // of anything that is kept of all
)

// newServiceRules returns the rules about servers, paths, connects, names and clients.
func newServiceRules(d *Detector) []rule {
	return []rule{newServices(d), newDNSFailure(d)}
}

// services keeps for each server what the rules look at. A connection that is seen at several vantages counts once, where it is
// seen nearest to the server; which one that is may only be known a while later, so nothing is decided at once. A connection
// that goes on from another port, address or interface is the node's fault and not for these rules.
type services struct {
	base
	servers map[frame.Endpoint]*server
	recent  [64]*server // of them, those that answered last, by place
	busy    []*server   // of which something happened of late
	callers map[caller]int64
	held    int // entries of all servers' lists

	outages outages
	losses  losses
	clients clients
	drops   story // of connect-dropped
	rejects story // of connect-rejected
}

// server is an endpoint that has answered.
type server struct {
	at        frame.Endpoint
	service   uint16
	isBusy    bool
	last      int64 // when something happened
	connected int64 // when a handshake was last complete

	calls []call   // handshakes that were begun
	ends  []ending // connections that the server ended first
	hurt  []ending // of them, those of which the client asked for more

	rejected int64 // when calls were last found to be refused
	restart  story
	idle     story
	answers  slowness
}

// caller is a client's address, as a vantage sees it.
type caller struct {
	vantage uint16
	addr    [16]byte
}

// call is a handshake that was begun.
type call struct {
	ref
	at   int64
	icmp int64 // when ICMP said that there is no way
	cite Citation
	told bool

	alive bool // while it waited, connections to that machine went on
	mute  bool // while it waited, they waited as well
	slow  bool // while it waited, they waited for late answers
}

// ending is a connection that a side ended first.
type ending struct {
	ref
	at      int64
	idle    int64 // for how long nobody had said anything
	rst     bool
	replies bool // it is the reply to a segment of the other side
	asked   bool // in the middle of a request
	sent    uint64
	cite    Citation
	fin     Citation // of what came before
	told    bool
}

func newServices(d *Detector) *services {
	return &services{base: base{d}, servers: map[frame.Endpoint]*server{}, callers: map[caller]int64{}}
}

func (w *services) wants() track.News {
	return track.SYN | track.Accepted | track.Connected | track.Refused | track.Reset | track.Finished | track.Again | track.Answer | track.Progress
}

func (w *services) packet(s *track.Seen) {
	if s.Conversation.From != 0 {
		return
	}
	if s.News&track.Answer != 0 {
		w.answered(s)
	}
	if s.News&(track.Again|track.Progress) != 0 {
		w.losses.packet(w.d, s)
		w.outages.packet(w.d, s, w.servers[s.Server] != nil)
	}
	const rare = track.SYN | track.Accepted | track.Connected | track.Refused | track.Reset | track.Finished
	if s.News&rare != 0 {
		w.rare(s)
	}
}

// rare takes what begins and what ends a connection.
func (w *services) rare(s *track.Seen) {
	now := s.Packet.Time
	switch {
	case s.News&track.SYNAgain != 0:
		w.outages.packet(w.d, s, w.servers[s.Server] != nil)
	case s.News&track.SYN != 0:
		if e := w.servers[s.Server]; e != nil {
			w.touch(e, now)
			e.calls = keep(w, e.calls, call{ref: refer(s.Conversation), at: now, cite: w.d.citation(s.Packet, "a SYN")})
		}
	case s.News&track.Accepted != 0:
		w.outages.packet(w.d, s, w.servers[s.Server] != nil)
		w.losses.packet(w.d, s)
	case s.News&track.Connected != 0:
		if e := w.server(s.Conversation, now); e != nil {
			e.connected = now
		}
		if len(w.callers) < 8*maxServers {
			w.callers[caller{s.Vantage, s.Client.Addr}] = now
		}
	case s.News&(track.Reset|track.Finished) != 0 && s.From == track.Server:
		w.ended(s)
	case s.News&(track.Reset|track.Finished) != 0:
		w.clients.packet(w.d, s)
	}
}

// ended takes the first RST or FIN of a server.
func (w *services) ended(s *track.Seen) {
	client, server := &s.Half[track.Client], &s.Half[track.Server]
	rst := s.News&track.Reset != 0
	if client.RST != 0 || client.FIN != 0 && !(rst && server.FIN != 0) || !s.Talked() {
		return
	}
	e := w.server(s.Conversation, s.Packet.Time)
	if e == nil {
		return
	}
	n := ending{ref: refer(s.Conversation), at: s.Packet.Time, rst: rst, asked: s.Asked != 0, sent: client.Bytes}
	n.idle = n.at - max(client.Data, server.Data, s.First)
	if n.idle < goodbye { // some servers say why
		n.idle = n.at - max(client.Data, s.First)
	}
	if rst {
		n.cite = w.d.citation(s.Packet, "the server's RST")
		n.replies = n.at-client.Last < replyWithin && client.Last > server.Data
		if s.Packet.TTL+1 < server.TTL || s.Packet.TTL > server.TTL+1 {
			return // not the server's, by its hop limit
		}
	} else {
		n.cite = w.d.citation(s.Packet, "the server's FIN")
	}
	if rst && server.FIN != 0 {
		if client.Data > server.FIN+lateRequest {
			w.askedLate(e, n)
		}
		return
	}
	e.ends = keep(w, e.ends, n)
}

// replyWithin is how soon after a segment an RST comes that replies to it: a long round trip.
const replyWithin = int64(500 * time.Millisecond)

// goodbye is how soon after its last words a server that says goodbye ends a connection.
const goodbye = int64(20 * time.Millisecond)

// server finds or makes the record of a conversation's server. It is nil if there are too many.
func (w *services) server(c *track.Conversation, now int64) *server {
	e := w.servers[c.Server]
	if e == nil {
		if len(w.servers) >= maxServers && !w.evict(now) {
			return nil
		}
		e = &server{at: c.Server, service: c.Service}
		w.servers[c.Server] = e
	}
	w.touch(e, now)
	return e
}

// place is where a server is found among the recent ones.
func place(e *frame.Endpoint) int { return int(e.Addr[15]^byte(e.Port)) % 64 }

func (w *services) touch(e *server, now int64) {
	e.last = max(e.last, now)
	if !e.isBusy {
		e.isBusy = true
		w.busy = append(w.busy, e)
	}
}

// evict makes room by forgetting servers of which nothing was heard for a while.
func (w *services) evict(now int64) bool {
	before := len(w.servers)
	for at, e := range w.servers {
		if now-e.last > remembered && !e.isBusy {
			delete(w.servers, at)
			w.recent[place(&at)] = nil
		}
	}
	return len(w.servers) < before
}

func (w *services) icmp(p *frame.Packet, c *track.Conversation, from int) {
	if c == nil || from != track.Client || c.Accepted != 0 || c.Opened == 0 || !unreachable(p) || p.Out || p.Src.Addr == c.Client.Addr {
		return
	}
	e := w.servers[c.Server]
	if e == nil {
		return
	}
	for i := range e.calls {
		if n := &e.calls[i]; n.serial == c.Serial && n.icmp == 0 {
			n.icmp, n.cite = p.Time, w.d.citation(p, "an ICMP error in answer to the SYN")
		}
	}
}

// unreachable says whether an ICMP error is one of destination unreachable (RFC 792, RFC 4443).
func unreachable(p *frame.Packet) bool {
	return p.Protocol == frame.ICMP && p.Type == 3 && p.Code != 4 || p.Protocol == frame.ICMPv6 && p.Type == 1
}

func (w *services) tick(now int64) {
	w.losses.tick(w, now)
	w.outages.tick(w, now)
	w.clients.tick(w, now)
	for _, e := range w.busy {
		e.forget(now)
		w.restarted(e, now)
		w.idled(e, now)
		w.slowed(e, now)
	}
	w.connects(now)
	w.held = 0
	w.busy = slices.DeleteFunc(w.busy, func(e *server) bool {
		n := len(e.calls) + len(e.ends) + len(e.hurt) + len(e.answers.late)
		w.held += n
		e.isBusy = n > 0
		return !e.isBusy
	})
	if len(w.callers) > 4*maxServers {
		for k, at := range w.callers {
			if now-at > remembered {
				delete(w.callers, k)
			}
		}
	}
}

func (w *services) end() {
	w.outages.end(w)
	w.unanswered(w.d.now)
	for _, s := range []*story{&w.drops, &w.rejects, &w.losses.story, &w.outages.story} {
		s.close()
	}
}

// forget drops what is too old to matter.
func (e *server) forget(now int64) {
	e.calls = slices.DeleteFunc(e.calls, func(c call) bool { return !c.ok() || now-c.at > 2*nearby })
	e.ends = slices.DeleteFunc(e.ends, func(c ending) bool { return !c.ok() || now-c.at > remembered })
	e.hurt = slices.DeleteFunc(e.hurt, func(c ending) bool { return !c.ok() || now-c.at > remembered })
	e.answers.forget(now)
}

// judgeAfter is how long nothing is decided: links between vantages and moves of connections are found meanwhile, and what
// a server does next is seen.
const judgeAfter = int64(1500 * time.Millisecond)

// moved says whether connections of a server, or many of any, went on from elsewhere around a time: then resets are the
// server's answer to what the node does.
func (w *services) moved(e *server, at int64) bool {
	n := 0
	moves := w.d.links.moves
	for i := len(moves) - 1; i >= 0 && moves[i].at > at-2*nearby; i-- {
		if m := moves[i]; m.at < at+nearby {
			if m.server == e.at {
				return true
			}
			n++
		}
	}
	return n >= someFlows
}

// counts says whether a conversation is one that these rules count: the view nearest to its server, and on its own names.
func counts(c *track.Conversation) bool { return c.Out() == nil && c.From == 0 && c.Moved == 0 }

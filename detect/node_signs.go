package detect

import (
	"fmt"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/detect/track"
)

// settleIn keeps by which uplink a client's connections come about.
func (l *loss) settleIn(c *track.Conversation) {
	if !l.d.isUplink(c.Vantage) {
		return
	}
	for _, at := range [2]way{{c.Client.Addr, c.Server.Addr}, {client: c.Client.Addr}} {
		h, ok := l.homes[at]
		switch {
		case !ok:
			if len(l.homes) >= maxHomes {
				clear(l.homes) // they are learnt anew
			}
			l.homes[at] = home{vantage: c.Vantage}
		case !h.several && h.vantage != c.Vantage:
			l.homes[at] = home{several: true}
		}
	}
}

// reset looks whether an RST of the client's address is the node's own: it answers a segment of the server at once, on a
// connection that lives, and has the hop limit of a packet that was made right here, where the client's have come through the
// node. (SIGNATURES: TTL 64 where forwarded packets of that flow have 63, window 0, no timestamps, seq = the server's ack.)
func (l *loss) reset(s *track.Seen) {
	c, p := s.Conversation, s.Packet
	client, server := &c.Half[track.Client], &c.Half[track.Server]
	if server.FIN|server.RST|client.FIN != 0 || !c.Talked() || client.TTL == 0 || c.SYNs > 0 && c.Connected == 0 {
		return
	}
	if p.In && l.d.vantages[p.Vantage].leaves || hops(client.TTL) > maxHops || p.TTL == client.TTL || !made(p.TTL) || p.Window != 0 || p.Stamped && client.Stamped || p.Has(frame.ACK) {
		return
	}
	if p.Time-server.Last > answerTime || p.Time < server.Last-answerTime || !server.KnowsAck() || p.Seq != server.Ack {
		return
	}
	f := l.d.flow(c, Reset, p.Time, p.Time)
	f.Citations = []Citation{
		l.d.citeLast(c, track.Server, "the server's segment on a connection that lives"),
		l.d.citation(p, fmt.Sprintf("the node answers RST itself: hop limit %d, the client's packets have %d", p.TTL, client.TTL)),
	}
	l.take(&sign{rule: ruleNodeRST, before: l.wellBefore(c, p.Time-s.Since), at: p.Time, flow: f, conv: refer(c)})
}

// made says whether a hop limit is one that packets begin with.
func made(ttl uint8) bool { return ttl == 64 || ttl == 128 || ttl == 255 }

// wellBefore is when a connection was last seen well: its client's last packet, or what was before a pause that has just ended.
func (l *loss) wellBefore(c *track.Conversation, last int64) int64 {
	if c.WentOn != 0 && c.WentOn >= last {
		return c.PausedAt
	}
	return max(last, c.First)
}

// icmp looks whether the node itself says to the server that nobody is there.
func (l *loss) icmp(p *frame.Packet, c *track.Conversation, from int) {
	if c == nil || from != track.Server || !c.Live() || !c.Talked() || p.Dst.Addr != c.Server.Addr || p.In && l.d.vantages[p.Vantage].leaves || !refuses(p) {
		return
	}
	if p.Src.Addr != c.Client.Addr && !p.Out {
		return // a router on the way says so
	}
	f := l.d.flow(c, Hung, p.Time, p.Time)
	f.Citations = []Citation{l.d.citation(p, "the node refuses a segment of a connection that lives, by ICMP")}
	l.take(&sign{rule: ruleNodeICMP, before: l.wellBefore(c, c.Half[track.Client].Last), at: p.Time, flow: f, conv: refer(c)})
}

// refuses says whether an ICMP error is one that packet filters send, rather than routing: RFC 1812, section 5.2.7.1;
// RFC 4443, section 3.1.
func refuses(p *frame.Packet) bool {
	if p.Protocol == frame.ICMPv6 {
		return p.Type == 1 && (p.Code == 1 || p.Code == 4 || p.Code == 5 || p.Code == 6)
	}
	return p.Type == 3 && (p.Code == 3 || p.Code == 9 || p.Code == 10 || p.Code == 13)
}

// take lets a sign wait for others.
func (l *loss) take(s *sign) {
	c := s.conv.Conversation
	s.vantage = c.Vantage
	s.key = flowKey{c.Client, c.Server}
	if in := c.In(); in != nil {
		s.key.client = in.Client
	}
	if s.gap == 0 {
		s.gap = s.at - s.before
	}
	if len(l.signs) < maxMoves {
		l.signs = append(l.signs, s)
	}
}

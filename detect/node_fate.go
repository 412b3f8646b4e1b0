package detect

import "github.com/ringside/ringside/detect/track"

// settle says of each flow of an episode what has become of it.
func (l *loss) settle(e *episode) {
	for rule, f := range e.findings {
		for i, s := range e.signs[rule] {
			w := &f.Flows[i]
			if s.move != nil {
				moved := l.flowOf(s.move)
				w.Fate, w.Last, w.Citations = moved.Fate, moved.Last, moved.Citations
			}
			if s.move == nil || w.Fate == Hung {
				l.fate(s, w)
			}
			if w.Last.After(f.Last) {
				f.Last = w.Last
			}
		}
	}
}

// fate looks what became of a connection, as its client knows it: ended, or well again, or silent until the client had
// another one to that server, or until the end.
func (l *loss) fate(s *sign, w *Flow) {
	c := s.conv.Conversation
	if !s.conv.ok() {
		return
	}
	if in := c.In(); in != nil {
		c = in
	}
	client, server := &c.Half[track.Client], &c.Half[track.Server]
	switch {
	case c.SYNs > 0 && c.Accepted > s.at:
		w.Fate, w.Last = Recovered, at(c.Accepted)
	case server.RST >= s.at && s.rule != ruleNodeRST:
		w.Fate, w.Last = Reset, at(server.RST)
	case client.RST > s.at || client.FIN > s.at:
		w.Fate, w.Last = Hung, at(max(client.RST, client.FIN))
	case s.rule == ruleVanished && client.Progress > s.at && client.Outstanding() == 0 && server.Last > s.at:
		w.Fate, w.Last = Recovered, at(client.Progress)
	default:
		w.Fate, w.Last = Hung, at(l.again(s, c))
	}
}

// again is when the client of a connection had another one to the same server, or else the end of the capture.
func (l *loss) again(s *sign, hit *track.Conversation) int64 {
	then := l.d.now
	l.d.table.Each(func(c *track.Conversation) {
		if c.Connected > s.at && c.Opened > s.at && c.Connected < then && c.Vantage == hit.Vantage && c.Client.Addr == hit.Client.Addr && c.Server == hit.Server {
			then = c.Connected
		}
	})
	return then
}

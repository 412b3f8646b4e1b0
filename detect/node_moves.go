package detect

import (
	"slices"
	"time"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/detect/track"
)

// sort parts new moves by what has changed: the address, the interface, or the port alone.
func (l *loss) sort(now int64) {
	moves := l.d.links.moves
	for ; l.handled < len(moves); l.handled++ {
		l.fresh = append(l.fresh, moves[l.handled])
	}
	l.fresh = slices.DeleteFunc(l.fresh, func(m *move) bool {
		switch {
		case m.taken, m.closing && m.idle >= aWhile:
			return true // or an idle connection whose state has expired is closed, which hurts nobody
		case m.route:
			l.routes = append(l.routes, m)
			return true
		case m.leak:
			l.leaks = append(l.leaks, m)
			return true
		case m.answer == 0 && now-m.at < settle:
			return false
		}
		l.takeMove(m, rulePortMigration)
		return true
	})
}

// takeMove makes a sign of a move.
func (l *loss) takeMove(m *move, rule string) {
	f := l.flowOf(m)
	s := &sign{rule: rule, before: m.before, at: m.at, gap: m.idle, flow: f, conv: m.new, move: m, vantage: m.vantage, key: flowKey{m.client, m.server},
		from: m.client.Addr, ttl: m.ttl}
	if (m.inner != frame.Endpoint{}) {
		s.key.client = m.inner
	}
	l.signs = append(l.signs, s)
}

func (l *loss) flowOf(m *move) Flow {
	d := l.d
	f := Flow{
		Src: m.client.String(), Dst: m.server.String(), Then: m.then.String(), Service: d.names.name(m.service),
		Interface: d.vantages[m.vantage].Name, Fate: Hung, First: at(m.at), Last: at(m.at), Citations: []Citation{m.lastOld, m.firstNew},
	}
	if (m.inner != frame.Endpoint{}) {
		f.Inner = m.inner.String()
	}
	switch {
	case m.answer != 0:
		f.Fate, f.Last = Reset, at(m.answer)
		f.Citations = append(f.Citations, m.answered)
	case m.returned != 0:
		f.Fate, f.Last = Recovered, at(m.returned)
	}
	return f
}

// leaked decides about connections that go on from another address: where new ones do so too, translation as such is
// missing; where new ones are translated, only the state of the old ones is.
func (l *loss) leaked(now int64) {
	l.untranslated(now)
	if len(l.leaks) == 0 {
		return
	}
	first := l.leaks[0].at
	if now-first < leakSettle {
		return
	}
	bare, translated := 0, 0
	for _, m := range l.leaks {
		if m.returned != 0 {
			bare++ // nothing that lost its state comes back
		}
	}
	l.d.table.Each(func(c *track.Conversation) {
		if c.Opened < first-int64(time.Second) || c.Opened == 0 {
			return
		}
		for _, m := range l.leaks {
			switch {
			case c.Vantage != m.vantage:
			case c.Client.Addr == m.then.Addr && (c.Accepted == 0 || c.Server == m.server && l.d.vantages[m.vantage].mixed < lossFlows):
				bare++
				return
			case c.Client.Addr == m.client.Addr && c.Opened > first:
				translated++
				return
			}
		}
	})
	switch {
	case bare > 0 && bare >= translated:
		l.report(NATRulesLoss, ruleAddressLeak, l.leaks)
	case translated > 0 || now-first >= leakAtMost:
		for _, m := range l.leaks {
			l.takeMove(m, ruleAddressLeak)
		}
	default:
		return
	}
	l.leaks = nil
}

// untranslated looks for new connections that leave with an address that was translated before.
func (l *loss) untranslated(now int64) {
	links := l.d.links
	if len(links.translated) == 0 {
		return
	}
	for _, r := range l.syns {
		if !r.ok() || r.Accepted != 0 || r.SYNs < 2 || r.Half[track.Server].Packets > 0 || r.Mark&markBare != 0 {
			continue
		}
		in := r.In()
		if in == nil || in.Client != r.Client || r.Out() != nil {
			continue
		}
		outer, ok := links.translated[clientOf{r.Client.Addr, in.Server}]
		if !ok || outer.addr == r.Client.Addr || outer.vantage != r.Vantage {
			continue // nobody translates it there
		}
		r.Mark |= markBare
		f := l.d.flow(r.Conversation, Hung, r.Opened, r.LastSYN)
		f.Citations = []Citation{l.d.citeLast(r.Conversation, track.Client, "a SYN that leaves with the client's own address, which was translated before")}
		l.hit(NATRulesLoss, &sign{rule: ruleUntranslated, key: flowKey{r.Client, r.Server}, at: r.Opened, flow: f, conv: r})
	}
}

// report takes moves into the episode of a class.
func (l *loss) report(class Class, rule string, moves []*move) {
	for _, m := range moves {
		key := flowKey{m.client, m.server}
		if (m.inner != frame.Endpoint{}) {
			key.client = m.inner
		}
		l.hit(class, &sign{rule: rule, key: key, at: m.at, flow: l.flowOf(m), conv: m.new, move: m})
	}
}

// rerouted decides about connections that go on through another uplink: nobody answers there.
func (l *loss) rerouted(now int64) {
	for _, r := range l.syns {
		if !r.ok() || !l.astray(r) {
			continue
		}
		r.Mark |= markBare
		f := l.d.flow(r.Conversation, Hung, r.Opened, r.LastSYN)
		f.Citations = []Citation{l.d.citeLast(r.Conversation, track.Client, "a SYN by another uplink than the client's connections took before; nobody answers")}
		l.hit(RoutePolicyLoss, &sign{rule: ruleWrongUplink, key: flowKey{r.Client, r.Server}, at: r.Opened, flow: f, conv: r})
	}
	l.routes = slices.DeleteFunc(l.routes, func(m *move) bool {
		if !m.new.ok() || !m.old.ok() {
			return true
		}
		h := &m.new.Half[track.Client]
		answered := m.new.Half[track.Server].Packets > 0 || h.KnowsAcked() && !track.Less(h.Acked, h.Next) || m.old.Half[track.Client].Progress > m.at
		switch {
		case answered:
			return true // the network takes it: it has two ways
		case now-m.at < settle || h.Repeated == 0:
			return now-m.at > leakAtMost
		}
		l.report(RoutePolicyLoss, ruleWrongUplink, []*move{m})
		return true
	})
}

// astray says whether a SYN that nobody answers has left by another uplink than its client's connections have always taken.
func (l *loss) astray(r ref) bool {
	home, ok := l.homes[way{r.Client.Addr, r.Server.Addr}]
	if !ok || home.vantage == r.Vantage || l.homes[way{client: r.Client.Addr}].several {
		return false
	}
	if r.SYNs < 2 || r.Half[track.Server].Packets > 0 || r.Mark&markBare != 0 {
		return false
	}
	if in := r.In(); r.Out() != nil || in != nil && (in.Accepted != 0 || in.Vantage == home.vantage) {
		return false // it was answered another way, or left by the old way, too
	}
	if !l.d.isUplink(r.Vantage) || l.d.isBlind(r.Vantage, r.Opened) || l.oneWay(r.Vantage, r.Opened) {
		return false
	}
	return !l.ended(home.vantage, r)
}

// ended says whether the recording at a vantage was over when a connection began: in a capture that was given file by file.
func (l *loss) ended(n uint16, r ref) bool {
	v := &l.d.vantages[n]
	return v.File != l.d.vantages[r.Vantage].File && v.seen < r.Opened
}

// oneWay says whether nothing of any server has come in at a vantage of late: answers take another way.
func (l *loss) oneWay(n uint16, at int64) bool { return l.d.vantages[n].in < at-lossWindow }

// markBare marks a conversation whose SYN is counted: as untranslated, or on the wrong uplink.
const markBare = 1

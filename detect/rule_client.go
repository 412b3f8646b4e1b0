package detect

import (
	"fmt"
	"slices"
	"time"

	"github.com/ringside/ringside/detect/track"
)

// Thresholds of client-exit.
const (
	exitBurst = int64(200 * time.Millisecond) // the kernel closes what a process had at once
	exitQuiet = int64(time.Second)            // in which the client begins nothing new
	exitAge   = int64(2 * time.Second)        // of connections: a page that is left closes younger ones
)

// clients looks for addresses that end all their connections at once, in the middle of things.
type clients struct {
	ends []ending
	story
}

func (l *clients) packet(d *Detector, s *track.Seen) {
	client, server := &s.Half[track.Client], &s.Half[track.Server]
	rst := s.News&track.Reset != 0
	if server.FIN|server.RST != 0 || rst && client.FIN != 0 || !rst && client.RST != 0 || !s.Talked() {
		return
	}
	n := ending{ref: refer(s.Conversation), at: s.Packet.Time, rst: rst, asked: s.Asked != 0 || server.Waiting != 0, cite: d.citation(s.Packet, "the client's FIN")}
	if rst {
		n.cite.What = "the client's RST"
		if s.Packet.TTL != client.TTL {
			return // not the client's
		}
	}
	if len(l.ends) < maxKept {
		l.ends = append(l.ends, n)
	}
}

func (l *clients) tick(w *services, now int64) {
	l.ends = slices.DeleteFunc(l.ends, func(n ending) bool { return !n.ok() || now-n.at > nearby })
	if len(l.ends) < someFlows {
		return
	}
	groups := map[[16]byte][]*ending{}
	var order [][16]byte
	for i := range l.ends {
		n := &l.ends[i]
		if !n.told && counts(n.Conversation) && now-n.at > judgeAfter {
			addr := whose(n.Conversation)
			if groups[addr] == nil {
				order = append(order, addr)
			}
			groups[addr] = append(groups[addr], n)
		}
	}
	for _, addr := range order {
		if len(groups[addr]) >= someFlows {
			l.judge(w, addr, groups[addr])
		}
	}
}

// whose is the client's address, as the vantage nearest to it knows it.
func whose(c *track.Conversation) [16]byte {
	if in := c.In(); in != nil {
		return in.Client.Addr
	}
	return c.Client.Addr
}

// judge looks for a moment at which a client ended all it had. Those are the ends of one client, in order.
func (l *clients) judge(w *services, addr [16]byte, list []*ending) {
	for i := range list {
		j, hard, old := i, 0, 0
		servers := map[[16]byte]bool{}
		for ; j < len(list) && list[j].at-list[i].at <= exitBurst; j++ {
			h := list[j]
			servers[h.Server.Addr] = true
			if h.rst || h.asked {
				hard++
			}
			if h.at-h.First >= exitAge {
				old++
			}
		}
		if old < someFlows || len(servers) < 2 && hard < someFlows || w.goesOn(addr, list[i].at) {
			continue
		}
		l.tellExit(w, addr, list[i:j], hard)
		return
	}
}

// goesOn says whether a client did anything on another connection after a time, or began one; or whether no other client
// did: then it is the capture that shows one client's work, and its end.
func (w *services) goesOn(addr [16]byte, at int64) bool {
	on, others := false, false
	w.d.table.Each(func(c *track.Conversation) {
		client := &c.Half[track.Client]
		switch {
		case !counts(c):
		case whose(c) != addr:
			others = others || c.First < at && client.Data > at+exitQuiet && c.Half[track.Server].Data > at+exitQuiet
		case c.First > at && c.First < at+exitQuiet, c.First <= at && c.Talked() && client.FIN|client.RST == 0 && client.Last > at+exitBurst:
			on = true
		}
	})
	return on || !others
}

func (l *clients) tellExit(w *services, addr [16]byte, list []*ending, hard int) {
	for _, h := range list {
		h.told = true
		fate := Closed
		if h.rst {
			fate = Reset
		}
		f := w.d.flow(h.Conversation, fate, h.at, h.at)
		f.Citations = []Citation{h.cite}
		l.tell(w.d, ClientExit, "client-ended-all", h.Conversation, f, h.at)
	}
	f := l.finding
	f.Confidence = 0.6
	if hard >= someFlows {
		f.Confidence = 0.85
	}
	middle := ""
	if hard > 0 {
		middle = fmt.Sprintf(", %d of them in the middle of things", hard)
	}
	f.Text = fmt.Sprintf("%s ended all its %s within %s%s, and began nothing afterwards",
		hosts(map[[16]byte]int64{addr: 0}), some(f.Count, "connection"), seconds(int64(f.Last.Sub(f.First))), middle)
}

package main

import (
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/rotate"
)

// looking is a detector, and how far it has been shown what.
type looking struct {
	detector detector
	known    *[]detect.Service          // that it has the names of
	evicted  uint64                     // by the detectors before
	live     detect.Live                // of the detector, after the last chunk
	batch    [detect.Batch]frame.Packet // filled again and again

	table *pcapng.Table
	ids   []uint16 // vantages by interface id of the table
	rings map[string]*ringSeen
	names []string    // by vantage
	homes []*ringSeen // by vantage, the ring that it is in; nil before its first packet
	born  int         // vantages that there were at first
}

// ringSeen is a ring as far as it has been looked at.
type ringSeen struct {
	to       int64 // ns since 1970; 0 before the first chunk
	vantages []uint16
}

// renew begins anew at a chunk with a detector that has seen nothing. What was before it cannot know.
func (g *looking) renew(d detector, services *[]detect.Service, l *rotate.Lease) {
	again := g.known != nil
	g.evicted += g.live.Stats.Evicted
	g.detector, g.known, g.live = d, services, detect.Live{}
	g.table, g.ids, g.names, g.homes, g.rings, g.born = nil, nil, nil, nil, map[string]*ringSeen{}, l.Table.Len()
	if again {
		d.Blind(detect.Blind{From: time.Unix(0, 0).UTC(), To: time.Unix(0, l.Summary.From).UTC(), Why: "detection began anew"})
	}
}

// outgrown says that the detector is of no use for what comes: the clock was set back, or too many interfaces have come and
// gone.
func (g *looking) outgrown(next *pcapng.Summary) bool {
	r := g.rings[next.Ring]
	return r != nil && next.From < r.to || len(g.homes)-g.born > mostVantages
}

// look shows a chunk to the detector, with what is missing before it, and returns what was found.
func (g *looking) look(l *rotate.Lease) []detect.Finding {
	for _, k := range l.Skipped {
		r := g.ring(k.Ring)
		g.blind(r, k.From, k.To, k.Packets, "detection was behind")
		r.to = max(r.to, k.To)
	}
	r := g.ring(l.Summary.Ring)
	if r.to != 0 && l.Summary.From > r.to {
		g.blind(r, r.to, l.Summary.From, 0, "the ring was not read, or the clock was set")
	}
	for _, n := range l.Notes {
		if n.Kind == pcapng.NoteDropped {
			g.blind(r, n.From, n.To, n.Packets, "the ring was full")
		}
	}
	g.packets(l, r)
	r.to = l.Summary.To
	g.detector.Covered(r.to, r.vantages...)
	return g.detector.Findings()
}

// blind tells what is missing of a ring: of each of its interfaces, for nobody knows of which. The packets are told once.
func (g *looking) blind(r *ringSeen, from, to int64, packets uint64, why string) {
	b := detect.Blind{From: time.Unix(0, from).UTC(), To: time.Unix(0, to).UTC(), Packets: packets, Why: why}
	if len(r.vantages) == 0 { // whatever it has
		g.detector.Blind(b)
	}
	for _, n := range r.vantages {
		b.Vantage = g.names[n]
		g.detector.Blind(b)
		b.Packets = 0
	}
}

// packets shows those of a chunk, some at a time. What cannot be read ends the chunk: capture writes whole blocks.
func (g *looking) packets(l *rotate.Lease, r *ringSeen) {
	g.learn(l.Table)
	n := 0
	for rest := l.Blocks; ; {
		b, err := pcapng.Parse(rest)
		if err != nil {
			break
		}
		rest = rest[len(b.Raw):]
		if b.Type != pcapng.TypePacket {
			continue
		}
		e, err := b.Packet()
		if err != nil || int(e.ID) >= len(g.ids) {
			continue
		}
		p := &g.batch[n]
		p.Time, p.Vantage, p.In, p.Out = e.NS, g.ids[e.ID], e.Flags&3 == pcapng.Inbound, e.Flags&3 == pcapng.Outbound
		p.Decode(frame.Ethernet, e.Data, int(e.Original))
		if g.homes[p.Vantage] != r {
			g.move(p.Vantage, r)
		}
		if n++; n == len(g.batch) {
			g.detector.Packets(g.batch[:])
			n = 0
		}
	}
	g.detector.Packets(g.batch[:n])
}

// learn brings the vantages up to date with the interfaces of a table.
func (g *looking) learn(t *pcapng.Table) {
	if g.table != t {
		g.table, g.ids = t, g.ids[:0]
	}
	if len(g.ids) == t.Len() {
		return
	}
	for _, i := range t.Interfaces()[len(g.ids):] {
		n := g.detector.Vantage(i.Name, "")
		for len(g.homes) <= int(n) {
			g.homes, g.names = append(g.homes, nil), append(g.names, i.Name)
		}
		g.ids = append(g.ids, n)
	}
}

// move notes that a vantage's packets come by another ring than before.
func (g *looking) move(vantage uint16, to *ringSeen) {
	if from := g.homes[vantage]; from != nil {
		kept := from.vantages[:0]
		for _, n := range from.vantages {
			if n != vantage {
				kept = append(kept, n)
			}
		}
		from.vantages = kept
	}
	g.homes[vantage] = to
	to.vantages = append(to.vantages, vantage)
}

func (g *looking) ring(name string) *ringSeen {
	r := g.rings[name]
	if r == nil {
		r = &ringSeen{}
		g.rings[name] = r
	}
	return r
}

package detect

import (
	"slices"
	"time"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/detect/track"
)

// citation is a reference to a packet.
func (d *Detector) citation(p *frame.Packet, what string) Citation {
	v := &d.vantages[p.Vantage]
	return Citation{File: v.File, Interface: v.Name, TimeNS: p.Time, Frame: p.Number, What: what}
}

// citeLast is a reference to the last packet of a side.
func (d *Detector) citeLast(c *track.Conversation, side int, what string) Citation {
	v, h := &d.vantages[c.Vantage], &c.Half[side]
	return Citation{File: v.File, Interface: v.Name, TimeNS: h.Last, Frame: h.Number, What: what}
}

// flow describes a conversation that was hit.
func (d *Detector) flow(c *track.Conversation, fate string, first, last int64) Flow {
	f := Flow{
		Src: c.Client.String(), Dst: c.Server.String(), Service: d.names.name(c.Service), Interface: d.vantages[c.Vantage].Name,
		Fate: fate, First: at(first), Last: at(last),
	}
	if in := c.In(); in != nil && in.Client != c.Client {
		f.Inner = in.Client.String()
	}
	return f
}

func at(ns int64) time.Time { return time.Unix(0, ns).UTC() }

// add puts a flow into a finding, and the service it belongs to.
func (f *Finding) add(w Flow) {
	f.Count++
	known := false
	for _, s := range f.Services {
		known = known || s == w.Service
	}
	if !known && w.Service != "" {
		f.Services = append(f.Services, w.Service)
	}
	if f.First.IsZero() || w.First.Before(f.First) {
		f.First = w.First
	}
	if w.Last.After(f.Last) {
		f.Last = w.Last
	}
	for _, c := range w.Citations {
		if len(f.Citations) < MaxCitations && !slices.Contains(f.Citations, c) {
			f.Citations = append(f.Citations, c)
		}
	}
	if len(f.Flows) < MaxFlows {
		f.Flows = append(f.Flows, w)
	}
}

// maxFound is how many findings a detector that runs for long keeps, once they were told.
const maxFound = 1024

// report makes a finding known. The pointer may be used to bring it up to date until the end.
func (d *Detector) report(f *Finding) *Finding {
	if len(d.found) >= maxFound && d.told > 0 {
		d.found, d.told = d.found[1:], d.told-1
	}
	d.found = append(d.found, f)
	return f
}

// newRules returns a rule of each kind.
func newRules(d *Detector) []rule {
	d.loss = newLoss(d)
	list := []rule{d.loss, newVanished(d)}
	return append(list, newServiceRules(d)...)
}

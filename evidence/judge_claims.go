package evidence

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/ringside/ringside/detect"
)

// claim is what speaks for one class.
type claim struct {
	class       detect.Class
	sure        float64
	findings    []*detect.Finding
	hits        []*struck // distinct flows, by when they were hit
	more        int       // flows that findings counted and do not list
	services    []string
	first, last time.Time
	agreed      bool // packets and timeline say the same
}

// struck is a flow, however often it was found.
type struck struct {
	detect.Flow // as the vantage nearest to the client knows it
	name        string
	fates       map[string]bool
}

// enough is how sure a claim must be to become the verdict. A false fault of the node sends people to the wrong place at
// night, so it takes more.
func enough(class detect.Class) float64 {
	if class.Node() {
		return 0.6
	}
	return 0.5
}

func (c *claim) holds() bool {
	return c != nil && c.class != detect.StateLost && c.class != detect.Suspect && c.class != detect.None && c.sure >= enough(c.class)
}

// flows is how many flows it is about.
func (c *claim) flows() int { return len(c.hits) + c.more }

// claims sorts findings by class.
func claims(found []detect.Finding, n *names) map[detect.Class]*claim {
	all := map[detect.Class]*claim{}
	for i := range found {
		f := &found[i]
		c := all[f.Class]
		if c == nil {
			c = &claim{class: f.Class, first: f.First, last: f.Last}
			all[f.Class] = c
		}
		c.add(f)
	}
	for _, c := range all {
		c.sum(n)
	}
	return all
}

func (c *claim) add(f *detect.Finding) {
	c.findings = append(c.findings, f)
	c.first, c.last = earlier(c.first, f.First), later(c.last, f.Last)
}

// sum makes the flows and the confidence of the findings.
func (c *claim) sum(n *names) {
	byName, services, best := map[string]*struck{}, map[string]bool{}, map[string]float64{}
	c.more = 0
	for _, f := range c.findings {
		best[f.Rule] = max(best[f.Rule], f.Confidence)
		for i := range f.Flows {
			add(byName, n.flow(&f.Flows[i]), &f.Flows[i])
		}
		for _, s := range f.Services {
			services[s] = true
		}
		c.more = max(c.more, f.Count-len(f.Flows))
	}
	c.hits = slices.SortedFunc(maps.Values(byName), func(a, b *struck) int {
		return cmp.Or(a.First.Compare(b.First), cmp.Compare(a.name, b.name))
	})
	for _, h := range c.hits {
		if h.Service != "" {
			services[h.Service] = true
		}
	}
	delete(services, "")
	c.services = slices.Sorted(maps.Keys(services))
	c.sure = combined(slices.Collect(maps.Values(best)))
}

// combined is how sure several rules are together. One that is not likely by itself adds nothing: what is weak stays weak
// however much there is of it.
func combined(confidences []float64) float64 {
	slices.Sort(confidences)
	slices.Reverse(confidences)
	doubt, top := 1.0, 0.0
	for i, p := range confidences {
		p = min(max(p, 0), 1)
		switch {
		case i == 0:
			top = p
		case p >= 0.5:
			doubt *= 1 - p
		}
	}
	return min(top+(1-top)*(1-doubt)/2, 0.99)
}

// add merges a flow of a finding with what is known of it.
func add(hits map[string]*struck, name string, f *detect.Flow) {
	h := hits[name]
	if h == nil {
		hits[name] = &struck{Flow: *f, name: name, fates: map[string]bool{f.Fate: true}}
		return
	}
	first, last, service := earlier(h.First, f.First), later(h.Last, f.Last), cmp.Or(h.Service, f.Service)
	if h.Inner == f.Src && h.Inner != "" { // f is of the client's side
		h.Flow = *f
	}
	h.First, h.Last, h.Service = first, last, service
	h.fates[f.Fate] = true
}

// fate is what became of the flow: what the client's side saw, if a vantage there tells, else the worst.
func (h *struck) fate() string {
	if h.Inner == "" && h.Fate != "" && h.Fate != detect.Unhurt {
		return h.Fate
	}
	for _, f := range []string{detect.Reset, detect.Hung, detect.Refused, detect.Recovered, detect.Closed} {
		if h.fates[f] {
			return f
		}
	}
	return detect.Unhurt
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

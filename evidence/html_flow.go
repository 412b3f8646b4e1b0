package evidence

import (
	"cmp"
	"slices"

	"github.com/ringside/ringside/detect"
)

// shownFlow is a flow of a finding.
type shownFlow struct {
	detect.Flow
	Class  detect.Class
	Inside bool // it was seen on the client's side of the node
	Cited  []detect.Citation
	More   int    // citations
	Filter string // for the whole conversation
	Cut    string // the command that cuts just its packets
	Frames []framesOf
}

// framesOf is a display filter for what is cited of a file.
type framesOf struct{ File, Filter string }

// hits is at most so many of the flows of all findings, each once, those of the verdict's class first.
func hits(r *Report, most int) (list []shownFlow, more int) {
	type name struct{ src, dst string }
	seen := map[name]bool{}
	for _, f := range byWeight(r) {
		for _, flow := range f.Flows {
			if n := (name{flow.Src, flow.Dst}); !seen[n] {
				seen[n] = true
				list = append(list, shownFlow{Flow: flow, Class: f.Class})
			}
		}
		more += max(0, f.Count-len(f.Flows)) // those that the finding itself leaves out
	}
	list, cutOff := first(list, most)
	for i := range list {
		list[i].prepare(r)
	}
	return list, more + cutOff
}

// prepare fills in what the page says of a flow.
func (h *shownFlow) prepare(r *Report) {
	h.Cited, h.More = first(h.Citations, maxCited)
	h.Filter = conversation(h.Flow)
	h.Inside = h.Inner != ""
	if h.Inner == h.Src {
		h.Inner = "" // it was not translated
	}
	if h.Then == h.Src {
		h.Then = "" // it changed the interface, not the port
	}
	files := citedFiles(h.Citations)
	file := ""
	if len(files) > 0 {
		file = files[0]
	} else if len(r.Files) > 0 {
		file = r.Files[0].Name
	}
	h.Cut = cut(r.Incident, file, h.Filter)
	for _, file := range files {
		if f := framesFilter(h.Cited, file); f != "" {
			h.Frames = append(h.Frames, framesOf{file, f})
		}
	}
}

// way is how the packets of a flow went through the node.
type way struct {
	shownFlow
	Pod     string // the vantage nearer to the client that is cited; "" if none is
	Pods    bool   // there was a vantage on the clients' side
	Uplink  string
	Other   string       // another uplink, that it went on through
	Out, In *detect.Path // between the two; nil if nothing was measured
}

// Vanished says which of the two directions lost segments in the node, if that is what the flow suffers from.
func (w way) Vanished() *detect.Path {
	if w.Fate == detect.Reset || w.Fate == detect.Refused {
		return nil
	}
	for _, p := range []*detect.Path{w.Out, w.In} {
		if p != nil && p.Vanished > 0 {
			return p
		}
	}
	return nil
}

// ClientSide says whether the flow was seen before it passed the node.
func (w way) ClientSide() string {
	switch {
	case w.Pod != "":
		return "seen at " + w.Pod
	case w.Inside:
		return "seen on its side of the node"
	case w.Pods:
		return "not seen on its side of the node"
	}
	return "nothing was recorded on its side of the node"
}

// At is what is cited of the flow at a vantage.
func (w way) At(vantage string) []detect.Citation {
	list := slices.DeleteFunc(slices.Clone(w.Citations), func(c detect.Citation) bool { return c.Interface != vantage })
	list, _ = first(list, maxSeen)
	return list
}

// ways is examples of the flows' paths: as many fates as there are, at most one of each.
func ways(r *Report, flows []shownFlow) []way {
	var list []way
	var fates []string
	for _, f := range flows {
		if len(list) < maxWays && f.Class == r.Verdict.Class && !slices.Contains(fates, f.Fate) {
			fates = append(fates, f.Fate)
			list = append(list, newWay(r, f))
		}
	}
	return list
}

func newWay(r *Report, f shownFlow) way {
	w := way{shownFlow: f}
	uplink := map[string]bool{}
	for _, v := range r.Coverage.Vantages {
		uplink[v.Name] = v.Uplink
		w.Pods = w.Pods || !v.Uplink && v.Packets > 0
	}
	cited := slices.SortedStableFunc(slices.Values(f.Citations), func(a, b detect.Citation) int { return cmp.Compare(a.TimeNS, b.TimeNS) })
	var seenAt []string
	for _, c := range cited {
		seenAt = append(seenAt, c.Interface)
	}
	if len(cited) == 0 {
		seenAt = []string{f.Interface}
	}
	for _, name := range seenAt {
		switch {
		case name == "" || name == w.Uplink:
		case !uplink[name]:
			w.Pod = name
		case w.Uplink == "":
			w.Uplink = name
		default:
			w.Other = name
		}
	}
	for i, p := range r.Paths {
		switch {
		case w.Pod == "":
		case p.From == w.Pod && p.To == w.Uplink:
			w.Out = &r.Paths[i]
		case p.From == w.Uplink && p.To == w.Pod:
			w.In = &r.Paths[i]
		}
	}
	return w
}

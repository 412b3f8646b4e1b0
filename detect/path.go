package detect

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"

	"github.com/ringside/ringside/detect/track"
)

// path is what passes from one vantage to another.
type path struct {
	flows    uint64
	routed   uint64 // of them, those that lost a hop in between
	last     int64  // when one was linked
	passed   int64  // when payload of a client last passed
	lately   recent // passed, every half second
	vanished uint64
	stuck    uint64 // flows of which segments have vanished

	times [256]uint32 // how long segments took, by the logarithm of ns
	n     uint64
	most  int64
}

// sample is how many conversations there are to one whose time in the node is measured.
const sample = 8

// transit measures how long a segment took from one vantage to the next, if this is the second at which it is seen.
func (d *Detector) transit(s *track.Seen) {
	h := &s.Half[s.From]
	for _, o := range [2]*track.Conversation{s.In(), s.Out()} {
		if o == nil {
			continue
		}
		e := &o.Half[s.From]
		took := s.Packet.Time - e.Data
		if e.Next != h.Next || took < 0 || took > vanishAfter {
			continue
		}
		in, out := s.Vantage, o.Vantage
		if o == s.In() {
			in, out = out, in
		}
		if p := d.vantages[in].paths[out]; p != nil {
			p.took(took)
		}
	}
}

func (p *path) took(ns int64) {
	p.n++
	p.most = max(p.most, ns)
	p.times[step(ns)]++
}

// step is a quarter of an octave.
func step(ns int64) int {
	n := bits.Len64(uint64(ns))
	if n <= 2 {
		return 0
	}
	return n<<2 | int(ns>>(n-3)&3)
}

// quantile is a time that q of all did not exceed, to a quarter of an octave.
func (p *path) quantile(q float64) int64 {
	rest := uint64(q * float64(p.n))
	for i, n := range p.times {
		if uint64(n) > rest {
			return min(int64(4|i&3+1)<<max(i>>2-3, 0), p.most)
		}
		rest -= uint64(n)
	}
	return p.most
}

// result is the paths of a capture.
func (l *links) result() (list []Path) {
	for i := range l.d.vantages {
		v := &l.d.vantages[i]
		for to, p := range v.paths {
			list = append(list, Path{From: v.Name, To: l.d.vantages[to].Name, Flows: p.flows, Segments: p.n, MedianNS: p.quantile(0.5), P99NS: p.quantile(0.99), MaxNS: p.most,
				Vanished: p.vanished, VanishedFlows: p.stuck})
		}
	}
	slices.SortFunc(list, func(a, b Path) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	return list
}

// uplinkName says whether an interface's name is one that distributions give to network cards.
func uplinkName(name string) bool {
	if i := strings.LastIndexByte(name, '/'); i >= 0 { // NODE/eth0
		name = name[i+1:]
	}
	for _, prefix := range []string{"eth", "en", "bond", "team", "wlan", "wl", "ib", "wwan", "ppp"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && !strings.HasPrefix(rest, "i") { // eniX is a pod's, on AWS
			return true
		}
	}
	return name == ""
}

package evidence

import (
	"regexp"

	"github.com/ringside/ringside/detect"
)

// names knows under which addresses and ports one flow is seen: before and after translation, and after its port changed.
// A flow that several rules found at several vantages counts once.
type names struct {
	same map[string]string // a name, and another of the same flow; the one that is not here stands for all
}

func newNames() *names { return &names{same: map[string]string{}} }

// pair is the name of a flow between two endpoints, whichever of them is the client: an entry that the server's packet
// made again has it the other way round.
func pair(a, b string) string {
	if a > b {
		a, b = b, a
	}
	return a + " " + b
}

// of is the name that stands for all names of a flow.
func (n *names) of(name string) string {
	root := name
	for next, known := n.same[root]; known; next, known = n.same[root] {
		root = next
	}
	if root != name {
		n.same[name] = root
	}
	return root
}

func (n *names) join(a, b string) {
	if a, b = n.of(a), n.of(b); a != b {
		n.same[max(a, b)] = min(a, b)
	}
}

// flow is the name of a finding's flow.
func (n *names) flow(f *detect.Flow) string { return n.of(pair(f.Src, f.Dst)) }

// learn takes the names that findings link, and those that the timeline's entries link. Only entries that were lost, that
// expired or were picked up are told of with both sides and are few: ports are used again, and the entries of an hour would
// make one flow of many.
func (n *names) learn(found []detect.Finding, h *history) {
	for i := range found {
		for j := range found[i].Flows {
			f := &found[i].Flows[j]
			for _, other := range []string{f.Inner, f.Then} {
				if other != "" {
					n.join(pair(f.Src, f.Dst), pair(other, f.Dst))
				}
			}
		}
	}
	for _, e := range h.entries {
		n.join(pair(e.Src, e.Dst), pair(e.ReplySrc, e.ReplyDst))
	}
	for _, l := range h.losses {
		known := map[string]bool{}
		for name := range l.names {
			known[n.of(name)] = true
		}
		l.names = known
	}
}

// goneLine is a line of a snapshot's conntrack section: "orders-db tcp 10.20.1.11:35622 → 10.20.99.5:5432, answers
// 10.20.99.5:5432 → 10.20.10.10:21815 ESTABLISHED".
var goneLine = regexp.MustCompile(`(?:^|^(\S+) )tcp (\S+) → ([^\s,]+), answers (\S+) → (\S+) ESTABLISHED`)

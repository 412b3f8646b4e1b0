package network

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

// nobody is a Sink that takes nothing.
type nobody struct{}

func (nobody) Emit(hoststate.Event) {}
func (nobody) Blind(...string)      {}

// FuzzRoute feeds a view with datagrams as they might come: it must bear all, and keep its counts in order.
func FuzzRoute(f *testing.F) {
	for _, d := range datagrams(f, unix.NETLINK_ROUTE, everything) {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v := newView(Config{}.withDefaults(), newTeller(nobody{}), newProcesses("/nowhere", unix.NETLINK_ROUTE))
		for range 2 {
			for h, body := range messages(b) {
				v.apply(h, body, origin{msg: h})
			}
		}
		n := 0
		for _, list := range v.objects[routes] {
			n += len(list)
		}
		if n != v.routes {
			t.Errorf("%d routes are counted, %d are there", v.routes, n)
		}
	})
}

// FuzzRuleset reads what might come as chains, rules, sets, elements and generations.
func FuzzRuleset(f *testing.F) {
	for _, d := range datagrams(f, unix.NETLINK_NETFILTER, []question{
		{get: nfTables | unix.NFT_MSG_GETCHAIN}, {get: nfTables | unix.NFT_MSG_GETRULE}, {get: nfTables | unix.NFT_MSG_GETSET}}) {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &Ruleset{chains: map[string]*chain{}, sets: map[string]*set{}}
		for range 2 {
			for _, body := range messages(b) {
				r.addChain(body)
				r.addRule(body)
				r.addSet(body)
				(&set{}).addElements(body)
				parseGeneration(body)
			}
		}
		if again := *r; r.Digest() != again.Digest() {
			t.Error("one rule set has two digests")
		}
		var d RulesetChange
		d.difference(r, r)
		if len(d.Chains)+len(d.Sets) != 0 {
			t.Errorf("a rule set differs from itself: %+v", d)
		}
	})
}

// datagrams are what the kernel answers, as seeds. Without permission there are none.
func datagrams(f *testing.F, family int, questions []question) (all [][]byte) {
	f.Helper()
	s, err := open(family, 1<<20)
	if err != nil {
		return nil
	}
	defer s.close()
	for _, q := range questions {
		request := make([]byte, 16)
		if family == unix.NETLINK_NETFILTER {
			request = nfgenmsg(unix.AF_UNSPEC)
		}
		s.dump(f.Context(), q.get, request, func(h header, body []byte) {
			if len(all) < 200 {
				all = append(all, datagram(h, body))
			}
		})
	}
	return all
}

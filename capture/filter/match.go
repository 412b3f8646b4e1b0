package filter

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"golang.org/x/net/bpf"
)

// kinds are the values of slotKind that services of ports can match, the most frequent first.
var kinds = []uint32{
	protoTCP, protoUDP, protoTCP | kindV6, protoUDP | kindV6,
	protoTCP | kindLater, protoUDP | kindLater, protoTCP | kindV6 | kindLater, protoUDP | kindV6 | kindLater,
}

// matcher is the code for the kinds of packet that the same rules apply to.
type matcher struct {
	rules []rule
	v6    bool
	later bool
	start label
}

// match tries services on the packet in scratch memory: to the keep label of the first that matches, else to miss.
func (b *builder) match(services []Service, miss label) {
	var matchers []*matcher
	b.explain("which rules apply")
	b.add(bpf.LoadScratch{Dst: bpf.RegA, N: slotKind})
	for _, kind := range kinds {
		if m := b.matcher(&matchers, services, kind); m != nil {
			b.branch(jeq, kind, m.start, next)
		}
	}
	b.goTo(miss)
	for _, m := range matchers {
		b.place(m.start)
		for _, r := range m.rules {
			if m.later {
				b.matchLater(r, m.v6)
			} else {
				b.matchPorts(r, m.v6)
			}
		}
		b.goTo(miss)
	}
}

// matcher returns the one for packets of this kind, shared with other kinds if it can be; nil if no rule applies.
func (b *builder) matcher(all *[]*matcher, services []Service, kind uint32) *matcher {
	m := &matcher{v6: kind&kindV6 != 0, later: kind&kindLater != 0}
	m.rules = rulesOf(services, byte(kind&0x3f), m.v6)
	if m.later {
		m.rules = fragmentRules(m.rules)
	}
	if len(m.rules) == 0 {
		return nil
	}
	for _, other := range *all {
		sameFamily := other.v6 == m.v6 || !anyCIDR(m.rules) // without addresses the IP version makes no difference
		if other.later == m.later && sameFamily && reflect.DeepEqual(other.rules, m.rules) {
			return other
		}
	}
	m.start = b.label()
	*all = append(*all, m)
	return m
}

// fragmentRules returns what is left of rules without ports: neighbours with the same payload become one, and none
// comes after the first that takes every fragment.
func fragmentRules(rules []rule) []rule {
	var short []rule
	for _, r := range rules {
		r.ports = nil
		n := len(short)
		switch {
		case n > 0 && short[n-1].snap == r.snap:
			last := &short[n-1]
			last.names = slices.Concat(last.names, r.names)
			if last.cidrs != nil && r.cidrs != nil {
				last.cidrs = least(slices.Concat(last.cidrs, r.cidrs))
			} else {
				last.cidrs = nil
			}
		default:
			short = append(short, r)
		}
		if short[len(short)-1].cidrs == nil {
			break
		}
	}
	return short
}

func anyCIDR(rules []rule) bool {
	for _, r := range rules {
		if r.cidrs != nil {
			return true
		}
	}
	return false
}

// matchPorts tests the destination's side, then the source's.
func (b *builder) matchPorts(r rule, v6 bool) {
	b.explain("%s", r)
	keep, miss := b.keep(r.snap), b.label()
	hit, source := b.label(), b.label()
	if r.ports != nil {
		b.add(bpf.LoadScratch{Dst: bpf.RegA, N: slotDport})
		b.search(r.ports, hit, source)
	}
	if r.cidrs != nil { // else the hits of both sides share their code
		b.place(hit)
		b.contains(r.cidrs, slotDst, v6, keep)
		hit = b.label()
	}
	b.place(source)
	if r.ports != nil {
		b.add(bpf.LoadScratch{Dst: bpf.RegA, N: slotSport})
		b.search(r.ports, hit, miss)
	}
	b.place(hit)
	if r.cidrs != nil {
		b.contains(r.cidrs, slotSrc, v6, keep)
	} else {
		b.goTo(keep)
	}
	b.place(miss)
}

// matchLater tests both addresses: which side is the service's is not known without ports.
func (b *builder) matchLater(r rule, v6 bool) {
	b.explain("later fragments: %s", r)
	keep := b.keep(r.snap)
	if r.cidrs == nil {
		b.goTo(keep)
		return
	}
	b.contains(r.cidrs, slotDst, v6, keep)
	b.contains(r.cidrs, slotSrc, v6, keep)
}

// linear is how many ports are compared one after another; more are searched by halves.
const linear = 6

// search jumps to hit if A is in ranges, which are sorted and disjoint, else to miss.
func (b *builder) search(ranges []PortRange, hit, miss label) {
	if len(ranges) > linear {
		upper := b.label()
		half := len(ranges) / 2
		b.branch(jge, uint32(ranges[half].First), upper, next)
		b.search(ranges[:half], hit, miss)
		b.place(upper)
		b.search(ranges[half:], hit, miss)
		return
	}
	for i, r := range ranges {
		no := next
		if i == len(ranges)-1 {
			no = miss
		}
		if r.First == r.Last {
			b.branch(jeq, uint32(r.First), hit, no)
			continue
		}
		above := b.label()
		b.branch(jge, uint32(r.First), next, above)
		b.branch(jgt, uint32(r.Last), next, hit)
		b.place(above)
		if no == miss {
			b.goTo(miss)
		}
	}
}

// contains jumps to yes if the address in the slots from first is in one of cidrs, which are sorted by length, and
// goes on if not.
func (b *builder) contains(cidrs []netip.Prefix, first int, v6 bool, yes label) {
	found, end := b.label(), b.label()
	loaded := -1
	for i, p := range cidrs {
		no := end
		if i < len(cidrs)-1 {
			no = b.label()
		}
		words := 1
		if v6 {
			words = (p.Bits() + 31) / 32
		}
		for w := range words {
			bits := min(32, p.Bits()-32*w)
			if id := w*33 + bits; id != loaded {
				b.loadMasked(first+w, bits)
				loaded = id
			}
			yes := next
			if w == words-1 {
				yes = found
			}
			b.branch(jeq, word(p, w), yes, no)
		}
		if words > 1 {
			loaded = -1
		}
		if no != end {
			b.place(no)
		}
	}
	b.place(found)
	b.goTo(yes)
	b.place(end)
}

func (b *builder) loadMasked(slot, bits int) {
	b.add(bpf.LoadScratch{Dst: bpf.RegA, N: slot})
	if bits < 32 {
		b.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: ^uint32(0) << (32 - bits)})
	}
}

// word is the i-th 32 bits of the prefix's address.
func word(p netip.Prefix, i int) uint32 {
	return binary.BigEndian.Uint32(p.Addr().AsSlice()[4*i:])
}

// String is the rule for people.
func (r rule) String() string {
	var b strings.Builder
	b.WriteString(strings.Join(r.names, ", "))
	sep := ": port "
	for _, p := range r.ports {
		fmt.Fprintf(&b, "%s%v", sep, p)
		sep = ", "
	}
	sep = " of "
	for _, p := range r.cidrs {
		fmt.Fprintf(&b, "%s%v", sep, p)
		sep = ", "
	}
	return b.String()
}

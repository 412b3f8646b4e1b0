package filter

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// stage is what is tried at one place in the order: consecutive services of ports, or one expression.
type stage struct {
	services []Service
	expr     *expression
	snap     uint32 // of the expression
	name     string // of the expression's service
}

// stagesOf splits services, whose expressions are compiled, in their order.
func stagesOf(services []Service, compiled map[string]*expression) []stage {
	var stages []stage
	for _, s := range services {
		if s.Expression != "" {
			stages = append(stages, stage{expr: compiled[s.Expression], snap: s.snap(), name: s.Name})
			continue
		}
		if n := len(stages); n == 0 || stages[n-1].expr != nil {
			stages = append(stages, stage{})
		}
		last := &stages[len(stages)-1]
		last.services = append(last.services, s)
	}
	return stages
}

// coarsen returns services that keep everything the given ones keep, at least as much of each packet, in a smaller
// program: without addresses, the longest payload first, so that the first match is the longest one.
func coarsen(services []Service) ([]Service, []string) {
	coarse := slices.Clone(services)
	var given []string
	for i := range coarse {
		s := &coarse[i]
		if len(s.CIDRs) > 0 && len(s.Ports) > 0 { // without ports too, everything would be kept
			given = append(given, s.Name)
			s.CIDRs = nil
		}
	}
	slices.SortStableFunc(coarse, func(a, b Service) int {
		if c := cmp.Compare(b.snap(), a.snap()); c != 0 {
			return c
		}
		return cmp.Compare(len(a.Expression), len(b.Expression)) // ports side by side, so that they merge
	})
	if given == nil {
		return coarse, nil
	}
	return coarse, []string{"addresses are compared in the process instead of the kernel, for " + strings.Join(given, ", ")}
}

// rule is a service, or several with the same addresses and payload, for one IP version and protocol.
type rule struct {
	names []string
	ports []PortRange    // sorted, disjoint; nil means any
	cidrs []netip.Prefix // sorted by length; nil means any
	snap  uint32
}

// rulesOf returns what services ask of packets of one protocol and IP version.
func rulesOf(services []Service, protocol byte, v6 bool) []rule {
	var rules []rule
	for _, s := range services {
		if !s.has(protocol) {
			continue
		}
		cidrs, ok := cidrsOf(s, v6)
		if !ok {
			continue
		}
		r := rule{names: []string{s.Name}, ports: s.Ports, cidrs: cidrs, snap: s.snap()}
		if n := len(rules); n > 0 && rules[n-1].snap == r.snap && slices.Equal(rules[n-1].cidrs, r.cidrs) {
			last := &rules[n-1]
			last.names = append(last.names, s.Name)
			if last.ports == nil || r.ports == nil {
				last.ports = nil
			} else {
				last.ports = slices.Concat(last.ports, r.ports)
			}
			continue
		}
		rules = append(rules, r)
	}
	for i := range rules {
		rules[i].ports = normalise(rules[i].ports)
	}
	return rules
}

// cidrsOf returns the addresses of one IP version, nil for any, and whether s can match that version at all.
func cidrsOf(s Service, v6 bool) ([]netip.Prefix, bool) {
	if len(s.CIDRs) == 0 {
		return nil, true
	}
	var cidrs []netip.Prefix
	for _, p := range s.CIDRs {
		if p.Addr().Is6() != v6 {
			continue
		}
		if p.Bits() == 0 {
			return nil, true
		}
		cidrs = append(cidrs, p)
	}
	cidrs = least(cidrs)
	return cidrs, len(cidrs) > 0
}

// least sorts prefixes by length and leaves out those that lie in another.
func least(cidrs []netip.Prefix) []netip.Prefix {
	sorted := slices.Clone(cidrs)
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Bits(), b.Bits()), a.Addr().Compare(b.Addr()))
	})
	var disjoint []netip.Prefix
	for _, p := range sorted {
		if !slices.ContainsFunc(disjoint, func(q netip.Prefix) bool { return q.Contains(p.Addr()) }) {
			disjoint = append(disjoint, p)
		}
	}
	return disjoint
}

// normalise sorts ranges and joins those that touch.
func normalise(ranges []PortRange) []PortRange {
	if ranges == nil {
		return nil
	}
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b PortRange) int { return cmp.Compare(a.First, b.First) })
	joined := sorted[:1]
	for _, r := range sorted[1:] {
		if last := &joined[len(joined)-1]; int(r.First) <= int(last.Last)+1 {
			last.Last = max(last.Last, r.Last)
		} else {
			joined = append(joined, r)
		}
	}
	return joined
}

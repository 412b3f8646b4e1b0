package lab

import (
	"net/netip"

	"github.com/ringside/ringside/lab/netfilter"
)

// rules gives the node its address translation, and the router what a cloud's network does: it takes from each uplink
// only what bears an address of that uplink.
func (w *World) rules() error {
	w.nodeRules = netfilter.Rules{Track: true, Forward: w.setup.Forward, Input: w.setup.Input}
	for i, u := range w.Uplinks {
		if w.setup.NAT == NoNAT {
			break
		}
		n := netfilter.NAT{From: w.setup.net(podNetwork), Out: u.Link}
		if w.setup.NAT != MasqueradeKeep {
			n.Ports = netfilter.FullyRandom
		}
		if w.setup.NAT == SNATRandom {
			n.To = w.Uplinks[i].Addr.Addr()
		}
		w.nodeRules.NAT = append(w.nodeRules.NAT, n)
	}
	for i, u := range w.Uplinks {
		sources := []netip.Prefix{single(u.Addr.Addr()), netip.MustParsePrefix("0.0.0.0/32")} // DHCP has none yet
		if w.setup.IPv6 {
			sources = []netip.Prefix{single(u.Addr.Addr()), netip.MustParsePrefix("fe80::/10")}
		}
		for _, p := range w.Pods {
			if w.setup.NAT == NoNAT && p.Uplink == i {
				sources = append(sources, single(p.Addr))
			}
		}
		for _, from := range sources {
			w.routerRules.Arrive = append(w.routerRules.Arrive, netfilter.Match{In: u.Port, Source: from, Do: netfilter.Accept})
		}
		w.routerRules.Arrive = append(w.routerRules.Arrive, netfilter.Match{In: u.Port, Do: netfilter.Drop})
	}
	if err := netfilter.Apply(w.Node, w.nodeRules, w.setup.IPv6); err != nil {
		return err
	}
	if err := netfilter.Apply(w.Router, w.routerRules, w.setup.IPv6); err != nil {
		return err
	}
	return w.conntrackSysctls()
}

// NodeRules changes the node's rules, in one transaction.
func (w *World) NodeRules(change func(*netfilter.Rules)) error {
	change(&w.nodeRules)
	return netfilter.Apply(w.Node, w.nodeRules, w.setup.IPv6)
}

// RouterRules changes the router's rules, in one transaction. The router tracks no connections.
func (w *World) RouterRules(change func(*netfilter.Rules)) error {
	change(&w.routerRules)
	return netfilter.Apply(w.Router, w.routerRules, w.setup.IPv6)
}

// conntrackSysctls are there once a rule tracks connections.
func (w *World) conntrackSysctls() error {
	loose := "0"
	if w.setup.Loose {
		loose = "1"
	}
	return w.Node.Sysctl("net/netfilter/nf_conntrack_tcp_loose", loose)
}

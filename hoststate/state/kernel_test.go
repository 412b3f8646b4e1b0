package state

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"

	"github.com/ringside/ringside/hoststate/conntrack"
)

// host is a namespace with an uplink, a policy rule, a route in a table of its own, and a rule set that has the kernel track
// connections and change the source of what leaves.
type host struct {
	link    netlink.Link
	address *netlink.Addr
	rule    *netlink.Rule
	route   *netlink.Route
	nft     *nftables.Conn
	masq    *nftables.Rule
}

func newHost(t *testing.T) *host {
	t.Helper()
	if os.Getenv(inNamespace) == "" {
		t.Skip("needs root, to make a network namespace and change it (CAP_SYS_ADMIN, CAP_NET_ADMIN)")
	}
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	// Addresses of IPv6 come and change by themselves. This is the sysctl of the test's own namespace.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	up := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up0"}, PeerName: "peer0"}
	must(t, netlink.LinkAdd(up))
	peer, err := netlink.LinkByName("peer0")
	must(t, err)
	must(t, netlink.LinkSetUp(up), netlink.LinkSetUp(peer))
	t.Cleanup(func() { must(t, netlink.LinkDel(up)) })
	for _, name := range []string{"up0", "peer0"} {
		await(t, name+" up", func() bool {
			l, err := netlink.LinkByName(name)
			return err == nil && l.Attrs().OperState == netlink.OperUp
		})
	}
	h := &host{link: up, nft: &nftables.Conn{}}
	h.address, err = netlink.ParseAddr("10.9.0.7/24")
	must(t, err, netlink.AddrAdd(up, h.address))
	h.rule = netlink.NewRule()
	h.rule.Priority, h.rule.Table, h.rule.Src = 1000, 100, &net.IPNet{IP: net.IPv4(10, 9, 0, 7), Mask: net.CIDRMask(32, 32)}
	must(t, netlink.RuleAdd(h.rule))
	t.Cleanup(func() { _ = netlink.RuleDel(h.rule) }) // the test may have done it
	h.route = &netlink.Route{LinkIndex: up.Index, Table: 100, Gw: net.IPv4(10, 9, 0, 1), Dst: &net.IPNet{IP: net.IPv4(10, 20, 0, 0).To4(), Mask: net.CIDRMask(16, 32)}}
	must(t, netlink.RouteAdd(h.route))
	h.rules(t)
	return h
}

func (h *host) rules(t *testing.T) {
	t.Helper()
	table := h.nft.AddTable(&nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4})
	chain := h.nft.AddChain(&nftables.Chain{
		Name: "POSTROUTING", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	oif := func(name string) []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: append([]byte(name), make([]byte, 16-len(name))...)},
		}
	}
	h.nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(oif("other0"), &expr.Masq{})})
	h.masq = h.nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(oif("up0"), &expr.Masq{})})
	must(t, h.nft.Flush())
	t.Cleanup(func() {
		h.nft.DelTable(table)
		must(t, h.nft.Flush())
	})
	all, err := h.nft.GetRules(table, chain)
	must(t, err)
	h.masq = all[1] // with its handle
}

// TestDifference loses an address, a rule, a route and a rule of the rule set after the quiet snapshot, and has exactly those
// in the difference.
func TestDifference(t *testing.T) {
	h := newHost(t)
	k := New(Config{})
	m := run(t, k)
	await(t, "the quiet snapshot", func() bool { return len(m.seen()) == 1 })
	quiet := m.seen()[0]
	if s := data(t, quiet); quiet.Subject != Quiet || s.section(t, "rules").Lines != nil || s.section(t, "rules").Total < 4 || s.section(t, "ruleset").Digest == "" {
		t.Errorf("quiet: %+v", quiet)
	}
	must(t, netlink.RouteDel(h.route), netlink.RuleDel(h.rule))
	must(t, netlink.AddrDel(h.link, h.address))
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: h.link.Attrs().Index, Table: 100, Scope: netlink.SCOPE_LINK, Dst: h.route.Dst}))
	must(t, h.nft.DelRule(h.masq), h.nft.Flush())

	e := k.Take(t.Context(), Trigger, "id")
	if e.Subject != Trigger || e.Incident != "id" || e.Kind != Kind || len(e.Data) > mostData {
		t.Errorf("event %+v", e)
	}
	s := data(t, e)
	if s.Quiet == nil || !s.Quiet.Equal(quiet.Time) {
		t.Errorf("compared with %v, the quiet one was at %v", s.Quiet, quiet.Time)
	}
	// What is added and removed, each line by words that must be in it.
	for name, want := range map[string]struct{ added, removed [][]string }{
		"links":     {},
		"addresses": {removed: [][]string{{"10.9.0.7/24"}}},
		"rules":     {removed: [][]string{{"1000", "10.9.0.7"}}},
		"routes": { // with the address go the routes that the kernel had made for it
			added:   [][]string{{"10.20.0.0/16", "up0"}},
			removed: [][]string{{"10.9.0.0/24", "up0"}, {"local 10.9.0.7 "}, {"broadcast 10.9.0.255 "}, {"10.20.0.0/16", "10.9.0.1"}},
		},
		"ruleset": {added: [][]string{{"POSTROUTING", "1 rules"}}, removed: [][]string{{"POSTROUTING", "2 rules"}, {"POSTROUTING", "up0", "masq"}}},
		"sysctls": {},
	} {
		got := s.section(t, name)
		if got.Error != "" || got.NotCompared != "" || got.ChangesLeftOut > 0 || got.Total != len(got.Lines)+got.LeftOut {
			t.Errorf("%s: %+v", name, got)
		}
		exactly(t, name+" added", got.Added, want.added)
		exactly(t, name+" removed", got.Removed, want.removed)
	}
	if got := s.section(t, "sockets").Error; !strings.Contains(got, "no service") {
		t.Errorf("sockets: %q", got)
	}
	if !strings.Contains(e.Text, "addresses -1, routes +1 -4, rules -1, ruleset +1 -2; without conntrack, sockets") {
		t.Errorf("text %q", e.Text)
	}
	t.Logf("%d bytes in %d ms: %s", len(e.Data), s.TookMS, e.Text)
}

// exactly holds lines against the words that each must have.
func exactly(t *testing.T, what string, lines []string, want [][]string) {
	t.Helper()
	left := append([]string(nil), lines...)
words:
	for _, words := range want {
		for i, l := range left {
			all := true
			for _, w := range words {
				all = all && strings.Contains(l, w)
			}
			if all {
				left = append(left[:i], left[i+1:]...)
				continue words
			}
		}
		t.Errorf("%s: no line with %q in %q", what, words, lines)
	}
	if len(left) > 0 {
		t.Errorf("%s: unexpected %q", what, left)
	}
}

// TestServices has the connections and sockets of a watched service, and what became of them.
func TestServices(t *testing.T) {
	newHost(t)
	var ends []net.Conn
	dial := func(l net.Listener) (client string) {
		c, err := net.Dial("tcp", l.Addr().String())
		must(t, err)
		s, err := l.Accept()
		must(t, err)
		ends = append(ends, c, s)
		t.Cleanup(func() { c.Close(); s.Close() })
		return c.LocalAddr().String()
	}
	listen := func() (net.Listener, uint16) {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		must(t, err)
		t.Cleanup(func() { l.Close() })
		return l, netip.MustParseAddrPort(l.Addr().String()).Port()
	}
	watched, port := listen()
	other, _ := listen()
	first, second := dial(watched), dial(watched)
	dial(other)
	k := New(Config{})
	k.SetServices([]conntrack.Service{{Name: "orders", Protocol: "tcp", Ports: []conntrack.PortRange{{First: port, Last: port}}}})
	k.Take(t.Context(), Quiet, "")
	s := data(t, k.Take(t.Context(), Trigger, "id"))
	listener := fmt.Sprintf("orders 127.0.0.1:%d → 0.0.0.0:0 LISTEN", port)
	exactly(t, "sockets", s.section(t, "sockets").Lines, [][]string{
		{listener}, {first + " → ", "ESTABLISHED", "rtt "}, {" → " + first, "ESTABLISHED"}, {second + " → "}, {" → " + second},
	})
	exactly(t, "conntrack", s.section(t, "conntrack").Lines, [][]string{{"orders tcp " + first, "ESTABLISHED", "s left"}, {"orders tcp " + second}})
	for _, name := range []string{"sockets", "conntrack"} {
		if got := s.section(t, name); len(got.Added)+len(got.Removed) > 0 || got.NotCompared != "" {
			t.Errorf("%s differs although nothing happened: %+v", name, got)
		}
	}
	for _, c := range ends[:2] { // of the first: reset, so that nothing stays
		must(t, c.(*net.TCPConn).SetLinger(0), c.Close())
	}
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.InetFamily(2), filter(netip.MustParseAddrPort(second)))
	must(t, err)
	s = data(t, k.Take(t.Context(), End, "id"))
	exactly(t, "sockets removed", s.section(t, "sockets").Removed, [][]string{{first + " → "}, {" → " + first}})
	exactly(t, "conntrack removed", s.section(t, "conntrack").Removed, [][]string{{first, "ESTABLISHED"}, {second, "ESTABLISHED"}})
	if added := s.section(t, "sockets").Added; len(added) > 0 {
		t.Errorf("sockets added: %q", added)
	}
}

// filter matches the connection of a client.
type filter netip.AddrPort

func (f filter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	return flow.Forward.SrcPort == netip.AddrPort(f).Port()
}

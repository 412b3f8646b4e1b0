package network

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

// pair makes two interfaces, name and name+"-p", that are down.
func pair(t testing.TB, name string) (l, peer netlink.Link) {
	t.Helper()
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "-p"}))
	l, err := netlink.LinkByName(name)
	must(t, err)
	t.Cleanup(func() { netlink.LinkDel(l) })
	peer, err = netlink.LinkByName(name + "-p")
	must(t, err)
	return l, peer
}

// iface makes an interface that is up and has a carrier, without IPv6: its addresses come when they like.
func iface(t testing.TB, name string) netlink.Link {
	t.Helper()
	l, peer := pair(t, name)
	for _, n := range []string{name, name + "-p"} {
		must(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+n+"/disable_ipv6", []byte("1"), 0))
	}
	must(t, netlink.LinkSetUp(peer))
	must(t, netlink.LinkSetUp(l))
	return l
}

// iface6 is iface with IPv6.
func iface6(t testing.TB, name string) netlink.Link {
	t.Helper()
	l, peer := pair(t, name)
	must(t, netlink.LinkSetUp(peer))
	must(t, netlink.LinkSetUp(l))
	return l
}

// watching starts a Watcher and returns when it sees.
func watching(t testing.TB, cfg Config) *memory {
	t.Helper()
	m := &memory{}
	watchingWith(t, New(cfg), m)
	return m
}

func watchingWith(t testing.TB, w *Watcher, m *memory) {
	t.Helper()
	run(t, w, m)
	mark := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "mark"}}
	await(t, "the watcher to see", func() bool {
		must(t, netlink.LinkAdd(mark))
		must(t, netlink.LinkDel(mark))
		return len(m.of("link.change")) > 0
	})
	settled(t, m)
	m.clear()
}

// settled returns when all that was done before it has been seen.
func settled(t testing.TB, m *memory) {
	t.Helper()
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	must(t, err)
	defer h.Close()
	r := netlink.NewRule()
	r.Priority, r.Table = 31999, 31999
	before := len(m.of("rule.remove"))
	must(t, h.RuleAdd(r))
	must(t, h.RuleDel(r))
	await(t, "the mark", func() bool {
		all := m.of("rule.remove")
		return len(all) > before && all[len(all)-1].Subject == "31999"
	})
}

// handle is a netlink socket that stays, so that its owner can be found.
func handle(t testing.TB) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

func parseAddr(t testing.TB, s string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(s)
	must(t, err)
	return a
}

func parseNet(t testing.TB, s string) *net.IPNet {
	t.Helper()
	_, n, err := net.ParseCIDR(s)
	must(t, err)
	return n
}

// isMe says whether an event names this process.
func isMe(t testing.TB, by *hoststate.Process) {
	t.Helper()
	comm, err := os.ReadFile("/proc/self/comm")
	must(t, err)
	if by == nil || by.PID != os.Getpid() || by.Name != strings.TrimSpace(string(comm)) || by.PortID == 0 {
		t.Errorf("by %+v, want pid %d, %s", by, os.Getpid(), comm)
	}
}

func TestAddresses(t *testing.T) {
	needNamespace(t)
	const n = 200
	eth := iface(t, "eth0")
	m := watching(t, Config{})
	h := handle(t)
	for i := range n {
		must(t, h.AddrAdd(eth, parseAddr(t, fmt.Sprintf("10.9.%d.1/24", i))))
	}
	for i := range n {
		must(t, h.AddrDel(eth, parseAddr(t, fmt.Sprintf("10.9.%d.1/24", i))))
	}
	settled(t, m)
	all := m.of("address.add", "address.remove")
	if len(all) != 2*n {
		t.Fatalf("%d events, want %d", len(all), 2*n)
	}
	for i, e := range all {
		kind, before, after := "address.add", "", fmt.Sprintf("10.9.%d.1/24 dev eth0 scope global", i%n)
		if i >= n {
			kind, before, after = "address.remove", after, before
		}
		if e.Kind != kind || e.Before != before || e.After != after || e.Subject != "eth0" || e.Time.IsZero() || i > 0 && e.Time.Before(all[i-1].Time) {
			t.Fatalf("event %d is %+v", i, e)
		}
	}
	last := all[2*n-1]
	isMe(t, last.By)
	if want := fmt.Sprintf("address 10.9.199.1/24 dev eth0 scope global was removed by %s", last.By); last.Text != want {
		t.Errorf("it reads %q, want %q", last.Text, want)
	}
	if want := `{"address":"10.9.199.1/24","dev":"eth0","index":` + fmt.Sprint(eth.Attrs().Index) + `,"scope":"global"}`; string(last.Data) != want {
		t.Errorf("its data is %s, want %s", last.Data, want)
	}
	// Each address brought and took a route in main, and a local and a broadcast one.
	if added, removed := len(m.of("route.add")), len(m.of("route.remove")); added != 3*n || removed != 3*n {
		t.Errorf("%d routes added and %d removed, want %d each", added, removed, 3*n)
	}
}

func TestRoutesOfOtherTables(t *testing.T) {
	needNamespace(t)
	eth := iface(t, "eth0")
	must(t, netlink.AddrAdd(eth, parseAddr(t, "10.9.0.2/24")))
	m := watching(t, Config{})
	h := handle(t)
	r := &netlink.Route{LinkIndex: eth.Attrs().Index, Dst: parseNet(t, "10.50.0.0/16"), Table: 100, Gw: net.ParseIP("10.9.0.1"), Priority: 7, MTU: 1400}
	must(t, h.RouteAdd(r))
	r.Gw = net.ParseIP("10.9.0.3")
	must(t, h.RouteReplace(r))
	must(t, h.RouteDel(r))
	rule := netlink.NewRule()
	rule.Priority, rule.Table, rule.Src, rule.Mark = 1000, 100, parseNet(t, "10.50.1.0/24"), 0x80
	must(t, h.RuleAdd(rule))
	must(t, h.RuleDel(rule))
	settled(t, m)
	first := "10.50.0.0/16 via 10.9.0.1 dev eth0 table 100 proto boot scope global metric 7 mtu 1400"
	second := strings.Replace(first, "10.9.0.1", "10.9.0.3", 1)
	policy := "ip 1000: from 10.50.1.0/24 fwmark 0x80 lookup 100"
	want := []hoststate.Event{
		{Kind: "route.add", Subject: "100", After: first},
		{Kind: "route.add", Subject: "100", Before: first, After: second},
		{Kind: "route.remove", Subject: "100", Before: second},
		{Kind: "rule.add", Subject: "1000", After: policy},
		{Kind: "rule.remove", Subject: "1000", Before: policy},
	}
	all := m.of("route.add", "route.remove", "rule.add", "rule.remove")
	if len(all) != len(want)+2 {
		t.Fatalf("%d events, want %d: %+v", len(all), len(want)+2, all)
	}
	for i, w := range want {
		e := all[i]
		if e.Kind != w.Kind || e.Subject != w.Subject || e.Before != w.Before || e.After != w.After {
			t.Errorf("event %d is %+v\nwant %+v", i, e, w)
		}
		isMe(t, e.By)
	}
}

func TestLinks(t *testing.T) {
	needNamespace(t)
	m := watching(t, Config{})
	var l, peer netlink.Link
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br7"}}
	steps := []struct {
		do   func() error
		told string
	}{
		{func() error { l, peer = pair(t, "eth7"); return nil }, "eth7 came, down"},
		{func() error { return netlink.LinkSetUp(l) }, "eth7 has no carrier"},
		{func() error { return netlink.LinkSetUp(peer) }, "eth7 is up"},
		{func() error { return netlink.LinkSetDown(peer) }, "eth7 has no carrier"},
		{func() error { return netlink.LinkSetUp(peer) }, "eth7 is up"},
		{func() error { return netlink.LinkSetMTU(l, 9000) }, "eth7 has an MTU of 9000 instead of 1500"},
		{func() error { return netlink.LinkSetDown(l) }, "eth7 was set down"},
		{func() error { return netlink.LinkSetName(l, "eth8") }, "eth7 was renamed to eth8"},
		{func() error { return errors.Join(netlink.LinkAdd(bridge), netlink.LinkSetMaster(l, bridge)) }, "eth8 joined br7"},
		{func() error { return netlink.LinkDel(l) }, "eth8 is gone"},
	}
	told := func() (all []hoststate.Event) {
		for _, e := range m.of("link.change") {
			if e.Subject == "eth7" || e.Subject == "eth8" {
				all = append(all, e)
			}
		}
		return all
	}
	for i, s := range steps {
		must(t, s.do())
		await(t, s.told, func() bool { return len(told()) > i })
	}
	must(t, netlink.LinkDel(bridge))
	settled(t, m)
	all := told()
	if len(all) != len(steps) {
		t.Fatalf("%d events, want %d: %+v", len(all), len(steps), all)
	}
	for i, e := range all {
		if what, _, _ := strings.Cut(e.Text, ", by "); what != steps[i].told {
			t.Errorf("event %d reads %q, want %q", i, e.Text, steps[i].told)
		}
		if i > 0 && e.Before != all[i-1].After {
			t.Errorf("event %d: %q was before, but after the one before was %q", i, e.Before, all[i-1].After)
		}
	}
}

// The kernel says nothing of IPv4 routes that go with their interface or with its last address.
func TestRoutesThatGoWithoutAWord(t *testing.T) {
	needNamespace(t)
	eth := iface(t, "eth0")
	m := watching(t, Config{})
	gateway := &netlink.Route{LinkIndex: eth.Attrs().Index, Dst: parseNet(t, "0.0.0.0/0"), Gw: net.ParseIP("10.9.0.1"), Protocol: unix.RTPROT_DHCP}
	setUp := func() {
		t.Helper()
		must(t, netlink.AddrAdd(eth, parseAddr(t, "10.9.0.2/24")))
		must(t, netlink.RouteAdd(gateway))
	}
	setUp()
	line := "default via 10.9.0.1 dev eth0 table main proto dhcp scope global"
	gone := func() (n int) {
		for _, e := range m.of("route.remove") {
			if e.Before == line {
				if n++; e.By == nil || e.By.PortID != 0 {
					t.Errorf("it was removed by %v, want the kernel", e.By)
				}
			}
		}
		return n
	}
	must(t, netlink.AddrDel(eth, parseAddr(t, "10.9.0.2/24")))
	await(t, "the route to go with the address", func() bool { return gone() == 1 })
	setUp()
	must(t, netlink.LinkSetDown(eth))
	await(t, "the route to go with the interface", func() bool { return gone() == 2 })
	must(t, netlink.LinkSetUp(eth))
	must(t, netlink.RouteAdd(gateway))
	// Gone and back before anybody can look.
	must(t, netlink.AddrDel(eth, parseAddr(t, "10.9.0.2/24")))
	setUp()
	await(t, "the route that came back", func() bool { return gone() == 3 })
	settled(t, m)
	var added int
	for _, e := range m.of("route.add") {
		if e.After == line {
			added++
		}
	}
	if added != 4 {
		t.Errorf("the default route was added %d times, want 4", added)
	}
}

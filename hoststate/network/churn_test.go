package network

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

// told is the state that follows from an earlier one and the events since.
func told(t testing.TB, before *State, events []hoststate.Event) *State {
	t.Helper()
	s := map[string][]string{"link": slices.Clone(before.Links), "address": slices.Clone(before.Addresses),
		"route": slices.Clone(before.Routes), "rule": slices.Clone(before.Rules)}
	for _, e := range events {
		what, _, _ := strings.Cut(e.Kind, ".")
		list, ok := s[what]
		if !ok {
			continue
		}
		if e.Before != "" {
			i := slices.Index(list, e.Before)
			if i < 0 {
				t.Fatalf("%s: %q was not there before", e.Kind, e.Before)
			}
			list = slices.Delete(list, i, i+1)
		}
		if e.After != "" {
			list = append(list, e.After)
		}
		s[what] = list
	}
	for _, list := range s {
		slices.Sort(list)
	}
	return &State{Links: s["link"], Addresses: s["address"], Routes: s["route"], Rules: s["rule"]}
}

// explained waits until the events since before explain the state as it is.
func explained(t testing.TB, before *State, m *memory) {
	t.Helper()
	var want, got *State
	same := func() bool {
		want = read(t)
		got = told(t, before, m.of("link.change", "address.add", "address.remove", "route.add", "route.remove", "rule.add", "rule.remove"))
		return slices.Equal(want.Links, got.Links) && slices.Equal(want.Addresses, got.Addresses) &&
			slices.Equal(want.Routes, got.Routes) && slices.Equal(want.Rules, got.Rules)
	}
	defer func() {
		if t.Failed() {
			t.Logf("there is, but was not told:\n%s\n\nand was told, but is not there:\n%s", less(want, got), less(got, want))
		}
	}()
	await(t, "the events to explain the state", same)
}

// less is what a has and b has not, or fewer times.
func less(a, b *State) string {
	has := slices.Concat(b.Links, b.Addresses, b.Routes, b.Rules)
	return strings.Join(slices.DeleteFunc(slices.Concat(a.Links, a.Addresses, a.Routes, a.Rules), func(s string) bool {
		i := slices.Index(has, s)
		if i >= 0 {
			has[i] = ""
		}
		return i >= 0
	}), "\n")
}

// still returns the state at a moment at which nothing happens, and forgets the events until then: addresses of IPv6 come when they like.
func still(t testing.TB, m *memory) (s *State) {
	t.Helper()
	await(t, "a moment of peace", func() bool {
		m.clear()
		s = read(t)
		settled(t, m)
		return len(m.of("link.change", "address.add", "address.remove", "route.add", "route.remove")) == 0
	})
	m.clear()
	return s
}

func read(t testing.TB) *State {
	t.Helper()
	s, err := Read(t.Context())
	must(t, err)
	s.Addresses = slices.DeleteFunc(s.Addresses, func(a string) bool { return strings.HasSuffix(a, " tentative") })
	return s
}

// change makes random changes of everything that is watched. That some fail is of no matter.
func change(t testing.TB, links []netlink.Link, n int, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	for range n {
		l := links[r.IntN(len(links))]
		index := l.Attrs().Index
		a := parseAddr(t, fmt.Sprintf("10.8.%d.2/24", r.IntN(6)))
		six := parseAddr(t, fmt.Sprintf("fd00:%d::2/64", r.IntN(4)))
		route := &netlink.Route{LinkIndex: index, Dst: parseNet(t, fmt.Sprintf("10.%d.0.0/16", 50+r.IntN(4))), Table: []int{254, 100}[r.IntN(2)],
			Priority: r.IntN(2), Scope: unix.RT_SCOPE_LINK}
		hop := fmt.Sprintf("fd00:%d::%d", r.IntN(4), 3+r.IntN(2))
		route6 := &netlink.Route{LinkIndex: index, Dst: parseNet(t, fmt.Sprintf("fd99:%d::/64", r.IntN(2))), Gw: net.ParseIP(hop), Priority: 100}
		rule := netlink.NewRule()
		rule.Priority, rule.Table, rule.Src = 1000+r.IntN(8), 100, parseNet(t, "10.8.0.0/16")
		switch r.IntN(14) {
		case 0, 1:
			netlink.AddrAdd(l, a)
		case 2:
			netlink.AddrDel(l, a)
		case 3:
			netlink.AddrAdd(l, six)
		case 4:
			netlink.AddrDel(l, six)
		case 5:
			netlink.RouteAdd(route)
		case 6:
			netlink.RouteReplace(route)
		case 7:
			netlink.RouteDel(route)
		case 8:
			netlink.RouteAppend(route6)
		case 9:
			netlink.RouteReplace(route6)
		case 10:
			netlink.RouteDel(route6)
		case 11:
			netlink.LinkSetDown(l)
			if r.IntN(2) == 0 {
				netlink.LinkSetUp(l)
			}
		case 12:
			netlink.LinkSetUp(l)
		case 13:
			if netlink.RuleAdd(rule) != nil {
				netlink.RuleDel(rule)
			}
		}
	}
}

// Whatever happens: the events explain it.
func TestEventsExplainTheState(t *testing.T) {
	needNamespace(t)
	for _, seed := range []uint64{1, 2, 3} {
		links := []netlink.Link{iface6(t, "eth0"), iface6(t, "eth1"), iface6(t, "eth2")}
		m := watching(t, Config{})
		before := still(t, m)
		change(t, links, 1500, seed)
		explained(t, before, m)
		if gaps := m.of("network.gap"); len(gaps) > 0 {
			t.Errorf("%d gaps with a large buffer", len(gaps))
		}
		for _, l := range links {
			must(t, netlink.LinkDel(l))
		}
	}
}

// Messages that the kernel had to drop are a gap, and the events still explain the state.
func TestGap(t *testing.T) {
	needNamespace(t)
	eth := iface(t, "eth0")
	var once sync.Once
	stop, stopped := make(chan struct{}), make(chan struct{})
	m := &memory{}
	m.each = func(e hoststate.Event) {
		if strings.HasPrefix(e.After, "10.9.0.1/32") {
			once.Do(func() { close(stopped); <-stop })
		}
	}
	watchingWith(t, New(Config{Buffer: 64 << 10}), m) // room for about a hundred messages
	before := still(t, m)
	must(t, netlink.AddrAdd(eth, parseAddr(t, "10.9.0.1/32")))
	<-stopped
	for i := range 500 {
		must(t, netlink.AddrAdd(eth, parseAddr(t, fmt.Sprintf("10.7.%d.%d/32", i/250, i%250+1))))
	}
	must(t, netlink.AddrDel(eth, parseAddr(t, "10.7.0.7/32")))
	close(stop)
	m.await(t, 1, "network.gap")
	explained(t, before, m)
	if n := len(m.of("address.add")) - len(m.of("address.remove")); n != 500 {
		t.Errorf("%d addresses more than before, want 500", n)
	}
	// It goes on as before.
	settled(t, m)
	h := handle(t)
	must(t, h.AddrDel(eth, parseAddr(t, "10.7.0.8/32")))
	await(t, "the next change", func() bool {
		all := m.of("address.remove")
		return len(all) > 0 && all[len(all)-1].Before == "10.7.0.8/32 dev eth0 scope global"
	})
}

// Pods that come and go are counted, and leave nothing behind.
func TestQuietInterfaces(t *testing.T) {
	needNamespace(t)
	const n = 1000
	m := watching(t, Config{})
	churn := func(n int) {
		const batch = 50
		for i := range n {
			l := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprint("veth", i), Group: 77}, PeerName: fmt.Sprint("vethp", i)}
			must(t, netlink.LinkAdd(l))
			if i%20 == 0 { // link-local addresses and their routes
				must(t, netlink.LinkSetUp(l))
			}
			if (i+1)%batch == 0 {
				deleteGroup(t, 77)
			}
		}
		settled(t, m)
	}
	counted := func() (sum quiet) {
		for _, e := range m.of("link.change") {
			var q quiet
			if e.Subject == "quiet" {
				must(t, json.Unmarshal(e.Data, &q))
			}
			sum.Came, sum.Gone = sum.Came+q.Came, sum.Gone+q.Gone
		}
		return sum
	}
	churn(50)
	await(t, "the first counts", func() bool { return counted() == quiet{Came: 100, Gone: 100} })
	m.clear()
	heap, goroutines := heapNow(), runtime.NumGoroutine()
	churn(n)
	await(t, "the counts", func() bool { return counted() == quiet{Came: 2 * n, Gone: 2 * n} })
	events := len(m.of("link.change", "address.add", "address.remove", "route.add", "route.remove", "neighbour.change"))
	m.clear()
	grown := heapNow() - heap
	t.Logf("%d veths: %d events, %d KiB more heap, %d goroutines more", n, events, grown>>10, runtime.NumGoroutine()-goroutines)
	if events > 200 || grown > 1<<20 || runtime.NumGoroutine() > goroutines {
		t.Errorf("%d events, %d bytes, %d goroutines more", events, grown, runtime.NumGoroutine()-goroutines)
	}
	// An interface like them that is an uplink is told of.
	m.clear()
	up := iface(t, "veth-up")
	must(t, netlink.AddrAdd(up, parseAddr(t, "10.9.0.2/24")))
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: up.Attrs().Index, Dst: parseNet(t, "0.0.0.0/0"), Gw: net.ParseIP("10.9.0.1"), Table: 100}))
	must(t, netlink.LinkSetDown(up))
	await(t, "the uplink to be told", func() bool {
		return slices.ContainsFunc(m.of("link.change"), func(e hoststate.Event) bool { return e.Subject == "veth-up" })
	})
	if len(m.of("address.add")) != 1 {
		t.Errorf("%d addresses told, want 1", len(m.of("address.add")))
	}
}

// deleteGroup deletes all interfaces of a group at once: one by one the kernel takes 20 ms for each.
func deleteGroup(t testing.TB, group uint32) {
	t.Helper()
	r := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	r.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	r.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
	_, err := r.Execute(unix.NETLINK_ROUTE, 0)
	must(t, err)
}

// heapNow is the heap in use after collection, in bytes.
func heapNow() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// A node with a full table is told of its routes as the kernel tells of them, in bounded memory.
func TestFullTable(t *testing.T) {
	m := &memory{}
	v := newView(Config{}.withDefaults(), newTeller(m), newProcesses("/nowhere", unix.NETLINK_ROUTE))
	route := func(kind uint16, i int) {
		body := []byte{unix.AF_INET, 32, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BGP, 0, unix.RTN_UNICAST, 0, 0, 0, 0,
			8, 0, unix.RTA_DST, 0, 10, byte(i >> 16), byte(i >> 8), byte(i)}
		v.apply(header{kind: kind}, body, origin{})
	}
	for i := range maxRoutes {
		route(unix.RTM_NEWROUTE, i)
	}
	if v.crowded || v.routes != maxRoutes {
		t.Fatalf("%d routes are known, want %d", v.routes, maxRoutes)
	}
	for i := range 1000 {
		route(unix.RTM_NEWROUTE, maxRoutes+i)
	}
	if !v.crowded || v.routes != 0 || len(v.objects[routes]) != 0 {
		t.Errorf("%d routes are known, want none", v.routes)
	}
	m.clear()
	v.tell = newTeller(m)
	route(unix.RTM_DELROUTE, 7)
	route(unix.RTM_NEWROUTE, 7)
	if len(m.events) != 2 || m.events[0].Before != "10.0.0.7 table main proto bgp scope global" || m.events[1].After != m.events[0].Before {
		t.Errorf("told %+v", m.events)
	}
	f := follower{view: v, out: m}
	if f.seeing(); len(m.blind) != 1 {
		t.Errorf("blind: %q", m.blind)
	}
}

func TestGatewaysNeighbours(t *testing.T) {
	needNamespace(t)
	eth := iface(t, "eth0")
	must(t, netlink.AddrAdd(eth, parseAddr(t, "10.9.0.2/24")))
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Dst: parseNet(t, "0.0.0.0/0"), Gw: net.ParseIP("10.9.0.1")}))
	set := func(ip, mac string, state int) {
		t.Helper()
		hw, err := net.ParseMAC(mac)
		must(t, err)
		must(t, netlink.NeighSet(&netlink.Neigh{LinkIndex: eth.Attrs().Index, IP: net.ParseIP(ip), HardwareAddr: hw, State: state}))
	}
	set("10.9.0.1", "02:00:00:00:00:01", unix.NUD_REACHABLE)
	m := watching(t, Config{})
	set("10.9.0.1", "02:00:00:00:00:01", unix.NUD_STALE) // it is where it was
	for i := range 100 {
		set(fmt.Sprintf("10.9.0.%d", 10+i), "02:00:00:00:01:00", unix.NUD_REACHABLE) // none of a gateway
	}
	set("10.9.0.1", "02:00:00:00:00:02", unix.NUD_REACHABLE)
	set("10.9.0.1", "02:00:00:00:00:02", unix.NUD_FAILED)
	set("10.9.0.1", "02:00:00:00:00:02", unix.NUD_REACHABLE)
	settled(t, m)
	want := []string{"gateway 10.9.0.1 is 02:00:00:00:00:02 instead of 02:00:00:00:00:01 on eth0",
		"gateway 10.9.0.1 does not answer on eth0", "gateway 10.9.0.1 answers again on eth0, as 02:00:00:00:00:02"}
	all := m.of("neighbour.change")
	if len(all) != len(want) {
		t.Fatalf("told %+v, want %d events", all, len(want))
	}
	for i, e := range all {
		if e.Text != want[i] || e.Subject != "10.9.0.1" {
			t.Errorf("told %q of %s, want %q", e.Text, e.Subject, want[i])
		}
	}
}

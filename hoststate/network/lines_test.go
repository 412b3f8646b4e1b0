package network

import (
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

// How objects read, as the kernel has them.
func TestLines(t *testing.T) {
	needNamespace(t)
	eth := iface6(t, "eth0")
	index := eth.Attrs().Index
	must(t, netlink.AddrAdd(eth, parseAddr(t, "10.9.0.2/24")))
	must(t, netlink.AddrAdd(eth, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP("fd00::2"), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD}))
	onePeer := parseAddr(t, "10.9.9.1/32")
	onePeer.Peer = parseNet(t, "10.9.9.2/32")
	must(t, netlink.AddrAdd(eth, onePeer))
	hop := func(gw string, weight int) *netlink.NexthopInfo {
		return &netlink.NexthopInfo{LinkIndex: index, Gw: net.ParseIP(gw), Hops: weight - 1}
	}
	for _, r := range []*netlink.Route{
		{Dst: parseNet(t, "10.60.0.0/16"), MultiPath: []*netlink.NexthopInfo{hop("10.9.0.3", 1), hop("10.9.0.4", 2)}},
		{Dst: parseNet(t, "10.61.0.0/16"), Type: unix.RTN_BLACKHOLE, Table: 300},
		{Dst: parseNet(t, "0.0.0.0/0"), LinkIndex: index, Gw: net.ParseIP("10.9.0.1"), Src: net.ParseIP("10.9.0.2"), Protocol: unix.RTPROT_DHCP, Priority: 100},
		{Dst: parseNet(t, "::/0"), LinkIndex: index, Gw: net.ParseIP("fd00::1"), Priority: 100, MTU: 1280},
		{Dst: parseNet(t, "10.62.0.0/16"), LinkIndex: index, Via: &netlink.Via{AddrFamily: unix.AF_INET6, Addr: net.ParseIP("fd00::9")}},
	} {
		must(t, netlink.RouteAdd(r))
	}
	policy := netlink.NewRule()
	policy.Priority, policy.Table, policy.Src, policy.Dst = 500, 300, parseNet(t, "10.9.0.0/24"), parseNet(t, "10.60.0.0/16")
	mask := uint32(0xf0)
	policy.Mark, policy.Mask, policy.IifName, policy.IPProto, policy.Dport = 0x80, &mask, "eth0", 6, netlink.NewRulePortRange(5432, 5433)
	must(t, netlink.RuleAdd(policy))
	defer netlink.RuleDel(policy)
	s := read(t)
	for _, c := range []struct {
		list []string
		want string
	}{
		{s.Addresses, "10.9.0.2/24 dev eth0 scope global"},
		{s.Addresses, "fd00::2/64 dev eth0 scope global"},
		{s.Addresses, "10.9.9.1 peer 10.9.9.2/32 dev eth0 scope global"},
		{s.Routes, "10.60.0.0/16 nexthop via 10.9.0.3 dev eth0 weight 1 nexthop via 10.9.0.4 dev eth0 weight 2 table main proto boot scope global"},
		{s.Routes, "blackhole 10.61.0.0/16 table 300 proto boot scope global"},
		{s.Routes, "default via 10.9.0.1 dev eth0 table main proto dhcp scope global src 10.9.0.2 metric 100"},
		{s.Routes, "default (ip6) via fd00::1 dev eth0 table main proto boot metric 100 mtu 1280"},
		{s.Routes, "10.62.0.0/16 via fd00::9 dev eth0 table main proto boot scope global"},
		{s.Rules, "ip 500: from 10.9.0.0/24 to 10.60.0.0/16 iif eth0 dport 5432-5433 ipproto 6 fwmark 0x80/0xf0 lookup 300"},
		{s.Rules, "ip 32766: from all lookup main"},
		{s.Rules, "ip6 0: from all lookup local"},
	} {
		if !slices.Contains(c.list, c.want) {
			t.Errorf("there is no %q in\n%s", c.want, strings.Join(c.list, "\n"))
		}
	}
	await(t, "eth0 to be up", func() bool {
		return slices.ContainsFunc(read(t).Links, func(l string) bool { return strings.HasPrefix(l, "eth0: up mtu 1500 kind veth mac ") })
	})
}

// Who is gone is not known, and who lives is found by a socket of any number.
func TestWho(t *testing.T) {
	needNamespace(t)
	eth := iface(t, "eth0")
	m := watching(t, Config{})
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("needs the command ip (iproute2), as a process that ends at once")
	}
	cmd := exec.Command(ip, "address", "add", "10.9.0.7/32", "dev", "eth0")
	must(t, cmd.Run())
	by := m.await(t, 1, "address.add")[0].By
	if by == nil || by.PortID == 0 || by.PID != 0 && (by.PID != cmd.Process.Pid || by.Name != "ip") {
		t.Errorf("by %+v, want ip with pid %d, or nobody known", by, cmd.Process.Pid)
	}
	t.Logf("a process that ends at once: %v", by)
	// A process has one socket with its pid as its portid, and others.
	for i, h := range []*netlink.Handle{handle(t), handle(t), handle(t)} {
		settled(t, m)
		m.clear()
		must(t, h.AddrAdd(eth, parseAddr(t, "10.9.0."+string(rune('1'+i))+"/32")))
		isMe(t, m.await(t, 1, "address.add")[0].By)
	}
}

// Beyond what anybody reads, events are counted.
func TestFloodIsCounted(t *testing.T) {
	m := &memory{}
	tell := newTeller(m)
	for range maxEvents + 700 {
		tell.event(hoststate.Event{Kind: "route.add"})
	}
	tell.flush(time.Now())
	if n := len(m.events); n != maxEvents {
		t.Errorf("%d events within the second, want %d", n, maxEvents)
	}
	tell.flush(time.Now().Add(time.Second))
	last := m.events[len(m.events)-1]
	if len(m.events) != maxEvents+1 || last.Subject != "many" || string(last.Data) != `{"count":700}` || last.Kind != "route.add" {
		t.Errorf("%d events, the last is %+v", len(m.events), last)
	}
	tell.event(hoststate.Event{Kind: "route.add"})
	if len(m.events) != maxEvents+2 {
		t.Error("the next second does not begin anew")
	}
}

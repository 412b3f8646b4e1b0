package netfilter

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/lab/host"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// net3 is a client behind a node, and a server behind that.
type net3 struct {
	client, node, server *host.Host
	from, node1, to      netip.Addr
	ipv6                 bool
}

func newNet(t *testing.T, ipv6 bool) *net3 {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: CAP_SYS_ADMIN and CAP_NET_ADMIN make network namespaces")
	}
	n := &net3{ipv6: ipv6}
	for _, h := range []struct {
		name string
		to   **host.Host
	}{{"client", &n.client}, {"node", &n.node}, {"server", &n.server}} {
		made, err := host.New(h.name, host.Options{IPv6: ipv6})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { made.Close() })
		*h.to = made
	}
	left, right, bits, forward := "10.7.0.%d", "10.8.0.%d", 24, "net/ipv4/ip_forward"
	if ipv6 {
		left, right, bits, forward = "fd00:7::%d", "fd00:8::%d", 64, "net/ipv6/conf/all/forwarding"
	}
	at := func(network string, number int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf(network, number)) }
	n.from, n.node1, n.to = at(left, 2), at(right, 1), at(right, 2)
	address := func(h *host.Host, link string, a netip.Addr) error {
		return h.Address(link, netip.PrefixFrom(a, bits).String())
	}
	for _, f := range []func() error{
		func() error { return n.node.Veth("in", n.client, "v") }, func() error { return n.node.Veth("out", n.server, "v") },
		func() error { return n.node.Sysctl(forward, "1") },
		func() error { return address(n.client, "v", n.from) }, func() error { return address(n.node, "in", at(left, 1)) },
		func() error { return address(n.node, "out", n.node1) }, func() error { return address(n.server, "v", n.to) },
		func() error { return n.client.Default("v", at(left, 1)) }, func() error { return n.server.Default("v", n.node1) },
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// listen answers on a port of the server with the address that it sees.
func (n *net3) listen(t *testing.T, port int) {
	t.Helper()
	var l net.Listener
	if err := n.server.Do(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(n.to, uint16(port)).String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, conn.RemoteAddr())
			conn.Close()
		}
	}()
}

// dial connects to the server and returns the client's address as the server sees it, and the client's port.
func (n *net3) dial(port int, patience time.Duration) (seen netip.AddrPort, own uint16, err error) {
	err = n.client.Do(func() error {
		conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(n.to, uint16(port)).String(), patience)
		if err != nil {
			return err
		}
		defer conn.Close()
		own = conn.LocalAddr().(*net.TCPAddr).AddrPort().Port()
		var text string
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := fmt.Fscanln(conn, &text); err != nil {
			return err
		}
		seen, err = netip.ParseAddrPort(text)
		return err
	})
	return seen, own, err
}

// patient is how long a connection that must come about may take. An ICMP error that is there before connect(2) has
// returned counts only when the SYN is sent again, after a second.
const patient = 30 * time.Second

func bothFamilies(t *testing.T, f func(t *testing.T, n *net3)) {
	for name, ipv6 := range map[string]bool{"IPv4": false, "IPv6": true} {
		t.Run(name, func(t *testing.T) { f(t, newNet(t, ipv6)) })
	}
}

func TestNAT(t *testing.T) {
	bothFamilies(t, func(t *testing.T, n *net3) {
		n.listen(t, 7)
		pods := netip.PrefixFrom(n.from, n.from.BitLen()-8).Masked()
		for _, c := range []struct {
			name  string
			rules []NAT
			addr  netip.Addr
			keeps bool // ports
		}{
			{"none", nil, n.from, true},
			{"masquerade", []NAT{{From: pods, Out: "out"}}, n.node1, true},
			{"masquerade, random", []NAT{{From: pods, Out: "out", Ports: RandomPorts}}, n.node1, false},
			{"masquerade, fully random", []NAT{{From: pods, Out: "out", Ports: FullyRandom}}, n.node1, false},
			{"SNAT", []NAT{{From: pods, Out: "out", To: n.node1}}, n.node1, true},
			{"SNAT, fully random", []NAT{{From: pods, Out: "out", To: n.node1, Ports: FullyRandom}}, n.node1, false},
			{"another link", []NAT{{From: pods, Out: "in"}}, n.from, true},
			{"another source", []NAT{{From: netip.PrefixFrom(n.to, n.to.BitLen()), Out: "out"}}, n.from, true},
		} {
			if err := Apply(n.node, Rules{Track: true, NAT: c.rules}, n.ipv6); err != nil {
				t.Fatal(c.name, err)
			}
			same := 0
			const tries = 5 // a random port may be the same once
			for range tries {
				seen, own, err := n.dial(7, patient)
				if err != nil || seen.Addr() != c.addr {
					t.Fatalf("%s: the server sees %v (%v), want %v", c.name, seen, err, c.addr)
				}
				if seen.Port() == own {
					same++
				}
			}
			if c.keeps != (same == tries) {
				t.Errorf("%s: %d of %d ports were kept", c.name, same, tries)
			}
		}
	})
}

func TestMatches(t *testing.T) {
	bothFamilies(t, func(t *testing.T, n *net3) {
		n.listen(t, 7)
		n.listen(t, 8)
		server := netip.PrefixFrom(n.to, n.to.BitLen())
		for _, c := range []struct {
			name string
			m    Match
			want error // of a connection to port 7; nil: it works
		}{
			{"drop", Match{Protocol: unix.IPPROTO_TCP, Port: 7, Do: Drop}, os.ErrDeadlineExceeded},
			{"drop what opens", Match{Destination: server, Port: 7, Protocol: unix.IPPROTO_TCP, Opening: true, Do: Drop}, os.ErrDeadlineExceeded},
			{"reset", Match{Protocol: unix.IPPROTO_TCP, Port: 7, Do: Reset}, unix.ECONNREFUSED},
			{"prohibit", Match{Protocol: unix.IPPROTO_TCP, Port: 7, Do: Prohibit}, unix.EHOSTUNREACH},
			{"new ones", Match{State: New, Protocol: unix.IPPROTO_TCP, Port: 7, Do: Drop}, os.ErrDeadlineExceeded},
			{"of a link", Match{In: "in", Out: "out", Protocol: unix.IPPROTO_TCP, Port: 7, Do: Drop}, os.ErrDeadlineExceeded},
			{"always, at random", Match{Protocol: unix.IPPROTO_TCP, Port: 7, Chance: 0.9999, Do: Drop}, os.ErrDeadlineExceeded},
			{"hardly ever", Match{Protocol: unix.IPPROTO_TCP, Port: 7, Chance: 0.00001, Do: Drop}, nil},
			{"another protocol", Match{Protocol: unix.IPPROTO_UDP, Port: 7, Do: Drop}, nil},
			{"another source", Match{Source: server, Protocol: unix.IPPROTO_TCP, Port: 7, Do: Drop}, nil},
			{"another link", Match{In: "out", Protocol: unix.IPPROTO_TCP, Port: 7, Do: Drop}, nil},
			{"invalid ones", Match{State: Invalid, Do: Drop}, nil},
			{"accept", Match{Do: Accept}, nil},
		} {
			if err := Apply(n.node, Rules{Track: true, Forward: []Match{c.m}}, n.ipv6); err != nil {
				t.Fatal(c.name, err)
			}
			want, patience := c.want, patient
			if want == os.ErrDeadlineExceeded {
				patience = time.Second
			}
			_, _, err := n.dial(7, patience)
			if n.ipv6 && want == unix.EHOSTUNREACH {
				want = unix.EACCES // what ICMPv6's "administratively prohibited" becomes
			}
			if ne := net.Error(nil); want == os.ErrDeadlineExceeded && errors.As(err, &ne) && ne.Timeout() {
				err = os.ErrDeadlineExceeded
			}
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", c.name, err, want)
			}
			if c.name != "accept" && c.m.State != Invalid {
				if _, _, err := n.dial(8, patient); err != nil {
					t.Errorf("%s: port 8: %v", c.name, err)
				}
			}
		}
		if err := Apply(n.node, Rules{}, n.ipv6); err != nil {
			t.Fatal(err)
		}
		if _, _, err := n.dial(7, patient); err != nil {
			t.Errorf("without rules: %v", err)
		}
	})
}

func TestConntrack(t *testing.T) {
	bothFamilies(t, func(t *testing.T, n *net3) {
		n.listen(t, 7)
		if err := Apply(n.node, Rules{Track: true}, n.ipv6); err != nil {
			t.Fatal(err)
		}
		const count = 5
		for range count {
			if _, _, err := n.dial(7, patient); err != nil {
				t.Fatal(err)
			}
		}
		over := func(e Entry) bool {
			return e.Protocol == unix.IPPROTO_TCP && e.State == TCPTimeWait && e.To == netip.AddrPortFrom(n.to, 7)
		}
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) { // the last FIN is under way
			entries, err := Entries(n.node, n.ipv6)
			if err != nil {
				t.Fatal(err)
			}
			found := 0
			for _, e := range entries {
				if over(e) && e.From.Addr() == n.from && e.Outside == e.From && e.Left > 0 {
					found++
				}
			}
			if found == count {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d connections are tracked: %+v", found, count, entries)
			}
		}
		left := 2 // to be deleted
		if deleted, err := Delete(n.node, n.ipv6, func(e Entry) bool { left--; return over(e) && left >= 0 }); err != nil || deleted != 2 {
			t.Errorf("%d entries were deleted: %v", deleted, err)
		}
		if err := Flush(n.node); err != nil {
			t.Fatal(err)
		}
		if entries, err := Entries(n.node, n.ipv6); err != nil || len(entries) != 0 {
			t.Errorf("after a flush there are %+v: %v", entries, err)
		}
	})
}

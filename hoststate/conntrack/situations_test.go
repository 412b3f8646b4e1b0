package conntrack

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	nl "github.com/vishvananda/netlink"
)

// loopback brings up lo and gives it addresses, until the test ends.
func loopback(t *testing.T, addresses ...string) nl.Link {
	t.Helper()
	lo, err := nl.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := nl.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		address, err := nl.ParseAddr(a)
		if err != nil {
			t.Fatal(err)
		}
		if err := nl.AddrAdd(lo, address); err != nil {
			t.Fatalf("adding %s: %v", a, err)
		}
		t.Cleanup(func() { _ = nl.AddrDel(lo, address) }) // the test may have done so
	}
	return lo
}

// masquerade has all connections to the port masqueraded, and thereby tracked, until the test ends.
func masquerade(t *testing.T, port uint16) {
	t.Helper()
	c := &nftables.Conn{}
	ruleset := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "ringside-test"})
	chain := c.AddChain(&nftables.Chain{Name: "out", Table: ruleset, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	c.AddRule(&nftables.Rule{Table: ruleset, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(port >> 8), byte(port)}},
		&expr.Masq{},
	}})
	if err := c.Flush(); err != nil {
		t.Fatalf("making rules: %v", err)
	}
	t.Cleanup(func() {
		c.DelTable(ruleset)
		if err := c.Flush(); err != nil {
			t.Errorf("removing rules: %v", err)
		}
	})
}

// pool opens connections over which both sides have spoken.
func pool(t *testing.T, address string, n int) (clients []net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for range n {
		client, err := net.DialTimeout("tcp4", address, patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		exchange(t, client, server)
		exchange(t, server, client)
		clients = append(clients, client)
	}
	return clients
}

func exchange(t *testing.T, from, to net.Conn) {
	t.Helper()
	b := []byte("x")
	if _, err := from.Write(b); err != nil {
		t.Fatal(err)
	}
	_ = to.SetReadDeadline(time.Now().Add(patience))
	if _, err := to.Read(b); err != nil {
		t.Fatal(err)
	}
}

func TestMasqueradeNotifierIsTheKernel(t *testing.T) {
	needNamespace(t)
	const n = 13
	lo := loopback(t, "10.7.0.1/32", "10.7.0.2/24")
	masquerade(t, 5432)
	m := watch(t, Config{})
	pool(t, "10.7.0.1:5432", n)
	m.await(t, "assured entries", func() bool { return flowsOf(t, "postgres") == n })
	gone, err := nl.ParseAddr("10.7.0.1/32")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	if err := nl.AddrDel(lo, gone); err != nil {
		t.Fatal(err)
	}
	burst := decode[Burst](t, m.awaitOne(t, "conntrack.burst", 2))
	by := m.of("conntrack.burst")[1]
	if by.Subject != "kernel" || by.By == nil || by.By.PortID != 0 || burst.PortID != 0 || len(burst.Processes) != 0 {
		t.Errorf("destroyed by %q %v, want the kernel: %+v", by.Subject, by.By, burst)
	}
	if burst.Assured != n || burst.Services["postgres"] != n {
		t.Errorf("the burst says %+v, want %d of postgres", burst, n)
	}
	if sum := m.total(t); sum.Kernel != n || sum.Userspace != 0 {
		t.Errorf("counted %+v, want %d by the kernel", sum, n)
	}
	t.Logf("first destroyed %v after the address was removed, the last %v after the first", time.Unix(0, burst.First).Sub(at), time.Duration(burst.Last-burst.First))
}

// flowsOf reads how many flows a service has in the table.
func flowsOf(t *testing.T, service string) (n int) {
	t.Helper()
	entries, _, err := Dump(t.Context(), watched, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Service == service && e.IsFlow() {
			n++
		}
	}
	return n
}

func TestExpiryIsNoBurst(t *testing.T) {
	table := newTable(t)
	const n = 50
	m := watch(t, Config{})
	for i := range n {
		c := flowTo(database, i)
		c.timeout = 1
		table.add(c)
	}
	m.await(t, "all expired", func() bool {
		if _, _, err := Dump(t.Context(), nil, 0); err != nil { // which has the kernel look at them
			t.Fatal(err)
		}
		return m.total(t).Expired >= n
	})
	if sum := m.total(t); sum.Destroy != n || sum.ExpiredEstablished != n || sum.Lost != 0 || sum.Kernel != 0 {
		t.Errorf("counted %+v, want %d expired", sum, n)
	}
	if b := m.of("conntrack.burst"); len(b) != 0 {
		t.Errorf("expiry is a burst: %s", b[0].Data)
	}
}

// TestSilentLoss is the central incident: with events on demand, entries from before the watcher emit none.
func TestSilentLoss(t *testing.T) {
	table := newTable(t)
	const n = 1000
	sysctl(t, "nf_conntrack_events", "0") // as 2 without a listener, but for those that other tests may have in their namespaces
	table.add(flowsTo(database, n)...)
	table.add(connection{n: 1, server: cache, state: 7, status: StatusAssured, timeout: 120}) // TIME_WAIT: no flow
	sysctl(t, "nf_conntrack_events", "2")
	m := watch(t, Config{})
	if spots, _ := m.hidden(); !strings.Contains(spots, "nf_conntrack_events=2") {
		t.Errorf("blind spots %q, want nf_conntrack_events", spots)
	}
	if d := decode[Digest](t, m.of("conntrack.digest")[0]); d.Entries != n+1 || d.Flows != n || d.Older != n || d.Services["postgres"].Flows != n || d.States["tcp TIME_WAIT"] != 1 {
		t.Errorf("the digest says %+v, want %d flows", d, n)
	}
	table.flush()
	d := decode[Drop](t, m.awaitOne(t, "conntrack.drop", 1))
	if d.Flows != n || d.Of != n || d.Silent != n || d.Told != 0 || d.Services["postgres"] != n || !d.Sure && d.To-d.From < int64(10*time.Second) {
		t.Errorf("the drop says %+v, want %d of postgres, silent", d, n)
	}
	if sum := m.total(t); sum != (Counts{}) {
		t.Errorf("entries of before emitted events: %+v", sum)
	}
	m.await(t, "no blind spot once they are gone", func() bool {
		spots, _ := m.hidden()
		return !strings.Contains(spots, "nf_conntrack_events")
	})
}

func TestGapIsToldAndReadAgain(t *testing.T) {
	table := newTable(t)
	const n = 20000
	m := watch(t, Config{Buffer: 4096})
	table.add(flowsTo(database, n)...)
	table.flush()
	gap := decode[Gap](t, m.awaitOne(t, "conntrack.gap", 1))
	if gap.Lost == 0 || gap.Times == 0 {
		t.Errorf("the gap says %+v, want how many were lost", gap)
	}
	m.await(t, "every event received or counted as lost", func() bool {
		sum, lost := m.total(t), uint64(0)
		for _, e := range m.of("conntrack.gap") {
			lost += decode[Gap](t, e).Lost
		}
		return sum.New+sum.Destroy+sum.Update+lost == 2*n
	})
	m.awaitOne(t, "conntrack.digest", 2)
	before := m.total(t).New
	table.add(flowTo(cache, 1))
	m.await(t, "an event after the gap", func() bool { return m.total(t).New > before })
}

func TestAnotherProgramFlushes(t *testing.T) {
	program, err := exec.LookPath("conntrack")
	if err != nil {
		t.Skip("needs the program conntrack (package conntrack)")
	}
	table := newTable(t)
	for _, n := range []int{13, 5000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			m := watch(t, Config{})
			table.add(flowsTo(database, n)...)
			m.await(t, "all made", func() bool { return m.total(t).New >= uint64(n) })
			flush := exec.Command(program, "-F")
			if out, err := flush.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			end := m.awaitOne(t, "conntrack.burst", 2)
			if b := decode[Burst](t, end); b.Assured != uint64(n) || b.PortID == 0 {
				t.Errorf("the burst says %+v, want %d and a portid", b, n)
			}
			// The process may be gone before it can be looked up; another's name is never right.
			if by := end.By; by.Name != "" && (by.Name != "conntrack" || by.PID != flush.Process.Pid) {
				t.Errorf("by %v, want conntrack (pid %d)", by, flush.Process.Pid)
			}
			t.Log(end.Text)
		})
	}
}

func TestPickup(t *testing.T) {
	table := newTable(t)
	loopback(t, "10.7.0.3/32")
	masquerade(t, 1) // nothing, but connections are tracked
	m := watch(t, Config{Services: []Service{{Name: "redis", Ports: []PortRange{{6379, 6379}}}}})
	clients := pool(t, "10.7.0.3:6379", 3)
	table.flush()
	for _, c := range clients {
		if _, err := c.Write([]byte("y")); err != nil {
			t.Fatal(err)
		}
	}
	e := decode[struct{ Service, State string }](t, m.awaitOne(t, "conntrack.pickup", 3))
	if e.State != "ESTABLISHED" || e.Service != "redis" {
		t.Errorf("picked up: %+v", e)
	}
	m.await(t, "three pick-ups counted", func() bool { return m.total(t).Pickups == 3 })
}

// TestClosedConnectionsAreNoDrop has connections of before the watcher end, so that no event tells of it.
func TestClosedConnectionsAreNoDrop(t *testing.T) {
	table := newTable(t)
	const n = 40
	sysctl(t, "nf_conntrack_events", "0")
	table.add(flowsTo(database, n)...)
	sysctl(t, "nf_conntrack_events", "2")
	m := watch(t, Config{Digest: time.Second})
	for i := range n {
		c := flowTo(database, i)
		c.state, c.timeout = 8, 120 // CLOSE, as after a reset
		table.update(c)
	}
	m.awaitOne(t, "conntrack.digest", 2)
	table.flush()
	m.awaitOne(t, "conntrack.digest", 3)
	if d := m.of("conntrack.drop"); len(d) != 0 {
		t.Errorf("connections that ended are a drop: %s", d[0].Data)
	}
}

func TestEventsSwitchedOff(t *testing.T) {
	table := newTable(t)
	sysctl(t, "nf_conntrack_events", "0")
	m := watch(t, Config{Digest: time.Second})
	if spots, _ := m.hidden(); !strings.Contains(spots, "nf_conntrack_events=0") {
		t.Errorf("blind spots %q, want nf_conntrack_events=0", spots)
	}
	table.add(flowsTo(cache, 20)...)
	m.await(t, "a digest with them", func() bool {
		list := m.of("conntrack.digest")
		return decode[Digest](t, list[len(list)-1]).Services["redis"].Flows == 20
	})
	table.flush()
	if d := decode[Drop](t, m.awaitOne(t, "conntrack.drop", 1)); d.Silent != 20 || d.Services["redis"] != 20 {
		t.Errorf("the drop says %+v, want 20 of redis", d)
	}
}

package conntrack

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// lossAt is the event of a lost flow.
func lossAt(at time.Time, port uint32) *event {
	return &event{Entry: Entry{Protocol: 6, State: StateEstablished, Status: StatusAssured, Left: 1000}, PortID: port, Gone: true, At: at}
}

func TestBurstRule(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name   string
		losses []time.Duration // when, after the begin
		want   []uint64        // the assured of each burst
	}{
		{"none", nil, nil},
		{"two", []time.Duration{0, 1 * ms}, nil},
		{"three at once", []time.Duration{0, 0, 0}, []uint64{3}},
		{"three in two seconds", []time.Duration{0, 1000 * ms, 2000 * ms}, []uint64{3}},
		{"three in more", []time.Duration{0, 1000 * ms, 2001 * ms}, nil},
		{"slow ones", []time.Duration{0, 1500 * ms, 3000 * ms, 4500 * ms, 6000 * ms}, nil},
		{"slow, then fast", []time.Duration{0, 1500 * ms, 3000 * ms, 3100 * ms, 3200 * ms}, []uint64{4}},
		{"fast, then slow", []time.Duration{0, 1 * ms, 2 * ms, 1900 * ms, 3800 * ms}, []uint64{5}},
		{"two bursts", []time.Duration{0, 1 * ms, 2 * ms, 2100 * ms, 2101 * ms, 2102 * ms, 2103 * ms}, []uint64{3, 4}},
		{"the clock is set back", []time.Duration{5000 * ms, 5001 * ms, 4000 * ms}, []uint64{3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, names := newMemory(), newNames("/proc")
			a := author{name: byKernel}
			begun := time.Now()
			for _, d := range c.losses {
				a.tick(begun.Add(d), m, names)
				a.destroyed(lossAt(begun.Add(d), 0), begun.Add(d))
			}
			a.tick(begun.Add(time.Hour), m, names)
			events := m.of("conntrack.burst")
			if len(events) != 2*len(c.want) {
				t.Fatalf("%d events, want a begin and an end of %d", len(events), len(c.want))
			}
			for i, n := range c.want {
				b, e := decode[Burst](t, events[2*i]), decode[Burst](t, events[2*i+1])
				if b.Phase != phaseBegin || e.Phase != phaseEnd || b.First != e.First || b.Assured < burstLosses || e.Assured != n || e.Count != n {
					t.Errorf("burst %d: %+v, %+v, want %d", i, b, e, n)
				}
			}
		})
	}
}

func TestABurstThatGoesOnIsToldEachMinute(t *testing.T) {
	m, names := newMemory(), newNames("/proc")
	a := author{name: byKernel}
	begun := time.Now()
	const n = 200 // a second apart
	for i := range n {
		now := begun.Add(time.Duration(i) * time.Second)
		a.destroyed(lossAt(now, 0), now)
		a.tick(now, m, names)
	}
	a.tick(begun.Add(n*time.Second+burstQuiet), m, names)
	sum := uint64(0)
	events := m.of("conntrack.burst")
	for _, e := range events {
		if b := decode[Burst](t, e); b.Phase == phaseEnd {
			sum += b.Assured
		}
	}
	if len(events) != 8 || sum != n {
		t.Errorf("%d events with %d losses, want 4 bursts with all %d", len(events), sum, n)
	}
}

func TestBurstNamesAllProcesses(t *testing.T) {
	m, names := newMemory(), newNames("/proc")
	names.known[7] = known{hoststate.Process{PortID: 7, PID: 7, Name: "one"}, time.Now()}
	a := author{name: byUserspace}
	now := time.Now()
	for _, port := range []uint32{7, 8, 7, 8, 8} {
		a.destroyed(lossAt(now, port), now)
	}
	a.gap = now
	if a.tick(now, m, names); len(m.of("conntrack.burst")) != 0 {
		t.Error("the begin did not wait for the name of 8")
	}
	a.tick(now.Add(namePatience), m, names)
	e := m.awaitOne(t, "conntrack.burst", 1)
	b := decode[Burst](t, e)
	if b.PortID != 8 || e.By.String() != "portid 8, name unknown" || len(b.Processes) != 2 || b.Processes[1].Name != "one" || b.Processes[1].Assured != 2 || !b.Incomplete {
		t.Errorf("by %v: %+v", e.By, b)
	}
}

// fakeProc makes a proc with processes: id, name, ids in their namespaces, network namespace, inode of their socket.
func fakeProc(t *testing.T, sockets string, processes ...[5]string) string {
	t.Helper()
	proc := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(proc, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, path string) {
		path = filepath.Join(proc, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
	}
	write("net/netlink", "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"+sockets)
	link("net:[1]", "self/ns/net")
	for _, p := range processes {
		write(p[0]+"/status", "Name:\t"+p[1]+"\nUmask:\t0022\nTgid:\t"+p[0]+"\nNStgid:\t"+p[2]+"\n")
		if p[3] != "" {
			link("net:["+p[3]+"]", p[0]+"/ns/net")
		}
		link("/dev/null", p[0]+"/fd/0")
		if p[4] != "" {
			link("socket:["+p[4]+"]", p[0]+"/fd/1")
		}
	}
	return proc
}

func TestNames(t *testing.T) {
	const socket42 = "0000000042 12  42     00000000 0        0        0     2        5        900\n"
	const socketBig = "0000000042 12  4294963200 00000000 0 0 0 2 0 901\n"
	own := [5]string{"42", "flusher", "42", "1", "900"}
	for _, c := range []struct {
		name      string
		sockets   string
		port      uint32
		processes [][5]string
		want      string
	}{
		{"its own id", socket42, 42, [][5]string{own}, "flusher (pid 42)"},
		{"another's socket with that id", socket42, 42, [][5]string{{"42", "innocent", "42", "1", ""}, {"77", "flusher", "77 42", "1", "900"}}, "flusher (pid 77)"},
		{"a second socket", socketBig, 4294963200, [][5]string{{"77", "agent", "77", "1", "901"}}, "agent (pid 77)"},
		{"a socket of another protocol", "0 0 42 0 0 0 0 2 0 900\n", 42, [][5]string{{"77", "ip", "77", "1", "900"}}, "portid 42, name unknown"},
		{"its socket is gone", "", 42, [][5]string{{"42", "flusher", "42", "1", ""}, {"7", "init", "7", "1", ""}}, "flusher (pid 42)"},
		{"its socket is gone, in a container", "", 1, [][5]string{{"1", "systemd", "1", "9", ""}, {"77", "kube-proxy", "77 1", "1", ""}}, "kube-proxy (pid 77)"},
		{"two may be it", "", 1, [][5]string{{"1", "systemd", "1", "1", ""}, {"77", "kube-proxy", "77 1", "1", ""}}, "portid 1, name unknown"},
		{"a namespace that cannot be read", "", 42, [][5]string{{"77", "other", "77 42", "", ""}}, "portid 42, name unknown"},
		{"the same, on the node", "", 42, [][5]string{{"42", "flusher", "42", "", ""}}, "flusher (pid 42)"},
		{"all gone", "", 42, nil, "portid 42, name unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNames(fakeProc(t, c.sockets, c.processes...))
			got := n.find(c.port)
			if got.String() != c.want || got.PortID != c.port {
				t.Errorf("%v, want %s", &got, c.want)
			}
		})
	}
	t.Run("drops", func(t *testing.T) {
		if inode, drops := netfilterSocket(fakeProc(t, socket42), 42); inode != "900" || drops != 5 {
			t.Errorf("inode %s, %d drops", inode, drops)
		}
	})
	t.Run("searches are bounded", func(t *testing.T) {
		n := newNames(fakeProc(t, "", [5]string{"42", "flusher", "42", "1", ""}))
		n.searched, n.took = time.Now(), time.Hour
		if got := n.find(42); got.Name != "" {
			t.Errorf("searched for %v within a search's share of the time", &got)
		}
	})
	t.Run("few are kept", func(t *testing.T) {
		n := newNames("/proc")
		for port := range uint32(10 * mostNames) {
			n.forget(time.Now())
			n.known[port] = known{at: time.Now()}
		}
		if len(n.known) > mostNames {
			t.Errorf("%d names kept", len(n.known))
		}
		n.known[1] = known{hoststate.Process{PortID: 1, Name: "old"}, time.Now().Add(-2 * keepName)}
		if p := n.process(1); p.Name != "" || n.has(map[uint32]uint64{1: 1}) {
			t.Errorf("portid %s is still %v", strconv.Itoa(1), p)
		}
	})
}

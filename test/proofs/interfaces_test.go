package proofs

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/readback"
	"github.com/ringside/ringside/test/ringside"
)

// record starts a recorder of headers with an interface policy.
func (s site) record(t *testing.T, policy string) *ringside.Recorder {
	t.Helper()
	r := ringside.LaunchUnready(t, ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: policy,
	})
	err := r.Until(patience, "answering", func() bool {
		_, _, err := r.Get("/healthz")
		return err == nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// finish stops the recorder, when it has everything, and holds its spool against what was sent.
func finish(t *testing.T, r *ringside.Recorder, all ...traffic) *readback.Ledger {
	t.Helper()
	settled(t, r, count(all))
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	l := ledgerOf(t, r, sources(all)...)
	exact(t, l, senders(all)...)
	return l
}

func (s site) in(t *testing.T, id uint32, name string, recorded ...string) traffic {
	t.Helper()
	p := loadgen.Plan{ID: id, Port: headersPort, V6: true, Tags: true, Sizes: mixedSizes}
	return traffic{s.inbound(t, name, p), readback.Source{Plan: p, Interfaces: recorded}}
}

func TestInterfaceAppearsLater(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	t.Parallel()
	s := newSite(t)
	r := s.record(t, "[late0]")
	if ready, found := interfaces(t, r); ready || found["late0"].State != "waiting" || found["late0"].Why == "" {
		t.Errorf("ready %v, late0 %+v, want not ready, and waiting with a reason", ready, found["late0"])
	}
	if status, _, _ := r.Get("/readyz"); status != 503 {
		t.Errorf("readyz answers %d, want 503", status)
	}
	if err := r.Until(patience, "warning", func() bool { // the log comes through a pipe
		return strings.Contains(r.Log(), `"warn"`) && strings.Contains(r.Log(), "late0")
	}); err != nil {
		t.Errorf("no warning names the missing interface: %v", err)
	}
	s.add(t, "late0")
	awaitState(t, r, "late0", "recording")
	if status, _, _ := r.Get("/readyz"); status != 200 {
		t.Errorf("readyz answers %d, want 200", status)
	}
	f := s.in(t, 1, "late0", "late0")
	send(t, f.Sender, 1000, 0)
	finish(t, r, f)
}

func TestInterfaceDownAndUp(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	t.Parallel()
	s := newSite(t, "own0", "veth0")
	r := s.record(t, `[own0, "veth*"]`)
	own, shared := s.in(t, 1, "own0", "own0"), s.in(t, 2, "veth0", "veth0")
	for round := range 3 {
		if round > 0 {
			for _, name := range []string{"own0", "veth0"} {
				if err := s.node.Down(name); err != nil {
					t.Fatal(err)
				}
				awaitState(t, r, name, "down")
				if err := s.node.Up(name); err != nil {
					t.Fatal(err)
				}
				awaitState(t, r, name, "recording")
				if err := s.pods.Running(peer(name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		send(t, own.Sender, 1000, 0)
		send(t, shared.Sender, 1000, 0)
	}
	finish(t, r, own, shared)
}

func TestInterfaceRenamed(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	t.Parallel()
	s := newSite(t, "old0")
	r := s.record(t, `[old0, new0]`)
	awaitState(t, r, "old0", "recording")
	before := s.in(t, 1, "old0", "old0")
	send(t, before.Sender, 1000, 0)
	during := s.in(t, 2, "old0", "old0", "new0")
	stop := steady(t, during.Sender, 5000)
	time.Sleep(100 * time.Millisecond)
	if err := s.node.Rename("old0", "new0"); err != nil {
		t.Fatal(err)
	}
	awaitState(t, r, "new0", "recording")
	stop()
	after := traffic{sender(t, s.pods, peer("old0"), loadgen.Plan{ID: 3, Port: headersPort}), readback.Source{
		Plan: loadgen.Plan{ID: 3, Port: headersPort}, Interfaces: []string{"new0"},
	}}
	send(t, after.Sender, 1000, 0)
	finish(t, r, before, during, after)
}

// TestDefaultRouteMoves records the interface of the default route. One that was an uplink stays recorded.
func TestDefaultRouteMoves(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	t.Parallel()
	s := newSite(t, "wan0", "wan1", "other0")
	r := s.record(t, "[auto]")
	if ready, found := interfaces(t, r); ready || found["auto"].State != "waiting" {
		t.Errorf("ready %v, auto %+v, want not ready and waiting: there is no route", ready, found["auto"])
	}
	var all []traffic
	for i, name := range []string{"wan0", "wan1"} {
		if err := s.node.Address(name, fmt.Sprintf("10.9.%d.1/24", i)); err != nil {
			t.Fatal(err)
		}
		if err := s.node.Default(name, netip.AddrFrom4([4]byte{10, 9, byte(i), 2})); err != nil {
			t.Fatal(err)
		}
		awaitState(t, r, name, "recording")
		f := s.in(t, uint32(1+i), name, name)
		send(t, f.Sender, 1000, 0)
		all = append(all, f)
	}
	again := s.in(t, 3, "wan0", "wan0")
	send(t, again.Sender, 1000, 0)
	other := s.in(t, 4, "other0") // never an uplink: its packets would be nobody's
	send(t, other.Sender, 1000, 0)
	finish(t, r, append(all, again)...)
}

// TestNewbornInterface sends through veths the moment they exist: their first packets must be recorded.
func TestNewbornInterface(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	t.Parallel()
	s := newSite(t, "veth")
	r := s.record(t, `["veth*"]`)
	var all []traffic
	for i := range uint32(30) {
		name := fmt.Sprintf("veth%d", i)
		if err := s.node.NewVeth(name, s.pods, peer(name)); err != nil {
			t.Fatal(err)
		}
		p := loadgen.Plan{ID: 100 + i, Port: headersPort}
		f := traffic{s.outbound(t, name, p), readback.Source{Plan: p, Interfaces: []string{name}, Outbound: true}}
		send(t, f.Sender, 200, 0)
		all = append(all, f)
	}
	finish(t, r, all...)
}

// TestTunDevice records frames without an Ethernet header: the tools must read them like any others.
func TestTunDevice(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	t.Parallel()
	s := newSite(t, "v0")
	tun, err := s.node.Tun("tun0")
	if err != nil {
		t.Fatal(err)
	}
	defer tun.Close()
	for _, policy := range []string{"[tun0]", `["tun*"]`} { // a ring of its own, and the shared one
		r := s.record(t, policy)
		awaitState(t, r, "tun0", "recording")
		p := loadgen.Plan{ID: 1, Port: wholePort, V6: true, Sizes: []int{60, 100, 1000, 1500}}
		const packets, ethernet = 1000, 14
		for n := range packets {
			if _, err := tun.Write(p.Append(nil, n)[ethernet:]); err != nil {
				t.Fatal(err)
			}
		}
		settled(t, r, packets)
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
		l := ledgerOf(t, r, readback.Source{Plan: p, Interfaces: []string{"tun0"}, Payload: -1})
		sane(t, l)
		if missing := l.Missing(1, packets); len(missing) > 0 {
			t.Errorf("%s: %d of %d packets read, missing %v", policy, l.Seen(1), packets, missing)
		}
	}
}

func TestRefusesToStart(t *testing.T) {
	need(t, "setpriv")
	t.Parallel()
	s := newSite(t, "v0")
	for name, c := range map[string]struct {
		policy string
		prefix []string
		code   int
		says   []string
	}{
		"required interface missing": {"[v0, {name: eth9, require: true}]", nil, 2, []string{"eth9", "require"}},
		"no CAP_NET_RAW": {
			"[v0]", []string{"setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"}, 1,
			[]string{"CAP_NET_RAW", "setcap", "sudo", "securityContext"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := ringside.LaunchUnready(t, ringside.Options{
				Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: c.policy, Prefix: c.prefix,
			})
			code, err := r.Wait(10 * time.Second)
			if err != nil || code != c.code {
				t.Fatalf("exit code %d, %v, want %d: %s", code, err, c.code, r.Log())
			}
			for _, word := range c.says {
				if !strings.Contains(r.Log(), word) {
					t.Errorf("no %q in: %s", word, r.Log())
				}
			}
		})
	}
}

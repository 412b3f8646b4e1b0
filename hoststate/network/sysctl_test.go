package network

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// The kernel's own sysctls, in the test's namespace.
func TestSysctlsOfTheKernel(t *testing.T) {
	needNamespace(t)
	iface(t, "eth0")
	iface(t, "veth0")
	m := &memory{}
	run(t, NewSysctls(Config{}), m)
	first := map[string]string{}
	await(t, "the values at start", func() bool { return len(m.of("sysctl.value")) >= len(Sysctls("")) })
	for _, e := range m.of("sysctl.value") {
		first[e.Subject] = e.After
	}
	for _, name := range []string{"net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter", "net.ipv4.conf.eth0.rp_filter", "net.ipv6.conf.all.forwarding",
		"net.ipv4.tcp_tw_reuse", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syn_linear_timeouts"} {
		if first[name] == "" {
			t.Errorf("%s is not told", name)
		}
	}
	if _, ok := first["net.ipv4.conf.veth0.rp_filter"]; ok {
		t.Error("the sysctls of a quiet interface are told")
	}
	must(t, os.WriteFile("/proc/sys/net/ipv4/tcp_retries2", []byte("9"), 0))
	e := m.await(t, 1, "sysctl.change")[0]
	if e.Subject != "net.ipv4.tcp_retries2" || e.Before != "15" || e.After != "9" ||
		e.Text != "net.ipv4.tcp_retries2 was set from 15 to 9 within the last 2s" || string(e.Data) != `{"name":"net.ipv4.tcp_retries2","value":"9"}` {
		t.Errorf("told %+v", e)
	}
}

func TestSysctlChanges(t *testing.T) {
	proc := t.TempDir()
	set := func(name, value string) {
		t.Helper()
		path := filepath.Join(proc, "sys/net", name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(value+"\n"), 0o644))
	}
	set("ipv4/ip_forward", "1")
	set("ipv4/ip_local_port_range", "32768\t60999")
	set("ipv4/conf/eth0/rp_filter", "1")
	set("ipv4/conf/eth0.100/rp_filter", "2")
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		run(t, NewSysctls(Config{Proc: proc}), m)
		told := func() (all []string) {
			synctest.Wait()
			for _, e := range m.of("sysctl.value", "sysctl.change") {
				all = append(all, e.Subject+": "+e.Before+" > "+e.After)
			}
			m.clear()
			return all
		}
		is := func(want ...string) {
			t.Helper()
			got := told()
			if len(got) != len(want) {
				t.Fatalf("told %q, want %q", got, want)
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("told %q, want %q", got[i], want[i])
				}
			}
		}
		is("net.ipv4.conf.eth0.100.rp_filter:  > 2", "net.ipv4.conf.eth0.rp_filter:  > 1", "net.ipv4.ip_forward:  > 1",
			"net.ipv4.ip_local_port_range:  > 32768 60999")
		set("ipv4/ip_forward", "0")
		set("netfilter/nf_conntrack_max", "65536")
		set("ipv4/conf/eth1/rp_filter", "1")
		must(t, os.RemoveAll(filepath.Join(proc, "sys/net/ipv4/conf/eth0")))
		time.Sleep(2 * time.Second)
		is("net.ipv4.ip_forward: 1 > 0", "net.netfilter.nf_conntrack_max:  > 65536")
		time.Sleep(10 * time.Second)
		is()
		must(t, os.Remove(filepath.Join(proc, "sys/net/netfilter/nf_conntrack_max")))
		set("ipv4/conf/eth1/rp_filter", "0")
		time.Sleep(2 * time.Second)
		is("net.ipv4.conf.eth1.rp_filter: 1 > 0", "net.netfilter.nf_conntrack_max: 65536 > ")
	})
}

func TestNoSysctls(t *testing.T) {
	err := NewSysctls(Config{Proc: t.TempDir()}).Run(t.Context(), &memory{})
	if _, ok := err.(*hoststate.Unavailable); !ok {
		t.Errorf("without procfs it ends with %v", err)
	}
}

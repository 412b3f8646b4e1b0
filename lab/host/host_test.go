package host

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// childMode is set in a copy of the test that is there to be killed.
const childMode = "RINGSIDE_TEST_HOST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childMode) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

func newHost(t *testing.T, name string, o Options) *Host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: CAP_SYS_ADMIN and CAP_NET_ADMIN make network namespaces")
	}
	h, err := New(name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// await waits until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatal("after 30 s: ", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// holders are the threads and open files of a process, or of all ("*"), that hold a network namespace.
func holders(pid, namespace string) (list []string) {
	for _, pattern := range []string{"/proc/" + pid + "/task/*/ns/net", "/proc/" + pid + "/fd/*"} {
		paths, _ := filepath.Glob(pattern)
		for _, p := range paths {
			if to, err := os.Readlink(p); err == nil && to == namespace {
				list = append(list, p)
			}
		}
	}
	return list
}

// inside is the name of the host's network namespace, as /proc has it.
func inside(h *Host) (name string, err error) {
	err = h.Do(func() (err error) { name, err = os.Readlink("/proc/thread-self/ns/net"); return err })
	return name, err
}

func links(t *testing.T) (names []string) {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names
}

func TestVethLivesAndDiesWithItsHosts(t *testing.T) {
	before := links(t)
	var namespaces []string
	t.Run("inside", func(t *testing.T) {
		node, pod := newHost(t, "node", Options{}), newHost(t, "pod", Options{})
		for _, h := range []*Host{node, pod} {
			name, err := inside(h)
			if err != nil {
				t.Fatal(err)
			}
			namespaces = append(namespaces, name)
		}
		if err := node.Veth("v0", pod, "eth0"); err != nil {
			t.Fatal(err)
		}
		if err := node.Rename("v0", "v1"); err != nil {
			t.Fatal(err)
		}
		for name, h := range map[string]*Host{"v1": node, "eth0": pod} {
			out, err := h.Run("cat", "/sys/class/net/"+name+"/operstate")
			if err != nil || strings.TrimSpace(out) != "up" {
				t.Errorf("%s: state %q, %v, want up", name, out, err)
			}
		}
		if err := node.Remove("v1"); err != nil {
			t.Fatal(err)
		}
		if l, err := pod.Link("eth0"); err == nil {
			t.Errorf("the peer %+v survived its veth", l)
		}
		tun, err := node.Tun("tun0")
		if err != nil {
			t.Fatal(err)
		}
		tun.Close()
		if l, err := node.Link("tun0"); err == nil {
			t.Errorf("the tun device %+v survived its file", l)
		}
	})
	if after := links(t); !slices.Equal(after, before) {
		t.Errorf("the machine has links %v, had %v", after, before)
	}
	for _, n := range namespaces {
		await(t, n+" is still held", func() bool { return len(holders("self", n)) == 0 }) // a thread ends a moment after its goroutine
	}
}

func TestChildDiesWithItsHost(t *testing.T) {
	h := newHost(t, "h", Options{})
	cmd := exec.Command("sleep", "600")
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the child was not killed")
	}
	if err := h.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

// child makes hosts and a process in one, tells of them, and waits to be killed.
func child() {
	node, err := New("node", Options{IPv6: true})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	pod, err := New("pod", Options{})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	sleep := exec.Command("sleep", "600")
	err = node.Do(func() error { return unix.Mount("ringside", "/run", "tmpfs", 0, "") })
	for _, f := range []func() error{
		func() error { return err },
		func() error { return node.Veth("rs-killed0", pod, "rs-killed1") },
		func() error { return node.Start(sleep) },
	} {
		if err := f(); err != nil {
			fmt.Println("error", err)
			return
		}
	}
	one, _ := inside(node)
	other, _ := inside(pod)
	fmt.Println(one, other, sleep.Process.Pid)
	time.Sleep(10 * time.Minute) // not select {}: that is a deadlock to the runtime, which ends the process
}

// TestNothingIsLeftByKill kills a process with hosts, as nothing can be caught.
func TestNothingIsLeftByKill(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: CAP_SYS_ADMIN and CAP_NET_ADMIN make network namespaces")
	}
	linksBefore, mountsBefore := links(t), mounts(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env, cmd.Stderr = append(os.Environ(), childMode+"=1"), os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	f := strings.Fields(line)
	if err != nil || len(f) != 3 || f[0] == "error" {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("the child said %q: %v", line, err)
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	for _, n := range f[:2] {
		await(t, "nobody holds "+n+" while the child lives: the test looks for the wrong thing", func() bool { return len(holders(pid, n)) > 0 })
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	await(t, "the child's child "+f[2]+" lives", func() bool {
		cmdline, err := os.ReadFile("/proc/" + f[2] + "/cmdline")
		return err != nil || !strings.HasPrefix(string(cmdline), "sleep")
	})
	for _, n := range f[:2] {
		await(t, n+" is still held", func() bool { return len(holders("[0-9]*", n)) == 0 })
	}
	if after := links(t); !slices.Equal(after, linksBefore) {
		t.Errorf("the machine has links %v, had %v", after, linksBefore)
	}
	for m := range mounts(t) {
		if !mountsBefore[m] && strings.Contains(m, " ringside ") {
			t.Errorf("mount left behind: %s", m)
		}
	}
}

func mounts(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		all[line] = true
	}
	return all
}

// TestWays: addresses, routes, tables and rules of both families carry packets.
func TestWays(t *testing.T) {
	for _, c := range []struct{ name, a, b, far string }{
		{"IPv4", "10.7.0.1/24", "10.7.0.2/24", "10.8.0.1/32"},
		{"IPv6", "fd00:7::1/64", "fd00:7::2/64", "fd00:8::1/128"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := Options{IPv6: c.name == "IPv6"}
			a, b := newHost(t, "a", o), newHost(t, "b", o)
			far, source := netip.MustParsePrefix(c.far), netip.MustParsePrefix(c.a)
			rule := Rule{From: netip.PrefixFrom(source.Addr(), source.Addr().BitLen()), Table: 7, Priority: 100}
			route := Route{To: far, Via: netip.MustParsePrefix(c.b).Addr(), Link: "v", Table: 7}
			for _, step := range []error{
				a.Veth("v", b, "v"), a.Address("v", c.a), b.Address("v", c.b), b.Address("lo", c.far), a.Route(route), a.Rule(rule), a.MTU("v", 1400),
			} {
				if step != nil {
					t.Fatal(step)
				}
			}
			reach := func() error {
				return a.Do(func() error {
					d := net.Dialer{LocalAddr: &net.TCPAddr{IP: source.Addr().AsSlice()}, Timeout: 5 * time.Second}
					conn, err := d.Dial("tcp", netip.AddrPortFrom(far.Addr(), 7).String())
					if err == nil {
						conn.Close()
					}
					return err
				})
			}
			var l net.Listener
			if err := b.Do(func() (err error) {
				l, err = net.Listen("tcp", netip.AddrPortFrom(far.Addr(), 7).String())
				return err
			}); err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if err := reach(); err != nil {
				t.Fatal(err)
			}
			if err := a.RemoveRule(rule); err != nil {
				t.Fatal(err)
			}
			if reach() == nil {
				t.Error("reached without the rule")
			}
			if err := a.Rule(rule); err != nil {
				t.Fatal(err)
			}
			if err := a.RemoveRoute(route); err != nil {
				t.Fatal(err)
			}
			if reach() == nil {
				t.Error("reached without the route")
			}
			if err := a.RemoveAddress("v", c.a); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestSysctlsAreTheHostsOwn(t *testing.T) {
	h := newHost(t, "h", Options{})
	const name = "net/ipv4/ip_local_port_range"
	before, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Sysctl(name, "40000\t40001"); err != nil {
		t.Fatal(err)
	}
	if got, err := h.ReadSysctl(name); err != nil || got != "40000\t40001" {
		t.Errorf("in the host it is %q: %v", got, err)
	}
	if after, _ := os.ReadFile("/proc/sys/" + name); string(after) != string(before) {
		t.Errorf("the machine's is %q, was %q", after, before)
	}
	for _, bad := range []string{"kernel/hostname", "net/../kernel/hostname", "/proc/sys/net/ipv4/ip_forward", "../net"} {
		if h.Sysctl(bad, "x") == nil {
			t.Errorf("%s was set", bad)
		}
	}
}

package counters

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

const inNamespace = "RINGSIDE_TEST_NAMESPACE"

// TestMain runs the tests in a network namespace of their own: /proc/net is that of the process's first thread.
func TestMain(m *testing.M) {
	if os.Getenv(inNamespace) == "" && os.Geteuid() == 0 {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), inNamespace+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
		if err := cmd.Run(); err != nil {
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				os.Exit(exit.ExitCode())
			}
			panic(err)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// TestKernel makes the real kernel refuse so many connections and datagrams, and has exactly those counted.
func TestKernel(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		t.Skip("needs root: CAP_SYS_ADMIN makes a network namespace, CAP_NET_ADMIN sets its loopback up")
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	const connects, datagrams = 17, 23
	var s events
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(Config{Interval: 20 * time.Millisecond}).Run(ctx, &s) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	await(t, func() bool { return len(s.seen()) > 0 })
	for range connects {
		if c, err := net.Dial("tcp4", "127.0.0.1:1"); !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatal(c, err)
		}
	}
	for range datagrams {
		c, err := net.Dial("udp6", "[::1]:1")
		if err != nil {
			t.Skip("needs IPv6: ", err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	total := map[string]uint64{}
	await(t, func() bool {
		clear(total)
		for _, e := range s.seen()[1:] {
			for name, n := range data(t, e) {
				total[name] += n
			}
		}
		return total["tcp.OutRsts"] >= connects && total["udp6.NoPorts"] >= datagrams && total["icmp6.OutDestUnreachs"] >= datagrams
	})
	for name, want := range map[string]uint64{
		"tcp.ActiveOpens": connects, "tcp.AttemptFails": connects, "tcp.OutRsts": connects, "udp6.NoPorts": datagrams,
		"icmp6.OutDestUnreachs": datagrams, "icmp6.InDestUnreachs": datagrams, "tcp.RetransSegs": 0, "ip.InDiscards": 0,
	} {
		if total[name] != want {
			t.Errorf("%s grew by %d, want %d", name, total[name], want)
		}
	}
	t.Logf("%v", total)
}

func await(t *testing.T, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited 30 s in vain")
		}
	}
}

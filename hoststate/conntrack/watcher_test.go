package conntrack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

// watch runs a watcher until the test ends, and returns when it has begun: it has read the table.
func watch(t testing.TB, cfg Config) *memory {
	t.Helper()
	if cfg.Services == nil {
		cfg.Services = watched
	}
	m := newMemory()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- New(cfg).Run(ctx, m) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	m.await(t, "the first digest", func() bool {
		_, called := m.hidden()
		return called && len(m.of("conntrack.digest")) > 0
	})
	return m
}

func TestFlushIsCountedExactly(t *testing.T) {
	table := newTable(t)
	for _, n := range []int{3, 13, 1000, 30000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			m := watch(t, Config{})
			table.add(flowsTo(database, n)...)
			m.await(t, "all made", func() bool { return m.total(t).New >= uint64(n) })
			table.flush()
			begin := m.awaitOne(t, "conntrack.burst", 1)
			end := m.awaitOne(t, "conntrack.burst", 2)
			b, e := decode[Burst](t, begin), decode[Burst](t, end)
			if b.Phase != "begin" || e.Phase != "end" || b.First != e.First || e.First > e.Last {
				t.Errorf("phases, times: %+v, %+v", b, e)
			}
			if e.Count != uint64(n) || e.Assured != uint64(n) || e.Services["postgres"] != uint64(n) || e.Incomplete {
				t.Errorf("the burst says %+v, want %d of postgres", e, n)
			}
			t.Logf("begin told %v after the first loss, the last came %v after it", m.seenAt(begin).Sub(time.Unix(0, b.First)), time.Duration(e.Last-e.First))
			if me := table.conn.PID(); e.PortID != me || end.Subject != "userspace" || end.By == nil || end.By.PID != os.Getpid() || end.By.Name == "" {
				t.Errorf("by %v (portid %d, %q), want this process, portid %d", end.By, e.PortID, end.Subject, me)
			}
			sum := m.total(t)
			if sum.Destroy != uint64(n) || sum.Userspace != uint64(n) || sum.Lost != uint64(n) {
				t.Errorf("counted %+v, want %d destroyed by userspace", sum, n)
			}
			if told := uint64(len(m.of("conntrack.destroy"))+len(m.of("conntrack.new"))) + sum.LeftOut; told != 2*uint64(n) {
				t.Errorf("told or left out: %d of %d", told, 2*n)
			}
			if len(m.of("conntrack.burst")) != 2 || len(m.of("conntrack.gap")) != 0 {
				t.Errorf("%d bursts, %d gaps", len(m.of("conntrack.burst"))/2, len(m.of("conntrack.gap")))
			}
		})
	}
}

// TestOnlyLossesAreABurst has entries destroyed that nobody misses, between those that hurt.
func TestOnlyLossesAreABurst(t *testing.T) {
	table := newTable(t)
	m := watch(t, Config{})
	harmless := []connection{
		{n: 1, server: database, state: StateEstablished, timeout: 432000},                          // never assured
		{n: 2, server: database, state: StateEstablished, status: StatusAssured, timeout: lossLeft}, // about to expire
		{n: 3, server: database, state: 7, status: StatusAssured, timeout: 120},                     // TIME_WAIT
		{n: 4, server: cache, udp: true, status: StatusAssured, timeout: 120},
		flowTo(database, 5), flowTo(other, 6), // two losses are no burst
	}
	table.add(harmless...)
	table.flush()
	m.await(t, "all destroyed", func() bool { return m.total(t).Destroy == uint64(len(harmless)) })
	if sum := m.total(t); sum.Lost != 2 || sum.Userspace != uint64(len(harmless)) {
		t.Errorf("counted %+v, want 2 lost of %d", sum, len(harmless))
	}
	time.Sleep(burstWindow)
	if b := m.of("conntrack.burst"); len(b) != 0 {
		t.Fatalf("a burst without three losses: %s", b[0].Data)
	}
	if told := m.of("conntrack.destroy"); len(told) != 5 {
		t.Errorf("told %d of the 5 destroyed that belong to watched services", len(told))
	}

	table.add(append(harmless, flowTo(other, 7), flowTo(database6, 8))...)
	table.flush()
	b := decode[Burst](t, m.awaitOne(t, "conntrack.burst", 2))
	if b.Assured != 4 || b.Services["postgres"] != 2 || b.Services[""] != 2 || b.Count < 4 || b.Count > uint64(len(harmless)+2) {
		t.Errorf("the burst says %+v, want 4, 2 of postgres", b)
	}
}

func TestServicesChangeLive(t *testing.T) {
	table := newTable(t)
	w := New(Config{})
	m := newMemory()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx, m) }()
	m.await(t, "the first digest", func() bool { return len(m.of("conntrack.digest")) > 0 })
	table.add(flowTo(other, 1))
	m.await(t, "an event", func() bool { return m.total(t).New == 1 })
	if n := len(m.of("conntrack.new")); n != 0 {
		t.Errorf("%d entries of no service are told", n)
	}
	w.SetServices([]Service{{Name: "web", Ports: []PortRange{{8000, 8999}}}})
	made := 1
	m.await(t, "an entry of the new service", func() bool {
		made++
		table.add(flowTo(other, made))
		return len(m.of("conntrack.new")) > 0
	})
	if e := m.of("conntrack.new")[0]; e.Subject != "web" || decode[struct{ Service string }](t, e).Service != "web" {
		t.Errorf("told as of %q: %s", e.Subject, e.Data)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestEndConcludesABurst(t *testing.T) {
	table := newTable(t)
	m := newMemory()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- New(Config{Services: watched}).Run(ctx, m) }()
	m.await(t, "the first digest", func() bool { return len(m.of("conntrack.digest")) > 0 })
	table.add(flowsTo(cache, 3)...)
	table.flush()
	m.awaitOne(t, "conntrack.burst", 1)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if b := m.of("conntrack.burst"); len(b) != 2 || decode[Burst](t, b[1]).Phase != "end" {
		t.Errorf("%d events of the burst, want its end too", len(b))
	}
	if sum := m.total(t); sum.Destroy != 3 {
		t.Errorf("counted %+v", sum)
	}
}

func TestWithoutPermission(t *testing.T) {
	needNamespace(t)
	if os.Getenv(asNobody) != "" {
		err := New(Config{}).Run(t.Context(), newMemory())
		if u, ok := errors.AsType[*hoststate.Unavailable](err); !ok || !strings.Contains(u.Cure, "CAP_NET_ADMIN") {
			t.Errorf("Run: %v, want the capability that is missing", err)
		}
		if _, _, err := Dump(t.Context(), nil, 1); err == nil {
			t.Error("Dump without permission: no error")
		}
		return
	}
	program, err := os.Open("/proc/self/exe") // whose path nobody may be able to reach
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	cmd := exec.Command("/proc/self/fd/3", "-test.run=^TestWithoutPermission$")
	cmd.ExtraFiles = []*os.File{program}
	cmd.Env = append(os.Environ(), asNobody+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

const asNobody = "RINGSIDE_TEST_NOBODY"

func TestUnavailable(t *testing.T) {
	for _, c := range []struct {
		err  error
		cure string // "": it is worth another try
	}{
		{unix.EPERM, "CAP_NET_ADMIN"}, {unix.EACCES, "CAP_NET_ADMIN"},
		{unix.EPROTONOSUPPORT, "nf_conntrack_netlink"}, {unix.EINVAL, "nf_conntrack_netlink"}, {unix.EOPNOTSUPP, "nf_conntrack_netlink"},
		{unix.ENOMEM, ""}, {unix.EBUSY, ""},
	} {
		u, off := errors.AsType[*hoststate.Unavailable](unavailable("read", os.NewSyscallError("x", c.err)))
		if off != (c.cure != "") || off && !strings.Contains(u.Cure, c.cure) {
			t.Errorf("%v: %v", c.err, u)
		}
	}
}

func TestAPanicEndsAllParts(t *testing.T) {
	stopped := false
	err := together(t.Context(), func(context.Context) error { panic("oops") }, func(ctx context.Context) error {
		<-ctx.Done()
		stopped = true
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "oops") || !stopped {
		t.Errorf("together: %v, stopped %v", err, stopped)
	}
}

// TestRequestsAreBounded asks for more than may be taken.
func TestRequestsAreBounded(t *testing.T) {
	table := newTable(t)
	table.add(flowsTo(database, 1000)...)
	n := 0
	count := func(header, []byte) { n++ }
	if err := ask(t.Context(), ctGet, netlink.Dump, -1, count); !errors.Is(err, errPartial) {
		t.Errorf("past its time: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ask(ctx, ctGet, netlink.Dump, dumpTime, count); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := ask(t.Context(), 99, netlink.Dump, dumpTime, count); err == nil {
		t.Error("a request that the kernel does not know: no error")
	}
	entries, total, err := Dump(t.Context(), watched, 10)
	if err != nil || total != 1000 || len(entries) != 10 || entries[0].Service != "postgres" || entries[0].Dst != database || entries[0].ReplySrc != database {
		t.Errorf("Dump: %d of %d, %v: %+v", len(entries), total, err, entries[:min(1, len(entries))])
	}
	if _, total, err := Dump(t.Context(), []Service{}, 10); err != nil || total != 0 {
		t.Errorf("Dump of no service: %d, %v", total, err)
	}
}

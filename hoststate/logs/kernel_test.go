package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

// chatter makes the kernel log n lines: an interface in a network namespace of its own becomes promiscuous so often.
func chatter(t *testing.T, name string, n int) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with it
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "peer"}
			if err := netlink.LinkAdd(link); err != nil {
				return err
			}
			for range n {
				if err := errors.Join(netlink.SetPromiscOn(link), netlink.SetPromiscOff(link)); err != nil {
					return err
				}
			}
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Skipf("no interface in a network namespace, which needs CAP_NET_ADMIN and CAP_SYS_ADMIN: %v", err)
	}
}

// The real kernel's log: each line once, across restarts, whether they were written meanwhile or not.
func TestKmsg(t *testing.T) {
	if f, err := os.Open("/dev/kmsg"); err != nil {
		t.Skipf("this needs CAP_SYSLOG and /dev/kmsg: %v", err)
	} else {
		f.Close()
	}
	name := fmt.Sprintf("rs%d", time.Now().UnixNano()%1e9)
	out, state := &sink{}, t.TempDir()
	var recent []hoststate.Event
	start := func() (stop func()) {
		k := NewKernel(KernelConfig{State: state, Recent: func(time.Time) iter.Seq[hoststate.Event] { return slices.Values(recent) }})
		k.reason = func(line string) string {
			if strings.Contains(line, name) && strings.Contains(line, "entered promiscuous mode") {
				return "test"
			}
			return ""
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		ready := make(chan struct{})
		k.begun = func() { close(ready) }
		go func() { done <- k.Run(ctx, out) }()
		<-ready
		return sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	h := &host{T: t, sink: out}
	expect := func(want int) {
		t.Helper()
		h.wait("the kernel's lines", func() bool { return out.count("kernel.log") >= want })
	}
	chatter(t, name, 5) // before the first start
	began := time.Now()
	stop := start()
	defer func() { stop() }()
	chatter(t, name, 10)
	expect(10)
	stop()
	chatter(t, name, 10) // meanwhile
	stop = start()
	expect(20)
	stop()
	recent = out.all() // as if killed when the place on the disk was that of the first line
	var first kmsgSaved
	h.do(json.Unmarshal(recent[0].Data, &first))
	place, _ := json.Marshal(first)
	h.do(os.WriteFile(state+"/kernel-kmsg.json", place, 0o600))
	stop = start()
	chatter(t, name, 10)
	expect(30)
	stop()
	if n := out.count("kernel.log"); n != 30 {
		t.Errorf("%d lines, want 30", n)
	}
	for _, e := range out.all() {
		if e.Kind != "kernel.log" || e.Subject != "test" || e.Time.Before(began.Add(-5*time.Second)) || e.Time.After(time.Now().Add(5*time.Second)) {
			t.Errorf("%+v", e)
		}
	}
}

// Without /dev/kmsg and journal it is the file that syslog writes.
func TestKernelLogFile(t *testing.T) {
	h := newHost(t)
	h.append("/var/log/kern.log", "Nov 22 23:33:47 node1 kernel: old")
	h.append("/var/log/syslog", "Nov 22 23:33:47 node1 kernel: old")
	k := NewKernel(KernelConfig{Root: h.root, State: h.state})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx, h.sink) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	h.wait("the first look", func() bool { _, err := os.Stat(h.state + "/kernel.json"); return err == nil })
	full := "Nov 22 23:33:48 node1 kernel: [ 1234.567890] nf_conntrack: nf_conntrack: table full, dropping packet"
	h.append("/var/log/kern.log", full, "Nov 22 23:33:48 node1 kernel: usb")
	h.append("/var/log/syslog", full)
	h.append("/var/log/kern.log", strings.Replace(full, "conntrack: table", "conntrack: nf_conntrack: table", 1))
	h.wait("2 lines", func() bool { return h.count("kernel.log") == 2 })
}

func TestNoKernelLog(t *testing.T) {
	h := newHost(t)
	err := NewKernel(KernelConfig{Root: h.root}).Run(t.Context(), h.sink)
	var u *hoststate.Unavailable
	if !errors.As(err, &u) || !strings.Contains(u.Why, "kern.log") || !strings.Contains(u.Why, "kmsg") {
		t.Errorf("got %v", err)
	}
}

func TestRecord(t *testing.T) {
	r, ok := parseRecord("6,1234,567890,-,caller=T1;eth0: link is down\n SUBSYSTEM=net\n DEVICE=n2\n")
	if want := (record{0, 6, 1234, 567890 * time.Microsecond, "eth0: link is down"}); !ok || r != want {
		t.Errorf("got %+v %v", r, ok)
	}
	if r, _ := parseRecord("30,1,2,-;of systemd"); r.facility != 3 || r.level != 6 {
		t.Errorf("got %+v", r)
	}
	for _, bad := range []string{"", ";", "1;2", "a,b,c;d", "-1,2,3,-;x", "1,-2,3,-;x"} {
		if r, ok := parseRecord(bad); ok {
			t.Errorf("%q: %+v", bad, r)
		}
	}
}

// Without /dev/kmsg it is the journal.
func TestKernelJournal(t *testing.T) {
	h := newHost(t)
	bin := t.TempDir()
	script := `#!/bin/sh
case "$*" in *_TRANSPORT=kernel*) ;; *) exit 1;; esac
echo '{"__CURSOR":"c1","__REALTIME_TIMESTAMP":"1795397401113034","MESSAGE":"eth0: NIC Link is Down"}'
echo '{"__CURSOR":"c2","__REALTIME_TIMESTAMP":"1795397401113035","MESSAGE":"usb"}'
exec sleep 100
`
	h.do(os.WriteFile(bin+"/journalctl", []byte(script), 0o755))
	h.mkdir("/run/log/journal/1")
	h.append("/run/log/journal/1/system.journal", "")
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewKernel(KernelConfig{Root: h.root}).Run(ctx, h.sink) }()
	h.wait("the line", func() bool { return h.count("kernel.log") == 1 })
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if e := h.all()[0]; e.Subject != "link" || e.Time.UnixMicro() != 1795397401113034 {
		t.Errorf("%+v", e)
	}
}

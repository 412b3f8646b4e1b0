package parity

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/detect/sequence"
	"github.com/ringside/ringside/lab/host"
	"github.com/ringside/ringside/lab/path"
)

// TestTimers holds time-outs and probes of the tail, which tshark does not tell from each other, against the counters of
// the kernel that sent them. While nothing arrives, nothing but its timers makes it send again.
func TestTimers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: CAP_SYS_ADMIN and CAP_NET_ADMIN make network namespaces")
	}
	need(t, "tcpdump")
	for _, segments := range []int{1, 4} {
		t.Run(strconv.Itoa(segments), func(t *testing.T) {
			t.Parallel()
			v, timeouts, probes := outage(t, segments)
			var timeOut, tailLoss int
			for i, o := range v.ours() {
				if o.packet.Dst.Port != 8000 { // of the server, which misses an acknowledgement
					continue
				}
				if o.flags&sequence.TimeOut != 0 {
					timeOut++
				}
				if o.flags&sequence.TailLoss != 0 {
					tailLoss++
				}
				if o.flags&sequence.Retransmission != 0 {
					t.Logf("frame %d: %v", i+1, o.flags)
				}
			}
			if segments == 1 { // a probe of a single segment comes no sooner than its time-out
				timeouts, probes = timeouts+probes, 0
			}
			if timeOut != timeouts || tailLoss != probes {
				t.Errorf("%d time-outs and %d probes of the tail, but the kernel counts %d and %d", timeOut, tailLoss, timeouts, probes)
			}
		})
	}
}

// outage has a client send so many segments into a path that loses everything, until three time-outs have passed. It
// returns what was captured at the client, and what its kernel counted.
func outage(t *testing.T, segments int) (v *view, timeouts, probes int) {
	t.Helper()
	client, server := endpoint(t, "client"), endpoint(t, "server")
	way, err := path.Connect(path.End{Host: client, Link: "wire"}, path.End{Host: server, Link: "wire"}, path.Conditions{Delay: 10 * time.Millisecond}, 1)
	must(t, err)
	t.Cleanup(func() { way.Close() })
	must(t, client.Address("wire", "10.8.3.1/24"), server.Address("wire", "10.8.3.2/24"))
	dump := capture(t, client, "wire")
	echo(t, server, "10.8.3.2:8000")
	conn, err := dial(client, "10.8.3.2:8000", 0)
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	buf := make([]byte, 1000)
	exchange := func(times int, between func()) {
		for range times {
			_, err := conn.Write(buf)
			must(t, err)
		}
		between()
		for range times {
			_, err := io.ReadFull(conn, buf)
			must(t, err)
		}
	}
	for range 5 { // the kernel learns the round trip
		exchange(1, func() {})
	}
	was := counted(t, client)
	way.Set(path.Conditions{Loss: 1})
	exchange(segments, func() {
		for counted(t, client)["TCPTimeouts"] < was["TCPTimeouts"]+3 {
			time.Sleep(10 * time.Millisecond)
		}
		way.Set(path.Conditions{Delay: 10 * time.Millisecond})
	})
	is := counted(t, client)
	must(t, conn.Close())
	return dump.end(t, "outage", 2), is["TCPTimeouts"] - was["TCPTimeouts"], is["TCPLossProbes"] - was["TCPLossProbes"]
}

func endpoint(t *testing.T, name string) *host.Host {
	t.Helper()
	h, err := host.New(name, host.Options{})
	must(t, err)
	t.Cleanup(func() { h.Close() })
	return h
}

// echo answers connections until the test ends.
func echo(t *testing.T, h *host.Host, address string) {
	t.Helper()
	must(t, h.Do(func() error {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		done := make(chan struct{})
		t.Cleanup(func() { l.Close(); <-done })
		go func() {
			defer close(done)
			if conn, err := l.Accept(); err == nil {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}
		}()
		return nil
	}))
}

// counted are the counters of TCP of a host (include/uapi/linux/snmp.h, LINUX_MIB).
func counted(t *testing.T, h *host.Host) map[string]int {
	t.Helper()
	all := make(map[string]int)
	must(t, h.Do(func() error {
		b, err := os.ReadFile("/proc/thread-self/net/netstat")
		if err != nil {
			return err
		}
		lines := strings.Split(string(b), "\n")
		names, values := strings.Fields(lines[0]), strings.Fields(lines[1])
		if len(names) != len(values) || !slices.Contains(names, "TCPTimeouts") {
			return fmt.Errorf("netstat begins with %q", lines[:2])
		}
		for i, name := range names[1:] {
			if all[name], err = strconv.Atoi(values[i+1]); err != nil {
				return err
			}
		}
		return nil
	}))
	return all
}

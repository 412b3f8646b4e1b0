package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/ringside/ringside/capture/filter"
	"golang.org/x/sys/unix"
)

// echo serves TCP connections at an address of lo, and sends back what comes.
func echo(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(conn, conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l
}

// talk sends some data over a new connection, reads it back, and closes it. It returns the client's end.
func talk(t *testing.T, dial func(context.Context, string, string) (net.Conn, error), l net.Listener) net.Addr {
	t.Helper()
	conn, err := dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	data := []byte(strings.Repeat("some data ", 1000))
	if _, err := conn.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if back, err := io.ReadAll(conn); err != nil || len(back) != len(data) { // to the other's FIN: all packets have been sent
		t.Fatalf("%d bytes came back, %v", len(back), err)
	}
	return conn.LocalAddr()
}

// flows counts packets by the port that is not the server's, and those with SYN or FIN.
func (m *memory) flows(server uint16) (all, ends map[uint16]int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all, ends = map[uint16]int{}, map[uint16]int{}
	for _, p := range m.packets {
		tcp := p.Data[34:]
		if binary.BigEndian.Uint16(p.Data[12:]) == 0x86dd {
			tcp = p.Data[54:]
		}
		port := binary.BigEndian.Uint16(tcp)
		if port == server {
			port = binary.BigEndian.Uint16(tcp[2:])
		}
		all[port]++
		if tcp[13]&3 != 0 {
			ends[port]++
		}
	}
	return all, ends
}

func portOf(a net.Addr) uint16 { return a.(*net.TCPAddr).AddrPort().Port() }

// The connection of this process is not in the recording, from SYN to FIN; those of others to the same server are,
// packet by packet as a recorder without a Dialer has them.
func TestDialerLeavesItsConnectionOut(t *testing.T) {
	needNamespace(t)
	setUp(t, "lo", true)
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			server := echo(t, address)
			services := func(cfg *Config) { cfg.Services = []filter.Service{service("s3", portOf(server.Addr()))} }
			m, oracle := newMemory(16), newMemory(16)
			c, stop := start(t, m, services, "lo")
			other, stopOther := start(t, oracle, services, "lo")
			await(t, c, "lo", StateRecording)
			await(t, other, "lo", StateRecording)
			var plain net.Dialer
			var strangers, ours []uint16
			for range 5 {
				ours = append(ours, portOf(talk(t, c.Dialer(net.Dialer{}), server)))
				strangers = append(strangers, portOf(talk(t, plain.DialContext, server)))
			}
			stop()
			stopOther()
			got, ends := m.flows(portOf(server.Addr()))
			want, _ := oracle.flows(portOf(server.Addr()))
			for _, port := range ours {
				if got[port] != 0 || want[port] == 0 {
					t.Errorf("own connection from port %d: %d packets, want none of %d", port, got[port], want[port])
				}
			}
			for _, port := range strangers {
				if got[port] != want[port] || ends[port] != 4 {
					t.Errorf("foreign connection from port %d: %d packets, %d with SYN or FIN; want %d and 4",
						port, got[port], ends[port], want[port])
				}
			}
			if n := c.Status().OwnRecorded; n != 0 {
				t.Errorf("%d own connections recorded", n)
			}
		})
	}
}

// When the other side has closed first, nobody else gets the port while packets of that connection are left out.
func TestDialerHoldsThePort(t *testing.T) {
	needNamespace(t)
	setUp(t, "lo", true)
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		server, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c, stop := start(t, newMemory(16), nil, "lo")
		conn, err := c.Dialer(net.Dialer{})(t.Context(), "tcp", server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		other, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		other.Close()
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		conn.Close()
		somebody := net.Dialer{LocalAddr: conn.LocalAddr()}
		if again, err := somebody.DialContext(t.Context(), "tcp", server.Addr().String()); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("somebody else gets %v: %v", conn.LocalAddr(), err)
			again.Close()
		}
		stop()
		server.Close()
	}
}

// A connection that nothing recorded matches changes no filter; when services come that match it, it is left out.
func TestLeaveOutWhatNothingMatches(t *testing.T) {
	needNamespace(t)
	wire(t, "up0")
	m := newMemory(16)
	c, stop := start(t, m, nil, "up0")
	await(t, c, "up0", StateRecording)
	own := [2]netip.AddrPort{netip.MustParseAddrPort("10.9.0.1:40000"), netip.MustParseAddrPort("10.9.0.2:6379")}
	release, err := c.LeaveOut(own[0], own[1])
	if err != nil {
		t.Fatal(err)
	}
	if n := len(*c.readers[lastIndex(c)].policy.Load()); n != 1 || m.filterNotes() != nil {
		t.Errorf("%d policies and notes %q, want no change", n, m.filterNotes())
	}
	both := Config{Interfaces: named("up0"), Services: []filter.Service{postgres[0], service("redis", 6379)}}
	if err := c.Reconfigure(both); err != nil {
		t.Fatal(err)
	}
	s := newSender(t, "xup0")
	s.port = 6379
	s.send(0, 1000, 0) // of that very connection
	s.port = 5432
	s.send(0, 1000, 0)
	release()
	stop()
	if got := m.byPort(); got[5432] != 1000 || got[6379] != 0 {
		t.Errorf("packets by port %v, want 1000 of 5432 alone", got)
	}
}

// Only so many are left out: what exceeds that is recorded, counted and said. A closed one makes room.
func TestLeaveOutIsBounded(t *testing.T) {
	needNamespace(t)
	wire(t, "up0")
	m := newMemory(16)
	c, stop := start(t, m, nil, "up0")
	await(t, c, "up0", StateRecording)
	end := func(i int) netip.AddrPort { return netip.MustParseAddrPort(fmt.Sprintf("10.9.0.1:%d", 40000+i)) }
	server := netip.MustParseAddrPort("10.9.0.2:5432")
	var first func()
	for i := range mostLeftOut {
		release, err := c.LeaveOut(end(i), server)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = release
		}
	}
	release, err := c.LeaveOut(end(100), server)
	if !errors.Is(err, errCrowded) || c.Status().OwnRecorded != 1 {
		t.Errorf("one too many: %v, %d counted", err, c.Status().OwnRecorded)
	}
	release()
	newSender(t, "xup0").send(0, 1000, 0) // of the first connection
	first()
	if _, err := c.LeaveOut(end(101), server); err != nil {
		t.Errorf("after one was closed: %v", err)
	}
	newSender(t, "xup0").send(1000, 1000, 0) // the first one has made room, so it is left out no more
	stop()
	m.exactly(t, "up0", 1000, 1000)
	said := strings.Join(m.filterNotes(), "\n")
	if !strings.Contains(said, "is recorded: 16 connections are left out") {
		t.Errorf("notes say\n%s", said)
	}
}

// Services that come to match more connections than can be left out: what exceeds that is counted and said, once.
func TestLeaveOutIsBoundedAfterReconfigure(t *testing.T) {
	needNamespace(t)
	wire(t, "up0")
	m := newMemory(16)
	c, stop := start(t, m, nil, "up0")
	await(t, c, "up0", StateRecording)
	for i := range mostLeftOut + 2 {
		end := netip.MustParseAddrPort(fmt.Sprintf("10.9.0.1:%d", 40000+i))
		if _, err := c.LeaveOut(end, netip.MustParseAddrPort("10.9.0.2:6379")); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		for _, port := range []uint16{6379, 5432} {
			if err := c.Reconfigure(Config{Interfaces: named("up0"), Services: []filter.Service{service("s", port)}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop()
	if n := c.Status().OwnRecorded; n != 2 {
		t.Errorf("%d own connections counted as recorded, want 2", n)
	}
}

// Where the kernel takes no filter that leaves a connection out, the process does.
func TestLeaveOutRefused(t *testing.T) {
	needNamespace(t)
	wire(t, "up0")
	m := newMemory(16)
	c, stop := start(t, m, nil, "up0")
	await(t, c, "up0", StateRecording)
	limitFilters(t, 64)
	if _, err := c.LeaveOut(netip.MustParseAddrPort("10.9.0.1:40000"), netip.MustParseAddrPort("10.9.0.2:5432")); err != nil {
		t.Fatal(err)
	}
	newSender(t, "xup0").send(0, 1000, 0)
	stop()
	if len(m.packets) != 0 {
		t.Errorf("%d packets of a connection that is left out", len(m.packets))
	}
}

// Nobody waits for a recorder that has ended, and a connection is made all the same.
func TestDialerAfterTheEnd(t *testing.T) {
	needNamespace(t)
	setUp(t, "lo", true)
	server := echo(t, "127.0.0.1:0")
	c, stop := start(t, newMemory(16), nil, "lo")
	dial := c.Dialer(net.Dialer{})
	conn, err := dial(context.Background(), "tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	stop()
	conn.Close()
	talk(t, dial, server)
	if _, err := dial(t.Context(), "tcp", "127.0.0.1:1"); err == nil {
		t.Error("nobody listens there")
	}
}

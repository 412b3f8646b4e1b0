package parity

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ringside/ringside/lab/host"
)

// patience is how long any connection may take on a machine that has other things to do.
const patience = 90 * time.Second

// exchange is a kind of connection: what each of its two ends does before it closes.
type exchange struct {
	name           string
	times          int
	client, server func(*net.TCPConn) error
}

var exchanges = []exchange{
	{"upload", 2, send(700 << 10), receive},
	{"download", 2, receive, send(700 << 10)},
	{"requests", 4, ask(40), answer},
	{"slow-reader", 3, send(300 << 10), receiveLate},
	{"kept-alive", 2, idle, receive},
	{"reset", 12, abort, ended},
}

// talk has every exchange made between the hosts, all at the same time, and returns when they have ended.
func talk(t *testing.T, client, server *host.Host, to netip.Addr) {
	t.Helper()
	var clients, servers sync.WaitGroup
	var listeners []net.Listener
	for i, e := range exchanges {
		address := net.JoinHostPort(to.String(), strconv.Itoa(8000+i))
		must(t, server.Do(func() error {
			l, err := net.Listen("tcp", address)
			if err == nil {
				listeners = append(listeners, l)
				servers.Go(func() { serve(t, e, l) })
			}
			return err
		}))
		for range e.times {
			clients.Go(func() {
				conn, err := dial(client, address, 0)
				if err == nil {
					err = end(conn, e.client)
				}
				if err != nil {
					t.Errorf("client of %s: %v", e.name, err)
				}
			})
		}
	}
	clients.Go(func() { reuse(t, client, net.JoinHostPort(to.String(), "8005")) })
	clients.Wait()
	for _, l := range listeners {
		l.Close()
	}
	servers.Wait()
}

// serve takes connections until the listener is closed, and waits until they have ended.
func serve(t *testing.T, e exchange, l net.Listener) {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		conns.Go(func() {
			if err := end(conn.(*net.TCPConn), e.server); err != nil {
				t.Errorf("server of %s: %v", e.name, err)
			}
		})
	}
}

// dial connects from a port of the host, 0 for any.
func dial(h *host.Host, address string, port int) (conn *net.TCPConn, err error) {
	err = h.Do(func() error {
		d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{Port: port}, KeepAlive: -1}
		c, err := d.Dial("tcp", address)
		if err == nil {
			conn = c.(*net.TCPConn)
		}
		return err
	})
	return conn, err
}

func end(conn *net.TCPConn, f func(*net.TCPConn) error) error {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	return f(conn)
}

// reuse makes connections from one port, each as soon as the one before was aborted.
func reuse(t *testing.T, h *host.Host, address string) {
	for range 4 {
		conn, err := dial(h, address, 7000)
		if err == nil {
			err = end(conn, abort)
		}
		if err != nil {
			t.Errorf("again from the same port: %v", err)
		}
	}
}

func send(bytes int) func(*net.TCPConn) error {
	return func(conn *net.TCPConn) error {
		_, err := conn.Write(make([]byte, bytes))
		return err
	}
}

func receive(conn *net.TCPConn) error {
	_, err := io.Copy(io.Discard, conn)
	return err
}

// receiveLate lets its window close, and the sender probe it, then takes a little, and then everything.
func receiveLate(conn *net.TCPConn) error {
	if err := conn.SetReadBuffer(8 << 10); err != nil {
		return err
	}
	for range 2 {
		time.Sleep(1500 * time.Millisecond)
		if _, err := io.CopyN(io.Discard, conn, 30<<10); err != nil {
			return err
		}
	}
	return receive(conn)
}

const message = 2000 // bytes of a request and of its answer

func ask(times int) func(*net.TCPConn) error {
	return func(conn *net.TCPConn) error {
		buf := make([]byte, message)
		for i := range times {
			if _, err := conn.Write(buf); err != nil {
				return fmt.Errorf("request %d: %w", i, err)
			}
			if _, err := io.ReadFull(conn, buf); err != nil {
				return fmt.Errorf("answer %d: %w", i, err)
			}
		}
		return nil
	}
}

func answer(conn *net.TCPConn) error {
	buf := make([]byte, message)
	for {
		if _, err := io.ReadFull(conn, buf); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if _, err := conn.Write(buf); err != nil {
			return err
		}
	}
}

// idle says nothing for so long that the kernel asks whether the other end is there.
func idle(conn *net.TCPConn) error {
	err := conn.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 9})
	time.Sleep(3500 * time.Millisecond)
	return err
}

// abort sends a little and ends with a reset.
func abort(conn *net.TCPConn) error {
	if _, err := conn.Write(make([]byte, message)); err != nil {
		return err
	}
	return conn.SetLinger(0)
}

// ended waits for the other end, which resets.
func ended(conn *net.TCPConn) error {
	_, _ = io.Copy(io.Discard, conn)
	return nil
}

package capture

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Dialer returns d's way of dialling, by which TCP connections are left out of the recording: their local address is
// chosen, and LeaveOut told, before the first packet leaves. What goes wrong with that is logged and the connection is
// made all the same. d must have neither LocalAddr nor Control functions. It waits for Run to begin.
func (c *Capture) Dialer(d net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		a := &attempts{capture: c, releases: map[netip.AddrPort]func(){}}
		own := d
		own.ControlContext = a.control
		conn, err := own.DialContext(ctx, network, address)
		release := a.settle(conn)
		tcp, ok := conn.(*net.TCPConn)
		if err != nil || !ok {
			release()
			return conn, err
		}
		return &ownConn{TCPConn: tcp, release: sync.OnceFunc(release)}, nil
	}
}

// ownConn is a connection that is left out until it is closed.
type ownConn struct {
	*net.TCPConn
	release func()
}

// Close holds the port for as long as the connection is still left out: the kernel does not give it to somebody else, whose
// packets would be left out too.
func (o *ownConn) Close() error {
	if fd, err := o.holdPort(); err == nil {
		time.AfterFunc(2*linger, func() { unix.Close(fd) })
	}
	defer o.release()
	return o.TCPConn.Close()
}

// holdPort returns a socket that is bound to the connection's own end beside it.
func (o *ownConn) holdPort() (int, error) {
	raw, err := o.SyscallConn()
	if err != nil {
		return 0, err
	}
	reuse := func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }
	if failed := raw.Control(reuse); failed != nil || err != nil {
		return 0, errors.Join(failed, err)
	}
	end := plainEnd(o.LocalAddr())
	family := unix.AF_INET
	if end.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	reuse(uintptr(fd))
	if _, err := bindTo(fd, end); err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// attempts are those of one dial: one for each address of the remote, of which one succeeds at most.
type attempts struct {
	capture *Capture

	mu       sync.Mutex
	releases map[netip.AddrPort]func() // by local end
	over     bool                      // what comes now has lost already
}

// control is called for each attempt between socket and connect.
func (a *attempts) control(_ context.Context, network, address string, raw syscall.RawConn) error {
	remote, err := netip.ParseAddrPort(address)
	if err != nil || network != "tcp4" && network != "tcp6" {
		return nil
	}
	source, err := sourceFor(remote)
	if err != nil { // the connection will fail as this did
		return nil
	}
	var local netip.AddrPort
	failed := raw.Control(func(fd uintptr) { local, err = bindTo(int(fd), netip.AddrPortFrom(source, 0)) })
	if err = errors.Join(failed, err); err != nil {
		a.capture.ownRecorded.Add(1)
		a.capture.log.Warn("a connection of this process is recorded", zap.String("remote", address), zap.Error(err))
		return nil
	}
	release, err := a.capture.LeaveOut(local, remote)
	if err != nil { // it has told of that
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		release()
		return nil
	}
	a.releases[local] = release
	return nil
}

// settle gives up what the attempts but that of conn have left out, and returns the release of that.
func (a *attempts) settle(conn net.Conn) (release func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	release = func() {}
	var mine netip.AddrPort
	if conn != nil {
		mine = plainEnd(conn.LocalAddr())
	}
	for local, r := range a.releases {
		if local == mine {
			release = r
		} else {
			r()
		}
	}
	return release
}

func plainEnd(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	end := tcp.AddrPort()
	return netip.AddrPortFrom(end.Addr().Unmap(), end.Port())
}

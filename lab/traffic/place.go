package traffic

import (
	"context"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Place is where sockets are opened.
type Place interface {
	// Do calls f on a thread inside the place's namespace and returns its error. f does not block.
	Do(f func() error) error
}

// Here is the namespace of the process.
type Here struct{}

// Do calls f.
func (Here) Do(f func() error) error { return f() }

// listen opens a listening socket. backlog 0 leaves the length of its accept queue to the kernel.
func listen(at Place, addr netip.AddrPort, backlog int) (*net.TCPListener, error) {
	config := net.ListenConfig{KeepAlive: -1} // the packets are those of the load alone
	var l net.Listener
	err := at.Do(func() (err error) {
		l, err = config.Listen(context.Background(), "tcp", addr.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := setBacklog(l.(*net.TCPListener), backlog); err != nil {
		l.Close()
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// setBacklog sets the length of the accept queue: listen(2) may be called again.
func setBacklog(l *net.TCPListener, backlog int) error {
	if backlog == 0 {
		backlog = unix.SOMAXCONN
	}
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.Listen(int(fd), backlog) }); err != nil {
		return err
	}
	return os.NewSyscallError("listen", failed)
}

// open sends the SYN of a connection and returns at once: connected waits for the rest. local is what the connection was
// bound to, also where the connect fails; it is zero if there was no way to send the SYN.
func open(at Place, to netip.AddrPort) (conn *net.TCPConn, local netip.AddrPort, err error) {
	fd := -1
	err = at.Do(func() (err error) {
		family := unix.AF_INET6
		if to.Addr().Is4() {
			family = unix.AF_INET
		}
		fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return nil, local, err
	}
	err = unix.Connect(fd, sockaddr(to))
	if err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return nil, local, os.NewSyscallError("connect", err)
	}
	local = boundTo(fd)
	file := os.NewFile(uintptr(fd), "connection")
	defer file.Close() // FileConn has a duplicate
	c, err := net.FileConn(file)
	if err != nil {
		return nil, local, err
	}
	conn = c.(*net.TCPConn)
	return conn, local, conn.SetKeepAlive(false)
}

// connected waits until the connection is there, or has failed.
func connected(conn *net.TCPConn, to netip.AddrPort) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		failed = unix.Connect(int(fd), sockaddr(to)) // again: it says how the first one fares
		return failed != unix.EALREADY && failed != unix.EINPROGRESS
	})
	if err != nil {
		return err
	}
	if failed == unix.EISCONN {
		failed = nil
	}
	return os.NewSyscallError("connect", failed)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func boundTo(fd int) (local netip.AddrPort) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return local
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return local
}

// openUDP opens a socket for questions to a name server.
func openUDP(at Place, server netip.AddrPort) (conn *net.UDPConn, err error) {
	err = at.Do(func() (err error) {
		conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
		return err
	})
	return conn, err
}

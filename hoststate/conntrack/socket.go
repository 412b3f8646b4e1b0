package conntrack

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

// nfgenLen is the size of struct nfgenmsg, which every message of netfilter begins with: family, version, resource.
const nfgenLen = 4

// datagram is room for the largest datagram of nfnetlink.
const datagram = 32 << 10

// socket is a netlink socket of netfilter. It is opened through the library and then taken out of Go's poller, which
// would wake a thread for each event even while nobody reads, and it is read without allocation. Nobody but the kernel
// and processes with CAP_NET_ADMIN can send to it. One goroutine uses it.
type socket struct {
	fd   int
	port uint32
	poll [1]unix.PollFd
	buf  []byte
}

func dial() (*netlink.Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, unavailable("open a netfilter socket", err)
	}
	return conn, nil
}

// detach makes a socket of conn, which it closes.
func detach(conn *netlink.Conn) (*socket, error) {
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("use a netfilter socket: %w", err)
	}
	s := &socket{port: conn.PID(), buf: make([]byte, datagram)}
	failed := raw.Control(func(fd uintptr) { s.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err := cmp.Or(failed, err); err != nil {
		return nil, fmt.Errorf("use a netfilter socket: %w", err)
	}
	s.poll[0] = unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN}
	return s, nil
}

func (s *socket) close() { _ = unix.Close(s.fd) } // nothing is written that a failure could lose

// wait waits for something to read, at most so long, and maybe less.
func (s *socket) wait(most time.Duration) error {
	_, err := unix.Poll(s.poll[:], int((most+time.Millisecond-1)/time.Millisecond))
	if err == unix.EINTR {
		return nil
	}
	return err
}

// drain hands take the datagrams that are there, at most so many, and says how many there were. What take gets is valid
// until it returns. The error is ENOBUFS where the kernel has dropped messages since the last call.
func (s *socket) drain(most int, take func([]byte)) (n int, err error) {
	for n < most {
		switch got, err := unix.Read(s.fd, s.buf); err {
		case nil:
			n++
			take(s.buf[:got])
		case unix.EINTR:
		case unix.EAGAIN:
			return n, nil
		default:
			return n, err
		}
	}
	return n, nil
}

// listen opens a socket for the events of all entries, with a receive buffer of so many bytes.
func listen(buffer int) (*socket, error) {
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	// Refused only without CAP_NET_ADMIN, where joining the groups is refused too.
	_ = conn.SetReadBuffer(buffer)
	for _, group := range []uint32{unix.NFNLGRP_CONNTRACK_NEW, unix.NFNLGRP_CONNTRACK_UPDATE, unix.NFNLGRP_CONNTRACK_DESTROY} {
		if err := conn.JoinGroup(group); err != nil {
			_ = conn.Close()
			return nil, unavailable("listen to conntrack events", err)
		}
	}
	return detach(conn)
}

// Bounds of one request: the kernel was seen not to answer, and a dump of a table that grows need not end.
const (
	dumpTime    = 10 * time.Second
	mostEntries = 16 << 20
	patient     = 100 * time.Millisecond // until the context is looked at again
)

// errPartial is the error of a request that reached one of its bounds: what was handed over is not all.
var errPartial = errors.New("the answer did not end within its bounds")

// ask sends a request to ctnetlink over a socket of its own and hands take every message of the answer, which is valid
// until take returns. flags say whether it is a dump. It ends with ctx, and after limit.
func ask(ctx context.Context, kind uint8, flags netlink.HeaderFlags, limit time.Duration, take func(header, []byte)) error {
	conn, err := dial()
	if err != nil {
		return err
	}
	m := netlink.Message{Data: make([]byte, nfgenLen)} // any family
	m.Header.Type = netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | uint16(kind))
	m.Header.Flags = netlink.Request | flags
	if _, err := conn.Send(m); err != nil {
		_ = conn.Close()
		return unavailable("ask conntrack", err)
	}
	s, err := detach(conn)
	if err != nil {
		return err
	}
	defer s.close()
	done, entries := false, 0
	var refused error
	answer := func(b []byte) {
		for m := messages(b); ; {
			h, body, ok := m.next()
			if !ok {
				return
			}
			switch h.Type {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				done = true
				if len(body) >= 4 && refused == nil {
					refused = status(body)
				}
			default:
				entries++
				done = done || flags&netlink.Dump == 0
				take(h, body)
			}
		}
	}
	for late := time.Now().Add(limit); !done; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if entries > mostEntries || time.Now().After(late) {
			return errPartial
		}
		if err := s.wait(patient); err != nil {
			return fmt.Errorf("wait for conntrack: %w", err)
		}
		if _, err := s.drain(busy, answer); err != nil {
			return fmt.Errorf("read conntrack: %w", err)
		}
	}
	if refused != nil {
		return unavailable("read conntrack", refused)
	}
	return nil
}

// status is the error that the end of an answer bears: a negative errno, or 0.
func status(body []byte) error {
	if n := int32(binary.NativeEndian.Uint32(body)); n < 0 {
		return syscall.Errno(-n)
	}
	return nil
}

// unavailable tells what cannot work here from what failed this time.
func unavailable(what string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return &hoststate.Unavailable{Why: "no permission to " + what, Cure: "give the container CAP_NET_ADMIN"}
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return &hoststate.Unavailable{Why: "cannot " + what + ", the kernel has no ctnetlink (" + err.Error() + ")",
			Cure: "load the module nf_conntrack_netlink on the node"}
	}
	return fmt.Errorf("%s: %w", what, err)
}

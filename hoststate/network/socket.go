package network

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	largest  = 64 << 10         // bytes of one datagram: the kernel makes none above 32 KiB for a reader that takes it
	typeMask = 0x3fff           // NLA_TYPE_MASK (linux/netlink.h)
	silence  = 10 * time.Second // the longest wait for a part of an answer
	endless  = time.Minute      // and for all of it, whatever the context says
)

var (
	errLost        = errors.New("the kernel dropped messages")
	errNothing     = errors.New("no message")
	errInterrupted = errors.New("the dump was interrupted by changes")
)

// socket is a netlink socket. It has one reader, whose buffer is reused: what it was given is valid until it reads on.
type socket struct {
	conn *netlink.Conn
	raw  syscall.RawConn
	buf  []byte
}

// header is struct nlmsghdr without its length (linux/netlink.h).
type header struct {
	kind   uint16
	flags  uint16
	seq    uint32
	portid uint32
}

func open(family, buffer int, groups ...uint32) (*socket, error) {
	conn, err := netlink.Dial(family, nil)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	s := &socket{conn: conn, buf: make([]byte, largest)}
	if s.raw, err = conn.SyscallConn(); err != nil {
		s.close()
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	s.resize(buffer)
	for _, g := range groups {
		if err := conn.JoinGroup(g); err != nil {
			s.close()
			return nil, fmt.Errorf("join netlink group %d: %w", g, err)
		}
	}
	return s, nil
}

// resize asks for a receive buffer. Without CAP_NET_ADMIN it is what net.core.rmem_max allows: loss is noticed in any case.
func (s *socket) resize(bytes int) {
	s.raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) != nil {
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
		}
	})
}

func (s *socket) close() { s.conn.Close() }

// receive waits for one datagram until the deadline and gives its messages to take. It returns errLost when the kernel had no room
// for some, errNothing at the deadline.
func (s *socket) receive(deadline time.Time, take func(header, []byte)) error {
	if err := s.conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	return s.read(true, take)
}

// poll is receive without waiting.
func (s *socket) poll(take func(header, []byte)) error {
	if err := s.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return s.read(false, take)
}

func (s *socket) read(wait bool, take func(header, []byte)) error {
	var n int
	var from unix.Sockaddr
	var err error
	waited := s.raw.Read(func(fd uintptr) bool {
		for {
			n, from, err = unix.Recvfrom(int(fd), s.buf, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
			if err != unix.EINTR {
				return err != unix.EAGAIN || !wait
			}
		}
	})
	switch {
	case errors.Is(waited, os.ErrDeadlineExceeded), waited == nil && err == unix.EAGAIN:
		return errNothing
	case waited != nil:
		return waited
	case err == unix.ENOBUFS:
		return errLost
	case err != nil:
		return fmt.Errorf("read netlink socket: %w", err)
	}
	if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 {
		return nil // only the kernel is believed
	}
	if n > len(s.buf) {
		return errLost
	}
	for h, body := range messages(s.buf[:n]) {
		take(h, body)
	}
	return nil
}

// dump asks for all objects of a kind and gives each reply to take. It returns errInterrupted, after the last, if what it
// gave may not fit together, and a system call's error if the kernel refuses. It ends with the context, after a minute, or when the
// kernel is silent for ten seconds; the socket is not to be used after that.
func (s *socket) dump(ctx context.Context, kind uint16, request []byte, take func(header, []byte)) error {
	return s.request(ctx, kind, netlink.Dump, request, take)
}

// ask is dump for one object.
func (s *socket) ask(ctx context.Context, kind uint16, request []byte, take func(header, []byte)) error {
	return s.request(ctx, kind, netlink.Acknowledge, request, take)
}

func (s *socket) request(ctx context.Context, kind uint16, flags netlink.HeaderFlags, request []byte, take func(header, []byte)) error {
	sent, err := s.conn.Send(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request | flags},
		Data:   request,
	})
	if err != nil {
		return fmt.Errorf("ask the kernel: %w", err)
	}
	end := time.Now().Add(endless)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		end = d
	}
	// The end of the context closes the socket, for nobody is to take the rest of this answer for that to another request.
	defer context.AfterFunc(ctx, s.close)()
	var done, interrupted bool
	var refused error
	for !done {
		deadline := time.Now().Add(silence)
		if end.Before(deadline) {
			deadline = end
		}
		err := s.receive(deadline, func(h header, body []byte) {
			switch {
			case h.seq != sent.Header.Sequence || done:
				return
			case h.kind == unix.NLMSG_DONE, h.kind == unix.NLMSG_ERROR:
				done = true
				if len(body) >= 4 {
					if code := int32(binary.NativeEndian.Uint32(body)); code < 0 {
						refused = unix.Errno(-code)
					}
				}
			default:
				take(h, body)
			}
			interrupted = interrupted || h.flags&unix.NLM_F_DUMP_INTR != 0
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == errNothing:
			return fmt.Errorf("the kernel does not answer: %w", os.ErrDeadlineExceeded)
		case err != nil:
			return fmt.Errorf("the kernel's answer: %w", err)
		}
	}
	if refused == nil && interrupted {
		return errInterrupted
	}
	return refused
}

// messages walks the messages of a datagram. It ends at the first that is not whole.
func messages(b []byte) iter.Seq2[header, []byte] {
	return func(yield func(header, []byte) bool) {
		for len(b) >= unix.SizeofNlMsghdr {
			n := int(binary.NativeEndian.Uint32(b))
			if n < unix.SizeofNlMsghdr || n > len(b) {
				return
			}
			h := header{
				kind:   binary.NativeEndian.Uint16(b[4:]),
				flags:  binary.NativeEndian.Uint16(b[6:]),
				seq:    binary.NativeEndian.Uint32(b[8:]),
				portid: binary.NativeEndian.Uint32(b[12:]),
			}
			if !yield(h, b[unix.SizeofNlMsghdr:n]) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}

// attributes walks the attributes of a message, without the flags in their types. It ends at the first that is not whole.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			n := int(binary.NativeEndian.Uint16(b))
			if n < unix.SizeofNlAttr || n > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&typeMask, b[unix.SizeofNlAttr:n]) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}

func align(n int) int { return (n + 3) &^ 3 }

// u32 reads a number of the host's byte order, 0 if it is not whole.
func u32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

// text reads a string that ends with a zero.
func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

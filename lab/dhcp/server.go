package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Lease is what the client is given.
type Lease struct {
	Addr    netip.Prefix // with the length of its network; IPv4
	Gateway netip.Addr   // and the server's own address
	Time    time.Duration
}

// Place is where the socket is opened, such as a host of the laboratory.
type Place interface {
	Do(f func() error) error
}

// Server is a running server.
type Server struct {
	conn    net.PacketConn
	lease   Lease
	granted atomic.Uint64
	running sync.WaitGroup
}

const serverPort, clientPort = 67, 68

// Serve answers on a link until Stop.
func Serve(at Place, link string, lease Lease) (*Server, error) {
	s := &Server{lease: lease}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = errors.Join(unix.BindToDevice(int(fd), link), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
		})
		return errors.Join(err, failed)
	}}
	err := at.Do(func() (err error) {
		s.conn, err = config.ListenPacket(context.Background(), "udp4", fmt.Sprintf("0.0.0.0:%d", serverPort))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("DHCP server on %s: %w", link, err)
	}
	s.running.Go(s.run)
	return s, nil
}

// Granted is how many leases the client was given, renewals included.
func (s *Server) Granted() uint64 { return s.granted.Load() }

// Stop ends the server.
func (s *Server) Stop() {
	s.conn.Close()
	s.running.Wait()
}

func (s *Server) run() {
	buf := make([]byte, 1500)
	everybody := &net.UDPAddr{IP: net.IPv4bcast, Port: clientPort}
	for {
		n, _, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		answer := s.lease.answer(buf[:n])
		if answer == nil {
			continue
		}
		if _, err := s.conn.WriteTo(answer, everybody); err == nil && kind(answer) == ack {
			s.granted.Add(1)
		}
	}
}

// Types of messages (RFC 2132, 9.6).
const (
	discover = 1
	offer    = 2
	request  = 3
	ack      = 5
)

// Options (RFC 2132).
const (
	optionMask   = 1
	optionRouter = 3
	optionTime   = 51
	optionType   = 53
	optionServer = 54
	optionEnd    = 255
)

const (
	headerSize = 240 // with the magic cookie
	magic      = 0x63825363
)

// answer is what a message is answered with, nil for nothing.
func (l Lease) answer(message []byte) []byte {
	const fromClient, fromServer = 1, 2
	if len(message) < headerSize || message[0] != fromClient || binary.BigEndian.Uint32(message[headerSize-4:]) != magic {
		return nil
	}
	var reply byte
	switch kind(message) {
	case discover:
		reply = offer
	case request:
		reply = ack
	default:
		return nil
	}
	b := make([]byte, headerSize, headerSize+64)
	copy(b, message[:44]) // hardware type, transaction, flags, the client's hardware address
	b[0], b[3] = fromServer, 0
	clear(b[12:28])
	copy(b[16:], l.Addr.Addr().AsSlice())
	copy(b[20:], l.Gateway.AsSlice())
	binary.BigEndian.PutUint32(b[headerSize-4:], magic)
	b = append(b, optionType, 1, reply)
	b = append(append(b, optionServer, 4), l.Gateway.AsSlice()...)
	b = binary.BigEndian.AppendUint32(append(b, optionTime, 4), uint32(l.Time.Seconds()))
	b = append(append(b, optionMask, 4), net.CIDRMask(l.Addr.Bits(), 32)...)
	b = append(append(b, optionRouter, 4), l.Gateway.AsSlice()...)
	return append(b, optionEnd)
}

// kind is the type of a message, 0 if it has none.
func kind(message []byte) byte {
	for options := message[headerSize:]; len(options) >= 2 && options[0] != optionEnd; {
		if options[0] == 0 { // padding
			options = options[1:]
			continue
		}
		length := int(options[1])
		if len(options) < 2+length {
			return 0
		}
		if options[0] == optionType && length == 1 {
			return options[2]
		}
		options = options[2+length:]
	}
	return 0
}

package loadgen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/test/netlab"
)

// burst is how many packets go out between two looks at the clock of the pacing.
const burst = 16

// Sender sends a plan's packets through one interface, in order and each once.
type Sender struct {
	Plan
	Interface string
	fd        int
	buf       []byte

	mu   sync.Mutex
	sent []int64 // when each was handed to the kernel, ns since 1970
}

// NewSender opens a packet socket in the namespace. The interface must exist; Close closes the socket.
func NewSender(ns *netlab.Namespace, ifname string, p Plan) (*Sender, error) {
	s := &Sender{Plan: p, Interface: ifname}
	err := ns.Do(func() error {
		ifi, err := net.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		// Protocol 0: the socket receives nothing.
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(s.fd, &unix.SockaddrLinklayer{Ifindex: ifi.Index})
	})
	if err != nil {
		return nil, fmt.Errorf("open packet socket on %s: %w", ifname, err)
	}
	return s, nil
}

// Close closes the socket.
func (s *Sender) Close() error { return unix.Close(s.fd) }

// Send sends the next count packets at rate a second (0: as fast as the kernel takes them) and returns when they are
// sent, ctx is done (without error), or the interface refuses one. What was sent until then is in Sent. One call at a
// time.
func (s *Sender) Send(ctx context.Context, count int, rate float64) error {
	began := time.Now()
	for i := 0; i < count; i++ {
		if i%burst == 0 {
			if ctx.Err() != nil {
				return nil
			}
			if rate > 0 {
				s.pace(ctx, began, i, rate)
			}
		}
		if err := s.one(); err != nil {
			return fmt.Errorf("send packet %d through %s: %w", s.Count(), s.Interface, err)
		}
	}
	return nil
}

// pace waits until packet i is due. A late sender catches up: bursts are part of a load.
func (s *Sender) pace(ctx context.Context, began time.Time, i int, rate float64) {
	due := began.Add(time.Duration(float64(i) / rate * float64(time.Second)))
	if wait := time.Until(due); wait > 50*time.Microsecond {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}

func (s *Sender) one() error {
	s.buf = s.Append(s.buf[:0], len(s.sent)) // only this goroutine changes sent
	for {
		now := time.Now().UnixNano()
		_, err := unix.Write(s.fd, s.buf)
		switch {
		case err == nil:
			s.mu.Lock()
			s.sent = append(s.sent, now)
			s.mu.Unlock()
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EAGAIN):
			time.Sleep(time.Millisecond) // the kernel took nothing; ask again
		default:
			return err
		}
	}
}

// Count is how many packets were sent so far. Any goroutine.
func (s *Sender) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sent)
}

// Sent returns when each packet was handed to the kernel, in ns since 1970: index n is packet n. Any goroutine; the
// caller must not change it.
func (s *Sender) Sent() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent[:len(s.sent):len(s.sent)]
}

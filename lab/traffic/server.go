package traffic

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

// Behaviour is how a server treats its clients. The zero value answers at once.
type Behaviour struct {
	Latency time.Duration // before each answer
	Jitter  time.Duration // up to so much more
	Workers int           // requests worked on at once, while others wait; 0: all
	Conns   int           // connections accepted at once, while others wait in the kernel's queue; 0: all
	Backlog int           // how many may wait there: SYNs of further ones are dropped; 0: as the kernel has it
	Idle    time.Duration // a connection without a request for so long is closed; 0: never

	Push    time.Duration // mean time between messages to each client, which asks nothing; 0: the server speaks when asked
	Message int           // bytes of such a message
	Seed    uint64        // of what is random
}

// Ending is how a server takes leave of its clients.
type Ending int

const (
	Finish Ending = iota // closes connections: FIN, or RST where a request was not read
	Reset                // cuts them: RST
)

// Served is what a server did since Serve.
type Served struct {
	Accepted int `json:"accepted"` // connections
	Asked    int `json:"asked"`    // requests that it read
	Answers  int `json:"answers"`
	Messages int `json:"messages"` // that nobody asked for
	Idle     int `json:"idle"`     // connections closed for want of a request
}

// Server is a TCP service. Its methods may be called concurrently, but Start and Stop by one at a time.
type Server struct {
	at   Place
	addr netip.AddrPort
	done sync.WaitGroup // accept and one for each connection

	mu       sync.Mutex
	room     *sync.Cond // on mu: there may be room for a connection
	state    *state
	listener *net.TCPListener // nil while it is stopped
	stopped  chan struct{}    // closed by Stop
	conns    map[*net.TCPConn]netip.AddrPort
	served   Served
}

// state is a behaviour with what enforces it. A request is worked on under the state it came in.
type state struct {
	Behaviour
	workers chan struct{} // nil: all at once
}

func newState(b Behaviour) *state {
	s := &state{Behaviour: b}
	if b.Workers > 0 {
		s.workers = make(chan struct{}, b.Workers)
	}
	return s
}

// Serve starts a server; port 0 has the kernel choose one, which the server keeps.
func Serve(at Place, addr netip.AddrPort, b Behaviour) (*Server, error) {
	s := &Server{at: at, addr: addr, state: newState(b), conns: map[*net.TCPConn]netip.AddrPort{}}
	s.room = sync.NewCond(&s.mu)
	return s, s.Start()
}

// Start listens on the address of the server, which is stopped.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := listen(s.at, s.addr, s.state.Backlog)
	if err != nil {
		return fmt.Errorf("server on %v: %w", s.addr, err)
	}
	s.addr = netip.AddrPortFrom(s.addr.Addr(), l.Addr().(*net.TCPAddr).AddrPort().Port())
	s.listener, s.stopped = l, make(chan struct{})
	s.done.Add(1)
	go s.accept(l)
	return nil
}

// Stop closes the port and all connections, and returns when nothing of the server is left. It may be started again.
func (s *Server) Stop(how Ending) {
	s.mu.Lock()
	if s.listener != nil {
		s.listener.Close()
		s.listener = nil
		close(s.stopped)
		for c := range s.conns {
			if how == Reset {
				_ = c.SetLinger(0) // fails only for a connection that is gone
			}
			c.Close()
		}
		s.room.Broadcast()
	}
	s.mu.Unlock()
	s.done.Wait()
}

// Addr is where the server listens, or did.
func (s *Server) Addr() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Set changes how clients are treated from now on; what waits for an answer gets it as before. Idle counts from now.
// Whether the server pushes is decided when a connection is accepted.
func (s *Server) Set(b Behaviour) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = newState(b)
	for c := range s.conns {
		s.limitIdle(c)
	}
	s.room.Broadcast()
	if s.listener == nil {
		return nil
	}
	if err := setBacklog(s.listener, b.Backlog); err != nil {
		return fmt.Errorf("server on %v: %w", s.addr, err)
	}
	return s.listener.SetDeadline(time.Now()) // accept looks for room again
}

// Peers are the clients' addresses of the connections that are open, as the server sees them.
func (s *Server) Peers() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.conns), netip.AddrPort.Compare)
}

// Served is what the server did so far.
func (s *Server) Served() Served {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.served
}

func (s *Server) accept(l *net.TCPListener) {
	defer s.done.Done()
	for s.waitForRoom(l) {
		conn, err := l.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			_ = l.SetDeadline(time.Time{}) // fails only when closed, and then so does AcceptTCP
		case err == nil:
			s.add(conn)
		}
	}
}

// waitForRoom returns when one more connection may be accepted, and false when the server is stopped.
func (s *Server) waitForRoom(l *net.TCPListener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.listener == l && s.state.Conns > 0 && len(s.conns) >= s.state.Conns {
		s.room.Wait()
	}
	return s.listener == l
}

func (s *Server) add(conn *net.TCPConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		conn.Close()
		return
	}
	peer := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
	s.conns[conn] = peer
	s.served.Accepted++
	c := &client{
		Server: s, conn: conn, addr: peer, stopped: s.stopped,
		rand: rand.New(rand.NewPCG(s.state.Seed, uint64(s.served.Accepted))),
	}
	serve := c.answer
	if s.state.Push > 0 {
		serve = c.push
	}
	s.done.Go(func() {
		defer s.remove(conn)
		serve()
	})
}

func (s *Server) remove(conn *net.TCPConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn.Close()
	delete(s.conns, conn)
	s.room.Signal()
}

// limitIdle sets when a connection without a request is closed. The caller holds mu.
func (s *Server) limitIdle(conn *net.TCPConn) {
	var until time.Time
	if s.state.Idle > 0 {
		until = time.Now().Add(s.state.Idle)
	}
	_ = conn.SetReadDeadline(until) // fails only when closed, and then reading does too
}

// client is a connection that the server serves, on a goroutine of its own.
type client struct {
	*Server
	conn    *net.TCPConn
	addr    netip.AddrPort
	stopped chan struct{} // Server's, as it was when the connection was accepted
	rand    *rand.Rand
}

// answer answers requests until the connection ends, or must.
func (c *client) answer() {
	var in, out []byte
	r := bufio.NewReader(c.conn)
	for {
		c.mu.Lock()
		c.limitIdle(c.conn)
		c.mu.Unlock()
		size, err := readRequest(r, &in)
		c.mu.Lock()
		s := c.state
		switch {
		case err == nil:
			c.served.Asked++
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.served.Idle++
		}
		c.mu.Unlock()
		if err != nil || !c.work(s) {
			return
		}
		out = putAnswer(out, size, time.Now(), c.addr)
		if !c.send(out) {
			return
		}
		c.mu.Lock()
		c.served.Answers++
		c.mu.Unlock()
	}
}

// work takes as long as a request takes, and returns false when the server is stopped.
func (c *client) work(s *state) bool {
	if s.workers != nil {
		select {
		case s.workers <- struct{}{}:
			defer func() { <-s.workers }()
		case <-c.stopped:
			return false
		}
	}
	d := s.Latency
	if s.Jitter > 0 {
		d += time.Duration(c.rand.Int64N(int64(s.Jitter)))
	}
	return d == 0 || sleep(d, c.stopped)
}

// push sends messages until the connection ends. The first comes at once, as a greeting does.
func (c *client) push() {
	var out []byte
	for {
		c.mu.Lock()
		s := c.state
		c.mu.Unlock()
		out = putAnswer(out, s.Message, time.Now(), c.addr)
		if !c.send(out) {
			return
		}
		c.mu.Lock()
		c.served.Messages++
		c.mu.Unlock()
		if !sleep(spread(c.rand, s.Push), c.stopped) {
			return
		}
	}
}

// send gives up on a client that reads nothing.
func (c *client) send(frame []byte) bool {
	_ = c.conn.SetWriteDeadline(time.Now().Add(time.Minute)) // fails only when closed, and then Write does too
	_, err := c.conn.Write(frame)
	return err == nil
}

// spread is a time around mean: at least half of it, and less than one and a half.
func spread(r *rand.Rand, mean time.Duration) time.Duration {
	if mean <= 0 {
		return 0
	}
	return mean/2 + time.Duration(r.Int64N(int64(mean)))
}

// sleep waits for d, and returns false as soon as stop is closed.
func sleep(d time.Duration, stop <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stop:
		return false
	}
}

package traffic

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Load is what the clients of a service do.
type Load struct {
	Service string         // its name in outcomes
	Server  netip.AddrPort // where it is

	Flows   int           // connections kept open, and opened again when they end
	Every   time.Duration // mean time between an answer and the next request of such a connection
	New     float64       // further connections a second, each for one request; at most 64 are under way
	Timeout time.Duration // for a name, a handshake, an answer, a message; 0: 5 s
	Request int           // mean bytes of a request
	Answer  int           // mean bytes of an answer

	Push  bool           // the server pushes (Behaviour.Push): nothing is asked
	Names netip.AddrPort // name server that is asked before each connection; zero: none
	Seed  uint64         // of what is random

	// Failed is called for each connection that ends badly, and each that could not be made, by several goroutines at
	// once. It must not block.
	Failed func(Flow)
}

// maxFresh bounds the connections of Load.New that are under way.
const maxFresh = 64

// Back-off between the attempts of a connection that is kept open.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = time.Second
)

// Pool is the clients of a service at work. Its methods may be called concurrently.
type Pool struct {
	at   Place
	load Load
	done sync.WaitGroup
	stop chan struct{} // closed by Stop and Freeze

	mu          sync.Mutex
	stopping    bool
	interrupted bool // nothing is waited for any more
	dying       bool // connections stay as they are, until Exit closes them
	sockets     map[socket]*Flow
	flows       []*Flow // all, in the order in which they were opened
	samples     []sample
	waiting     int           // connections kept open that never had an answer yet
	ready       chan struct{} // closed when there is none
}

// socket is what a pool holds open, to interrupt and close it.
type socket interface {
	SetDeadline(time.Time) error
	Close() error
}

// sample is one answer, message or failure.
type sample struct {
	at          time.Time // when it came, or the client gave up
	took        time.Duration
	end         End // "" for an answer
	established bool
}

// Start starts the clients. The caller stops them.
func Start(at Place, l Load) *Pool {
	if l.Timeout == 0 {
		l.Timeout = 5 * time.Second
	}
	p := &Pool{
		at: at, load: l, stop: make(chan struct{}), sockets: map[socket]*Flow{},
		waiting: l.Flows, ready: make(chan struct{}),
	}
	if l.Flows == 0 {
		close(p.ready)
	}
	for i := range l.Flows {
		p.done.Go(func() { p.keep(rand.New(rand.NewPCG(l.Seed, uint64(i)))) })
	}
	if l.New > 0 {
		p.done.Go(p.fresh)
	}
	return p
}

// Ready waits until each connection that is kept open had an answer, or a message.
func (p *Pool) Ready(ctx context.Context) error {
	select {
	case <-p.ready:
		return nil
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		return fmt.Errorf("%d of %d connections to %s (%v) had no answer yet: %w",
			p.waiting, p.load.Flows, p.load.Service, p.load.Server, ctx.Err())
	}
}

// Stop ends the clients in order: no more requests, what is under way may still end within grace, then all is closed.
func (p *Pool) Stop(grace time.Duration) {
	p.halt(false)
	if p.load.Push {
		grace = 0 // nothing is under way
	}
	ended := make(chan struct{})
	go func() {
		p.done.Wait()
		close(ended)
	}()
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
	}
	p.interrupt()
	<-ended
}

// Freeze has the clients read and send nothing any more, as a process that hangs; their connections stay.
func (p *Pool) Freeze() {
	p.halt(true)
	p.interrupt()
	p.done.Wait()
}

// Exit ends the clients as the end of their process does: the kernel closes everything at once, with RST where something
// was not read, else with FIN.
func (p *Pool) Exit() {
	p.Freeze()
	p.mu.Lock()
	defer p.mu.Unlock()
	for s, f := range p.sockets {
		s.Close()
		f.End, f.Ended = Closed, time.Now()
	}
	clear(p.sockets)
}

func (p *Pool) halt(dying bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopping {
		p.stopping, p.dying = true, dying
		close(p.stop)
	}
}

// interrupt has everything that waits return.
func (p *Pool) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interrupted = true
	for s := range p.sockets {
		_ = s.SetDeadline(time.Unix(1, 0)) // fails only when closed
	}
}

// limit gives a socket, which it enters, until when to wait for what comes next.
func (p *Pool) limit(s socket, f *Flow, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sockets[s] = f
	if p.interrupted {
		until = time.Unix(1, 0)
	}
	_ = s.SetDeadline(until) // fails only when closed
}

// keep keeps one connection open.
func (p *Pool) keep(r *rand.Rand) {
	pause := firstPause
	for first := true; ; {
		c, err := p.connect(r, true)
		if err == nil {
			pause = firstPause
			for err == nil && !p.over() {
				if err = c.exchange(); err != nil {
					break
				}
				if first {
					first = false
					p.answered()
				}
				if !p.load.Push && !sleep(spread(r, p.load.Every), p.stop) {
					break
				}
			}
		}
		p.finish(c, err)
		if !sleep(spread(r, pause), p.stop) {
			return
		}
		pause = min(2*pause, maxPause)
	}
}

func (p *Pool) over() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

func (p *Pool) answered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting--; p.waiting == 0 {
		close(p.ready)
	}
}

// fresh opens connections for one request each.
func (p *Pool) fresh() {
	room := make(chan struct{}, maxFresh)
	r := rand.New(rand.NewPCG(p.load.Seed, 1<<32))
	for n := uint64(1); sleep(spread(r, time.Duration(float64(time.Second)/p.load.New)), p.stop); n++ {
		select {
		case room <- struct{}{}:
		case <-p.stop:
			return
		}
		p.done.Go(func() {
			defer func() { <-room }()
			c, err := p.connect(rand.New(rand.NewPCG(p.load.Seed, 1<<32+n)), false)
			if err == nil {
				err = c.exchange()
			}
			p.finish(c, err)
		})
	}
}

// connect opens a connection. It is returned also when that failed, for finish.
func (p *Pool) connect(r *rand.Rand, pooled bool) (*connection, error) {
	f := &Flow{Service: p.load.Service, Pooled: pooled, Remote: p.load.Server, Opened: time.Now(), Connect: -1, End: Open}
	c := &connection{pool: p, flow: f, rand: r, began: f.Opened}
	p.mu.Lock()
	p.flows = append(p.flows, f)
	p.mu.Unlock()
	if p.load.Names.IsValid() {
		if err := p.resolve(uint16(r.Uint32())); err != nil {
			return c, err
		}
	}
	c.began = time.Now()
	conn, local, err := open(p.at, p.load.Server)
	p.mu.Lock()
	f.Opened, f.Local = c.began, local
	p.mu.Unlock()
	if err != nil {
		return c, err
	}
	c.conn, c.in = conn, bufio.NewReader(conn)
	p.limit(conn, f, c.began.Add(p.load.Timeout))
	if err := connected(conn, p.load.Server); err != nil {
		return c, err
	}
	p.mu.Lock()
	f.Connect = time.Since(f.Opened)
	p.mu.Unlock()
	return c, nil
}

// finish enters how a connection ended, and closes it.
func (p *Pool) finish(c *connection, err error) {
	f := c.flow
	p.mu.Lock()
	if p.dying && c.conn != nil && (err == nil || p.interrupted) {
		p.mu.Unlock()
		return // Exit closes it
	}
	if c.conn != nil {
		c.conn.Close()
		delete(p.sockets, c.conn)
	}
	f.Ended, f.End = time.Now(), classify(err, f.Connect < 0)
	if p.interrupted {
		f.End = Closed
	}
	if f.Bad() {
		f.Waited = f.Ended.Sub(c.began)
		p.samples = append(p.samples, sample{f.Ended, f.Waited, f.End, f.Connect >= 0})
	}
	ended := *f
	p.mu.Unlock()
	if ended.Bad() && p.load.Failed != nil {
		p.load.Failed(ended)
	}
}

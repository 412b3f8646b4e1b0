package traffic

import (
	"bufio"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"time"
)

// connection is one connection of a pool, used by one goroutine.
type connection struct {
	pool  *Pool
	flow  *Flow // guarded by pool's mu
	conn  *net.TCPConn
	in    *bufio.Reader
	rand  *rand.Rand
	began time.Time // of what is waited for

	request, answer []byte // buffers
}

// exchange asks for an answer and waits for it, or waits for a message.
func (c *connection) exchange() error {
	p := c.pool
	c.began = time.Now()
	p.limit(c.conn, c.flow, c.began.Add(p.load.Timeout))
	if !p.load.Push {
		c.request = putRequest(c.request, around(c.rand, p.load.Request), around(c.rand, p.load.Answer))
		if _, err := c.conn.Write(c.request); err != nil {
			return err
		}
	}
	sent, outside, err := readAnswer(c.in, &c.answer)
	if err != nil {
		return err
	}
	now := time.Now()
	took := now.Sub(c.began)
	if p.load.Push {
		took = max(now.Sub(sent), 0) // the clock may have been set meanwhile
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f := c.flow
	f.Answers++
	f.Outside = outside
	f.Slowest = max(f.Slowest, took)
	p.samples = append(p.samples, sample{at: now, took: took})
	return nil
}

// around is a size around mean: at least half of it, and less than one and a half.
func around(r *rand.Rand, mean int) int {
	if mean <= 0 {
		return 0
	}
	return mean/2 + r.IntN(mean)
}

// resolve asks the name server. It asks again after half of the time-out, as resolvers do.
func (p *Pool) resolve(id uint16) error {
	began := time.Now()
	conn, err := openUDP(p.at, p.load.Names)
	if err != nil {
		return &noName{err}
	}
	defer p.release(conn)
	question, err := packQuestion(id)
	if err != nil {
		return &noName{err}
	}
	for _, wait := range []time.Duration{p.load.Timeout / 2, p.load.Timeout} {
		p.limit(conn, nil, began.Add(wait))
		if err = ask(conn, question, id); err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	return &noName{err}
}

// release closes a socket that is no connection.
func (p *Pool) release(s socket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Close()
	delete(p.sockets, s)
}

package faultproxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// listener wraps connections.
type listener struct {
	net.Listener
	p *Proxy
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetReadBuffer(64 << 10) // so that clients feel at once how slow Slow is
	}
	return &conn{Conn: c, p: l.p}, nil
}

// conn is one under TLS, on which faults of connections come to pass.
type conn struct {
	net.Conn
	p   *Proxy
	met atomic.Pointer[chan struct{}] // the end of the fault that this connection has met
}

var errFault = errors.New("the fault that held this connection has ended")

// suffer returns when n bytes may pass, or an error when the connection is to end.
func (c *conn) suffer(n int) error {
	c.p.mu.Lock()
	f, ended := c.p.fault, c.p.ended
	if f.Kind != BlackHole && f.Kind != Slow {
		c.p.mu.Unlock()
		return nil
	}
	if old := c.met.Swap(&ended); old == nil || *old != ended {
		c.p.meet()
	}
	c.p.mu.Unlock()
	if f.Kind == BlackHole {
		<-ended
		reset(c)
		return errFault
	}
	pause := time.NewTimer(time.Duration(n) * time.Second / time.Duration(max(1, f.Rate)))
	defer pause.Stop()
	select {
	case <-ended:
	case <-pause.C:
	}
	return nil
}

const piece = 16 << 10 // passes at once

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b[:min(len(b), piece)])
	if n > 0 {
		if err := c.suffer(n); err != nil {
			return 0, err
		}
	}
	return n, err
}

func (c *conn) Write(b []byte) (written int, err error) {
	for {
		part := b[written:min(len(b), written+piece)]
		if err := c.suffer(len(part)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(part)
		written += n
		if err != nil || written == len(b) {
			return written, err
		}
	}
}

// counter counts what was read of a body.
type counter struct {
	io.ReadCloser
	n atomic.Int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// statusWriter notes the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

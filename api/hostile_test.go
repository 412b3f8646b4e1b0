package api

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/netutil"
)

// pipes is a listener whose connections are made in memory, so that the time they take may be faked.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn, 200), closed: make(chan struct{})} }

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9409} }

func (l *pipes) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return client
}

// besieged runs the server on a listener in memory, with all its bounds, in a bubble of faked time.
func besieged(t *testing.T, withTLS bool, f func(t *testing.T, fake *fake, l *pipes)) {
	var cert *tls.Certificate
	if withTLS {
		c, k := newCertificate(t, 1)
		pair, err := tls.X509KeyPair([]byte(c), []byte(k))
		if err != nil {
			t.Fatal(err)
		}
		cert = &pair
	}
	synctest.Test(t, func(t *testing.T) {
		fake, l := newFake(), newPipes()
		s := fake.server(zap.NewNop())
		s.add(netutil.LimitListener(l, maxConns), s.handler(s.newGuard(doorLoopback, "127.0.0.1:9409")))
		if withTLS {
			s.certificate, _ = keep(&kept[*tls.Certificate]{what: "certificate", read: func() (*tls.Certificate, error) { return cert, nil }})
			s.parts[0].server.TLSConfig = s.tlsConfig()
		}
		done := make(chan error)
		go func() { done <- s.parts[0].serve() }()
		f(t, fake, l)
		s.parts[0].server.Close()
		<-done
		time.Sleep(time.Second) // net/http lingers over connections that it closes
	})
}

// untilClosed reads until the server closes the connection, and returns what it sent.
func untilClosed(c net.Conn) (text string, after time.Duration) {
	start := time.Now()
	b, _ := io.ReadAll(c)
	return string(b), time.Since(start)
}

// healthy fails if the server does not answer a well-behaved client at once.
func healthy(t *testing.T, l *pipes, when string) {
	t.Helper()
	c := l.dial()
	defer c.Close()
	start := time.Now()
	fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != 200 || time.Since(start) != 0 {
		t.Errorf("%s: healthz gives %v, %v after %v", when, res, err, time.Since(start))
	}
}

// TestSlowRequests: whoever does not send a whole request in time loses the connection, whatever it drips.
func TestSlowRequests(t *testing.T) {
	post := "POST /v1/triggers HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
	for name, c := range map[string]struct {
		first, drip string
		counted     int    // triggers that were refused
		answer      string // how it begins
	}{
		"nothing at all":  {"", "", 0, ""},
		"slow first line": {"GE", "T", 0, ""},
		"slow headers":    {"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", "X: y\r\n", 0, ""},
		"silent headers":  {"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", "", 0, ""},
		"slow alerts":     {strings.Replace(post, "triggers", "alertmanager", 1), " ", 1, "HTTP/1.1 408 "},
		"slow observing":  {strings.Replace(post, "triggers", "observations", 1), " ", 0, "HTTP/1.1 408 "},
		"slow body":       {post, " ", 1, "HTTP/1.1 408 "},
		"silent body":     {post, "", 1, "HTTP/1.1 408 "},
		"slow chunks":     {"POST /v1/triggers HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n", 1, "HTTP/1.1 408 "},
	} {
		t.Run(name, func(t *testing.T) {
			besieged(t, false, func(t *testing.T, fake *fake, l *pipes) {
				conn := l.dial()
				var drips sync.WaitGroup
				defer drips.Wait()
				defer conn.Close()
				drips.Go(func() {
					if _, err := io.WriteString(conn, c.first); err != nil {
						return
					}
					for c.drip != "" {
						time.Sleep(time.Second)
						if _, err := io.WriteString(conn, c.drip); err != nil {
							return
						}
					}
				})
				healthy(t, l, "beside it")
				text, after := untilClosed(conn)
				if after != readHeaderTimeout || !strings.HasPrefix(text, c.answer) || c.answer == "" && strings.Contains(text, " 200 ") {
					t.Errorf("closed after %v, want %v, with %q", after, readHeaderTimeout, text)
				}
				if n := len(fake.engine.suppressed); n != c.counted || len(fake.engine.requests) != 0 {
					t.Errorf("%d triggers refused, want %d; %d accepted", n, c.counted, len(fake.engine.requests))
				}
			})
		})
	}
}

// TestSlowHandshake closes connections that never finish their TLS handshake.
func TestSlowHandshake(t *testing.T) {
	besieged(t, true, func(t *testing.T, _ *fake, l *pipes) {
		conn := l.dial()
		defer conn.Close()
		if _, after := untilClosed(conn); after != readHeaderTimeout {
			t.Errorf("closed after %v, want %v", after, readHeaderTimeout)
		}
		secure := tls.Client(l.dial(), &tls.Config{InsecureSkipVerify: true})
		defer secure.Close()
		fmt.Fprint(secure, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if res, err := http.ReadResponse(bufio.NewReader(secure), nil); err != nil || res.StatusCode != 200 {
			t.Errorf("a whole handshake: %v, %v", res, err)
		}
	})
}

// TestHalfOpen takes every connection there may be and says nothing: the next client waits until those are cut, no longer.
func TestHalfOpen(t *testing.T) {
	besieged(t, false, func(t *testing.T, _ *fake, l *pipes) {
		for range 2 * maxConns {
			defer l.dial().Close()
		}
		c := l.dial()
		defer c.Close()
		start := time.Now()
		fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if waited := time.Since(start); err != nil || res.StatusCode != 200 || waited != 2*readHeaderTimeout {
			t.Errorf("%v, %v after %v, want 200 after %v", res, err, waited, 2*readHeaderTimeout)
		}
	})
}

// TestIdle closes connections that are kept open for nothing.
func TestIdle(t *testing.T) {
	besieged(t, false, func(t *testing.T, _ *fake, l *pipes) {
		c := l.dial()
		defer c.Close()
		fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		in := bufio.NewReader(c)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		start := time.Now()
		if _, err := in.ReadByte(); err != io.EOF || time.Since(start) != idleTimeout {
			t.Errorf("%v after %v, want the end after %v", err, time.Since(start), idleTimeout)
		}
	})
}

// TestOversize refuses what is too large before it is kept, and what is no HTTP.
func TestOversize(t *testing.T) {
	for name, c := range map[string]struct{ request, answer string }{
		"headers":      {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("y", 1<<20) + "\r\n\r\n", "HTTP/1.1 431 "},
		"many headers": {"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X: y\r\n", 100_000) + "\r\n", "HTTP/1.1 431 "},
		"first line":   {"GET /" + strings.Repeat("y", 1<<20) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 431 "},
		"stated body":  {"POST /v1/triggers HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\n\r\n" + strings.Repeat(" ", 20_000_000), "HTTP/1.1 413 "},
		"chunked body": {"POST /v1/triggers HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1312d00\r\n" + strings.Repeat(" ", 20_000_000) + "\r\n0\r\n\r\n", "HTTP/1.1 413 "},
		"alerts":       {"POST /v1/alertmanager HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\n\r\n" + strings.Repeat("{", 20_000_000), "HTTP/1.1 413 "},
		"observations": {"POST /v1/observations HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1312d00\r\n" + strings.Repeat("[", 20_000_000) + "\r\n0\r\n\r\n", "HTTP/1.1 413 "},
		"huge length":  {"POST /v1/triggers HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9223372036854775807\r\n\r\n", "HTTP/1.1 413 "},
		"bad length":   {"POST /v1/triggers HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400 "},
		"two lengths":  {"POST /v1/triggers HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "HTTP/1.1 400 "},
		"no host":      {"GET /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "},
		"two hosts":    {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", "HTTP/1.1 400 "},
		"other host":   {"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 403 "},
		"no HTTP":      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "HTTP/1.1 400 "},
		"star":         {"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 400 "},
		"connect":      {"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 "},
		"trace":        {"TRACE /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: x\r\n\r\n", "HTTP/1.1 401 "},
		"upgrade":      {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", "HTTP/1.1 200 "},
		"http2":        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 "},
	} {
		t.Run(name, func(t *testing.T) {
			besieged(t, false, func(t *testing.T, fake *fake, l *pipes) {
				conn := l.dial()
				defer conn.Close()
				go io.WriteString(conn, c.request) // fails when the server closes
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				line := fmt.Sprintf("%s %d ", res.Proto, res.StatusCode)
				if !strings.HasPrefix(line, c.answer) || strings.HasPrefix(line, "HTTP/1.1 2") != strings.HasPrefix(c.answer, "HTTP/1.1 2") {
					t.Errorf("%s, want %s", line, c.answer)
				}
				if len(fake.engine.requests) != 0 || len(fake.observed) != 0 {
					t.Error("the engine or the timeline got it")
				}
				healthy(t, l, "after it")
			})
		})
	}
}

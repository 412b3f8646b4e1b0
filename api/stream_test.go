package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ringside/ringside/rotate"
)

// serve runs the fake behind a Unix socket and returns a client for it, and what was logged.
func serve(t *testing.T, f *fake, drain time.Duration) (c *http.Client, logs *observer.ObservedLogs, stop func() error) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	socket := filepath.Join(t.TempDir(), "r.sock")
	s, err := Listen(Config{Socket: socket, Drain: drain}, f.sources(), zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}
	stopped := false
	stop = func() error {
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if !stopped {
			stop()
		}
		transport.CloseIdleConnections()
	})
	return &http.Client{Transport: transport}, logs, stop
}

const target = "http://ringside/v1/packets?from=-5m"

// TestTrailers states after the stream what was found only while reading.
func TestTrailers(t *testing.T) {
	f := newFake()
	f.write = func(w io.Writer) (int64, error) {
		f.coverage.Missing = []rotate.Missing{{Span: rotate.Span{From: day, To: day}, Reason: rotate.MissingDamaged, Packets: 1}}
		f.coverage.Packets = 1
		n, err := io.WriteString(w, "packets")
		return int64(n), err
	}
	c, logs, _ := serve(t, f, time.Second)
	res, err := c.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "packets" {
		t.Fatalf("%q, %v", body, err)
	}
	if got := res.Trailer.Get("Ringside-Missing"); !strings.HasPrefix(got, "damaged") || res.Header.Get("Ringside-Missing") != "none" {
		t.Errorf("trailer %q, header %q", got, res.Header.Get("Ringside-Missing"))
	}
	if got := res.Trailer.Get("Ringside-Packets"); got != "1" {
		t.Errorf("Ringside-Packets %q", got)
	}
	<-f.closed
	lines := logs.FilterMessage("packets were handed out").All()
	if len(lines) != 1 || !strings.HasPrefix(lines[0].ContextMap()["client"].(string), "uid ") || lines[0].ContextMap()["bytes"] != int64(7) {
		t.Errorf("log %v, want one line that says who got how much", lines)
	}
}

// TestBrokenStream breaks the connection when the spool cannot be read on: a part must not pass for the whole.
func TestBrokenStream(t *testing.T) {
	f := newFake()
	f.write = func(w io.Writer) (int64, error) {
		n, _ := w.Write(make([]byte, 1<<20))
		return int64(n), errors.New("input/output error")
	}
	c, logs, _ := serve(t, f, time.Second)
	res, err := c.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d bytes and %v, want an unexpected end", n, err)
	}
	<-f.closed
	if n := logs.FilterMessage("packets were handed out in part: they could not be read").Len(); n != 1 {
		t.Errorf("%d log lines of a broken stream, want 1", n)
	}
}

// TestClientGone ends a stream with its client, and closes the window.
func TestClientGone(t *testing.T) {
	f := newFake()
	f.write = func(w io.Writer) (n int64, err error) {
		for piece := make([]byte, 64<<10); err == nil; n += int64(len(piece)) {
			_, err = w.Write(piece)
		}
		return n, err
	}
	c, logs, _ := serve(t, f, time.Second)
	res, err := c.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(res.Body, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	<-f.closed
	if n := logs.FilterMessage("packets were handed out in part: the client went away or read too slowly").Len(); n != 1 {
		t.Errorf("%d log lines of a client that went away, want 1", n)
	}
}

// TestStreamsAreBounded refuses the stream after the last with 503, and takes it when one has ended.
func TestStreamsAreBounded(t *testing.T) {
	f := newFake()
	began, release := make(chan struct{}), make(chan struct{})
	f.write = func(io.Writer) (int64, error) { began <- struct{}{}; <-release; return 0, nil }
	c, _, _ := serve(t, f, time.Second)
	ended := make(chan error, maxStreams)
	fetch := func() {
		res, err := c.Get(target)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		ended <- err
	}
	for range maxStreams {
		go fetch()
		<-began
	}
	res, err := c.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 503 || res.Header.Get("Retry-After") != "5" {
		t.Errorf("stream %d: %d, Retry-After %q", maxStreams+1, res.StatusCode, res.Header.Get("Retry-After"))
	}
	if res, err = c.Get("http://ringside/healthz"); err != nil || res.StatusCode != 200 {
		t.Fatalf("healthz beside the streams: %v, %v", res, err)
	}
	res.Body.Close()
	close(release)
	for range maxStreams {
		if err := <-ended; err != nil {
			t.Error(err)
		}
		<-f.closed
	}
	go fetch()
	<-began
	if err := <-ended; err != nil {
		t.Errorf("after the streams have ended: %v", err)
	}
}

// TestDrain lets a stream end while the server stops, and cuts one that does not end in time.
func TestDrain(t *testing.T) {
	for name, ends := range map[string]bool{"ends": true, "does not end": false} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			began, release := make(chan struct{}), make(chan struct{})
			f.write = func(w io.Writer) (int64, error) {
				w.Write(make([]byte, 1<<20))
				close(began)
				<-release
				n, err := w.Write([]byte("end"))
				return int64(n), err
			}
			drain := time.Minute
			if !ends {
				drain = time.Millisecond
			}
			c, _, stop := serve(t, f, drain)
			got := make(chan error, 1)
			go func() {
				res, err := c.Get(target)
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				got <- err
			}()
			<-began
			if ends {
				close(release)
			}
			if err := stop(); err != nil {
				t.Errorf("Run = %v", err)
			}
			if err := <-got; (err == nil) != ends {
				t.Errorf("the client got %v", err)
			}
			if !ends {
				close(release)
			}
			<-f.closed
		})
	}
}

// TestSlowClient cuts a client that stops reading for replyTimeout, and keeps one that reads a little in between.
func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var wrote int64
		var failed error
		f.write = func(w io.Writer) (int64, error) {
			for failed == nil {
				var n int
				n, failed = w.Write(make([]byte, 64<<10))
				wrote += int64(n)
			}
			return wrote, failed
		}
		client, server := net.Pipe()
		l := &oneConn{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
		l.conns <- server
		srv := f.server(zap.NewNop())
		srv.add(l, f.handler(doorSocket))
		go srv.parts[0].server.Serve(l)
		start := time.Now()
		if _, err := io.WriteString(client, "GET /v1/packets HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		for range 4 { // 64 KiB every 20 s is slow, and goes on
			if _, err := io.ReadFull(client, make([]byte, 64<<10)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Second)
		}
		<-f.closed
		took := time.Since(start)
		if !errors.Is(failed, context.DeadlineExceeded) && !isTimeout(failed) || took < 80*time.Second || took > 80*time.Second+replyTimeout {
			t.Errorf("the stream ended after %v with %v, want a timeout %v after the last read", took, failed, replyTimeout)
		}
		client.Close()
		srv.parts[0].server.Close()
	})
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// oneConn is a listener that hands out the connections it is given.
type oneConn struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *oneConn) Close() error   { close(l.closed); return nil }
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

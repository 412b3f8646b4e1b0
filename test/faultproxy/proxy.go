package faultproxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/ringside/ringside/test/s3server"
	"github.com/ringside/ringside/upload"
)

// Request is one that a client made.
type Request struct {
	Method string
	URL    string // path and query
	Header http.Header
	Body   int64 // bytes that came
	Status int   // answered; 0 if nothing was
}

// Proxy passes requests on to an S3 server, or fails. Its methods may be called concurrently.
type Proxy struct {
	URL string // https://127.0.0.1:PORT

	server  *s3server.Server
	forward *httputil.ReverseProxy
	up      *http.Transport
	address string

	setting sync.Mutex   // a Set at a time
	front   *http.Server // nil while refusing
	serving sync.WaitGroup

	mu       sync.Mutex
	fault    Fault
	ended    chan struct{} // closed when fault is replaced
	hits     int           // of fault
	hit      chan struct{} // closed and replaced at each hit
	requests []Request
}

// Start starts a proxy before s that lives as long as the test.
func Start(t testing.TB, s *s3server.Server) *Proxy {
	t.Helper()
	p, err := Open(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// Open starts a proxy before s. Stop ends it.
func Open(s *s3server.Server) (*Proxy, error) {
	upstream, err := url.Parse(s.URL)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	p := &Proxy{server: s, ended: make(chan struct{}), hit: make(chan struct{}), address: "127.0.0.1:0"}
	p.up = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableCompression: true, MaxIdleConnsPerHost: 64}
	p.forward = &httputil.ReverseProxy{
		Transport: p.up,
		ErrorLog:  log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(upstream)
			r.Out.Host = r.In.Host // it is signed
		},
	}
	if err := p.listen(); err != nil {
		return nil, err
	}
	p.URL = "https://" + p.address
	return p, nil
}

// Config is the server's, with the proxy in the server's place.
func (p *Proxy) Config(prefix string) upload.Config {
	cfg := p.server.Config(prefix)
	cfg.S3.Endpoint = p.URL
	return cfg
}

// listen opens the front, at the same address as before. The caller holds setting, or has the proxy for itself.
func (p *Proxy) listen() error {
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		return fmt.Errorf("listen for the fault proxy: %w", err)
	}
	p.address = l.Addr().String()
	p.front = &http.Server{Handler: http.HandlerFunc(p.handle), ErrorLog: log.New(io.Discard, "", 0)}
	front := p.front
	p.serving.Go(func() {
		_ = front.Serve(tls.NewListener(listener{l, p}, &tls.Config{Certificates: []tls.Certificate{p.server.TLS}}))
	})
	return nil
}

// Set makes f the fault from now on, and ends the one before. Set(Fault{}) heals. It panics if it cannot listen again.
func (p *Proxy) Set(f Fault) {
	p.setting.Lock()
	defer p.setting.Unlock()
	p.mu.Lock()
	close(p.ended)
	p.fault, p.ended, p.hits = f, make(chan struct{}), 0
	p.mu.Unlock()
	switch {
	case f.Kind == Refuse && p.front != nil:
		_ = p.front.Close() // writes to connections, which look at the fault
		p.front = nil
	case f.Kind != Refuse && p.front == nil:
		if err := p.listen(); err != nil {
			panic(err)
		}
	}
}

// Stop ends the proxy and every connection.
func (p *Proxy) Stop() {
	p.Set(Fault{Kind: Refuse})
	p.serving.Wait()
	p.up.CloseIdleConnections()
}

// Hits is how often the present fault was met. Those that are refused cannot be counted.
func (p *Proxy) Hits() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hits
}

// Await returns when the present fault was met n times, or ctx is done.
func (p *Proxy) Await(ctx context.Context, n int) error {
	for {
		p.mu.Lock()
		hits, next := p.hits, p.hit
		p.mu.Unlock()
		if hits >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the fault was met %d times of %d: %w", hits, n, ctx.Err())
		case <-next:
		}
	}
}

// Requests are those that have ended since the last Forget.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

// Forget empties Requests.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = nil
}

// meet counts a hit. The caller holds mu.
func (p *Proxy) meet() {
	p.hits++
	close(p.hit)
	p.hit = make(chan struct{})
}

// present returns the fault that a request meets, None if none, and what is closed at its end.
func (p *Proxy) present(r *http.Request) (Fault, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.fault
	if f.Kind < Deny || f.Match != nil && !f.Match(r) || f.Times > 0 && p.hits >= f.Times {
		return Fault{}, nil
	}
	p.meet()
	return f, p.ended
}

func (p *Proxy) handle(w http.ResponseWriter, r *http.Request) {
	body := &counter{ReadCloser: r.Body}
	r.Body = body
	seen := &statusWriter{ResponseWriter: w}
	request := Request{Method: r.Method, URL: r.URL.RequestURI(), Header: r.Header.Clone()}
	defer func() {
		request.Body, request.Status = body.n.Load(), seen.status
		p.mu.Lock()
		p.requests = append(p.requests, request)
		p.mu.Unlock()
	}()
	if f, until := p.present(r); f.Kind != None {
		p.fail(seen, r, f, until)
		return
	}
	p.forward.ServeHTTP(seen, r)
}

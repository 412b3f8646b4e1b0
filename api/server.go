package api

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/netutil"
)

// Config says where to listen.
type Config struct {
	Listen string        // TCP address, "" for none
	Socket string        // path of the Unix socket
	Drain  time.Duration // for requests under way when Run is stopped; then they are cut
}

// Bounds of the servers. A client that exceeds one loses its connection and nothing else happens.
const (
	maxConns          = 64 // on TCP
	maxHeader         = 16 << 10
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = time.Minute
	replyTimeout      = 30 * time.Second // for a whole answer, and for each piece of a packet stream
)

// Server serves the API on a Unix socket and, if asked, on TCP.
type Server struct {
	cfg   Config
	log   *zap.Logger
	parts []part
}

// part is one listener with its server.
type part struct {
	listener net.Listener
	server   *http.Server
}

// Listen binds the listeners, so that an address that is taken is known before anything is recorded. Nothing is
// answered until Run.
func Listen(cfg Config, s Sources, log *zap.Logger) (*Server, error) {
	srv := &Server{cfg: cfg, log: log}
	l, err := listenUnix(cfg.Socket)
	if err != nil {
		return nil, err
	}
	packets := newPackets(s, log)
	srv.add(l, harden(newHandler(s, packets, access{packets: true, metrics: true, socket: cfg.Socket})))
	if cfg.Listen == "" {
		return srv, nil
	}
	if l, err = listenTCP(cfg.Listen); err != nil {
		srv.Close()
		return nil, err
	}
	a := accessOf(l.Addr().(*net.TCPAddr))
	a.socket = cfg.Socket
	srv.add(netutil.LimitListener(l, maxConns), harden(checkHost(cfg.Listen, newHandler(s, packets, a))))
	return srv, nil
}

func listenTCP(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w: set listen to a free address of this machine, or to none", err)
	}
	return l, nil
}

func (s *Server) add(l net.Listener, h http.Handler) {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readHeaderTimeout,
		WriteTimeout:      replyTimeout, // a packet stream extends it as long as its client reads
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       withPeer,
		ErrorLog:          log.New(debugWriter{s.log}, "", 0),
	}
	s.parts = append(s.parts, part{l, server})
}

// debugWriter takes what net/http logs: the mistakes of clients, which nobody needs to act on.
type debugWriter struct{ log *zap.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.log.Debug("http", zap.ByteString("message", p))
	return len(p), nil
}

// Addresses returns where the server listens, the Unix socket first.
func (s *Server) Addresses() []net.Addr {
	var list []net.Addr
	for _, p := range s.parts {
		list = append(list, p.listener.Addr())
	}
	return list
}

// Run answers until ctx is done; then it accepts no more, lets requests under way end within Config.Drain, cuts those
// that do not, and returns nil. It returns an error if a listener fails before.
func (s *Server) Run(ctx context.Context) error {
	ended := make(chan error, len(s.parts))
	for _, p := range s.parts {
		go func() { ended <- p.server.Serve(p.listener) }()
	}
	var failed error
	left := len(s.parts)
	select {
	case <-ctx.Done():
	case err := <-ended:
		left--
		failed = fmt.Errorf("api: %w", err)
	}
	s.drain()
	for range left {
		<-ended
	}
	return failed
}

func (s *Server) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Drain)
	defer cancel()
	for _, p := range s.parts {
		if err := p.server.Shutdown(ctx); err != nil {
			s.log.Warn("requests were cut because they did not end in time",
				zap.Stringer("address", p.listener.Addr()), zap.Duration("waited", s.cfg.Drain))
			p.server.Close()
		}
	}
}

// Close closes the listeners of a server that was never run.
func (s *Server) Close() error {
	var errs []error
	for _, p := range s.parts {
		errs = append(errs, p.listener.Close())
	}
	return errors.Join(errs...)
}

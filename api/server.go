package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/netutil"
	"golang.org/x/time/rate"

	"github.com/ringside/ringside/upload"
)

// Config says where to listen and whom to let in.
type Config struct {
	Listen        string        // TCP address, "" for none
	MetricsListen string        // TCP address for health and metrics without a token, "" for none
	Socket        string        // path of the Unix socket
	Drain         time.Duration // for requests under way when Run is stopped; then they are cut
	Node          string        // this node's name, which its own incidents have

	Hosts  []string // names and addresses that a Host header may have over TCP, beside those listened on
	Tokens string   // file of the tokens, "" for none
	TLS    TLS

	// TriggerRate is how many triggers and notifications of alerts a second are taken over TCP, and in bursts, from all
	// without a token and with each token; and how many requests with observations, from all. 0 is the default, 10.
	TriggerRate float64
}

// TLS names the files of the certificate for Listen, PEM; empty for plain HTTP. Both are read again when they change.
type TLS struct{ Cert, Key string }

// ConfigError is a value of the configuration that cannot be used.
type ConfigError struct {
	Key string // such as tokens
	Err error  // what is wrong, and the cure
}

func (e *ConfigError) Error() string { return e.Key + ": " + e.Err.Error() }

// Unwrap returns what is wrong.
func (e *ConfigError) Unwrap() error { return e.Err }

// Bounds of the servers. A client that exceeds one loses its connection and nothing else happens.
const (
	maxConns          = 64 // on Listen
	maxMetricsConns   = 16 // on MetricsListen
	maxHeader         = 16 << 10
	readHeaderTimeout = 5 * time.Second // for the headers, and for a whole request with its body
	idleTimeout       = time.Minute
	replyTimeout      = 30 * time.Second // for a whole answer, and for each piece of a packet stream

	defaultTriggerRate = 10
)

// Server serves the API on a Unix socket and, if asked, on TCP.
type Server struct {
	cfg     Config
	sources Sources
	log     *zap.Logger
	audit   *zap.Logger // one line for each hand-out of packets
	stats   *counters
	parts   []part

	tokens      *kept[tokens]           // nil for none
	certificate *kept[*tls.Certificate] // nil for plain HTTP
	anonymous   *rate.Limiter           // of triggers over TCP without a token
	observers   *rate.Limiter           // of requests with observations over TCP
	streams     chan struct{}           // holds one entry for each stream of packets under way
	lookups     chan struct{}           // the same for requests that read the store
	timelines   chan struct{}           // the same for streams of events
	archive     func(upload.Store) archive

	stopping context.Context // done when no more requests are taken
	stop     context.CancelFunc
}

// part is one listener with its server.
type part struct {
	listener net.Listener
	server   *http.Server
}

// Listen binds the listeners, so that an address that is taken is known before anything is recorded. Nothing is
// answered until Run. log is the root logger: the server names its own "api", and "audit" for each hand-out of packets.
// Files that cannot be used are a *ConfigError.
func Listen(cfg Config, s Sources, log *zap.Logger) (*Server, error) {
	srv := newServer(cfg, s, log)
	err := srv.readFiles()
	if err == nil {
		err = srv.listen()
	}
	if err != nil {
		srv.Close()
		return nil, err
	}
	return srv, nil
}

// newServer returns a server without listeners.
func newServer(cfg Config, s Sources, log *zap.Logger) *Server {
	if cfg.TriggerRate == 0 {
		cfg.TriggerRate = defaultTriggerRate
	}
	srv := &Server{
		cfg: cfg, sources: s, log: log.Named("api"), audit: log.Named("audit"), stats: newCounters(),
		anonymous: newLimiter(cfg.TriggerRate), observers: newLimiter(cfg.TriggerRate), timelines: make(chan struct{}, maxTimelines),
		streams: make(chan struct{}, maxStreams), lookups: make(chan struct{}, maxLookups),
		archive: func(s upload.Store) archive { return upload.NewArchive(s) },
	}
	srv.stopping, srv.stop = context.WithCancel(context.Background())
	return srv
}

func (s *Server) readFiles() error {
	var errs []error
	var err error
	if s.cfg.Tokens != "" {
		s.tokens, err = keep(&kept[tokens]{what: "tokens", files: []string{s.cfg.Tokens}, same: sameTokens, log: s.log,
			read: tokensReader(s.cfg.Tokens, s.cfg.TriggerRate, s.log)})
		errs = appendConfigError(errs, "tokens", err)
	}
	if s.cfg.TLS.Cert != "" {
		s.certificate, err = keep(&kept[*tls.Certificate]{what: "certificate", files: []string{s.cfg.TLS.Cert, s.cfg.TLS.Key},
			same: sameCertificate, log: s.log, read: certificateReader(s.cfg.TLS)})
		errs = appendConfigError(errs, "tls", err)
	}
	return errors.Join(errs...)
}

func appendConfigError(errs []error, key string, err error) []error {
	if err == nil {
		return errs
	}
	return append(errs, &ConfigError{key, err})
}

func (s *Server) listen() error {
	l, err := listenUnix(s.cfg.Socket)
	if err != nil {
		return err
	}
	s.add(l, s.handler(s.newGuard(doorSocket, "")))
	if s.cfg.Listen != "" {
		if l, err = listenTCP("listen", s.cfg.Listen); err != nil {
			return err
		}
		door := doorOf(l.Addr())
		if s.certificate == nil && s.tokens != nil && door == doorBeyond {
			s.log.Warn("tokens and packets cross the network in the clear: set tls, or listen on 127.0.0.1", zap.Stringer("address", l.Addr()))
		}
		s.add(netutil.LimitListener(l, maxConns), s.handler(s.newGuard(door, s.cfg.Listen)))
		if s.certificate != nil {
			s.parts[len(s.parts)-1].server.TLSConfig = s.tlsConfig()
		}
	}
	if s.cfg.MetricsListen != "" {
		if l, err = listenTCP("metrics_listen", s.cfg.MetricsListen); err != nil {
			return err
		}
		s.add(netutil.LimitListener(l, maxMetricsConns), s.handler(s.newGuard(doorMetrics, s.cfg.MetricsListen)))
	}
	return nil
}

func listenTCP(key, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: set %s to a free address of this machine, or to none", key, err, key)
	}
	return l, nil
}

func (s *Server) newGuard(d door, listen string) *guard {
	return &guard{door: d, listen: listen, hosts: s.cfg.Hosts, socket: s.cfg.Socket, tokens: s.tokens, stats: s.stats, log: s.log,
		guesses: rate.NewLimiter(guessRate, guessBurst)}
}

func (s *Server) add(l net.Listener, h http.Handler) {
	server := &http.Server{
		Handler:                      h,
		ReadHeaderTimeout:            readHeaderTimeout,
		ReadTimeout:                  readHeaderTimeout,
		WriteTimeout:                 replyTimeout, // a packet stream extends it as long as its client reads
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		ConnContext:                  withPeer,
		ErrorLog:                     log.New(debugWriter{s.log}, "", 0),
	}
	s.parts = append(s.parts, part{l, server})
}

// debugWriter takes what net/http logs: the mistakes of clients, which nobody needs to act on.
type debugWriter struct{ log *zap.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.log.Debug("http", zap.ByteString("message", p))
	return len(p), nil
}

// Addresses returns where the server listens: the Unix socket, then Listen and MetricsListen, those that are set.
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
	watching, stop := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	watchers.Go(func() { s.watchFiles(watching) })
	defer watchers.Wait()
	defer stop()

	ended := make(chan error, len(s.parts))
	for _, p := range s.parts {
		go func() { ended <- p.serve() }()
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

func (p part) serve() error {
	if p.server.TLSConfig != nil {
		return p.server.ServeTLS(p.listener, "", "")
	}
	return p.server.Serve(p.listener)
}

// watchFiles takes over tokens and certificate when their files change.
func (s *Server) watchFiles(ctx context.Context) {
	var files []string
	var reload []func()
	if s.tokens != nil {
		files, reload = append(files, s.tokens.files...), append(reload, s.tokens.reload)
	}
	if s.certificate != nil {
		files, reload = append(files, s.certificate.files...), append(reload, s.certificate.reload)
	}
	if files == nil {
		return
	}
	watch(ctx, files, func() {
		for _, f := range reload {
			f()
		}
	}, s.log)
}

// faults returns what could not be taken over.
func (s *Server) faults() (list []Fault) {
	if s.tokens != nil {
		list = append(list, s.tokens.faults()...)
	}
	if s.certificate != nil {
		list = append(list, s.certificate.faults()...)
	}
	return list
}

func (s *Server) drain() {
	s.stop()
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

package api

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Sources is what the server shows. All functions may be called concurrently.
type Sources struct {
	Report  func() Report
	Metrics http.Handler
	Window  func(ctx context.Context, from, to time.Time) (Window, error)
}

// access is what a listener may hand out beyond health and readiness.
type access struct {
	packets bool   // packets, and everything else that was recorded
	metrics bool   // metrics, and the names behind readyz?verbose
	socket  string // where the rest is handed out
}

// accessOf returns what a TCP listener may hand out: metrics on loopback, beyond it nothing. Packets need a token, on
// loopback too, because every process of the host network reaches it; tokens do not exist yet.
func accessOf(a *net.TCPAddr) access { return access{metrics: a.IP.IsLoopback()} }

// route is one path, which answers GET and HEAD.
type route struct {
	path  string
	serve http.HandlerFunc
}

func routes(s Sources, p *packets, a access) []route {
	return []route{
		{"/healthz", healthz},
		{"/readyz", readyz(s.Report, a.metrics)},
		{"/metrics", guard(a.metrics, "metrics", a.socket, s.Metrics.ServeHTTP)},
		{"/v1/packets", guard(a.packets, "packets", a.socket, p.serve)},
	}
}

func newHandler(s Sources, p *packets, a access) http.Handler {
	mux := http.NewServeMux()
	var paths []string
	for _, r := range routes(s, p, a) {
		paths = append(paths, r.path)
		mux.HandleFunc("GET "+r.path, r.serve)
		mux.HandleFunc(r.path, func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Allow", "GET, HEAD")
			fail(w, http.StatusMethodNotAllowed, "%s is not answered on %s: use GET", req.Method, r.path)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		fail(w, http.StatusNotFound, "there is no %s here: the paths are %s", req.URL.Path, strings.Join(paths, ", "))
	})
	return mux
}

// harden sets what every answer has: nothing may be cached, sniffed or framed.
func harden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, req)
	})
}

// guard refuses what the listener may not hand out, and says where it can be had.
func guard(allowed bool, what, socket string, serve http.HandlerFunc) http.HandlerFunc {
	if allowed {
		return serve
	}
	return func(w http.ResponseWriter, req *http.Request) {
		fail(w, http.StatusForbidden, "%s are not handed out on this address, which other processes or machines can reach: "+
			"use the Unix socket, such as curl --unix-socket %s 'http://localhost%s'", what, socket, req.URL.RequestURI())
	}
}

// checkHost refuses requests whose Host names another machine: a page in a browser, whose name was pointed here (DNS
// rebinding). Such an attack needs a name, so where the listener takes any address, any address may be named.
func checkHost(listen string, next http.Handler) http.Handler {
	own, _, _ := net.SplitHostPort(listen)
	wildcard := false
	if a, err := netip.ParseAddr(own); err == nil {
		wildcard = a.IsUnspecified()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		host := hostOnly(req.Host)
		_, err := netip.ParseAddr(host)
		if strings.EqualFold(host, "localhost") || host == "127.0.0.1" || host == "::1" || strings.EqualFold(host, own) || wildcard && err == nil {
			next.ServeHTTP(w, req)
			return
		}
		fail(w, http.StatusForbidden, "the request is for host %q, which is not this server: use http://%s", host, listen)
	})
}

// hostOnly takes the port and the brackets off a Host header.
func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
}

func healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", textType)
	w.Write([]byte("ok\n"))
}

const textType = "text/plain; charset=utf-8"

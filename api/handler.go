package api

import (
	"context"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

// Sources is what the server shows and passes on. All functions may be called concurrently. The routes of those that
// are nil answer 503.
type Sources struct {
	Report  func() Report
	Metrics http.Handler
	Window  func(ctx context.Context, from, to time.Time) (Window, error)

	Trigger    func(ctx context.Context, r trigger.Request) (trigger.Receipt, error) // the error is a *trigger.Refusal
	Suppress   func(source, reason, kind string)                                     // counts a request that was refused here
	Incidents  func() []trigger.Incident                                             // that this node knows, the newest first
	Suppressed func() []trigger.Suppressed
	Store      func() upload.Store // nil if there is none

	Observe  func(...hoststate.Event)                                                          // puts events on the timeline; never blocks
	Timeline func(ctx context.Context, q hoststate.Query, f func(hoststate.Event) error) error // of what was put there before
	Follow   func(ctx context.Context, q hoststate.Query, f func(hoststate.Event) error) error // the same, and what comes, until ctx is done
}

// route is one method of one path, and who may use it.
type route struct {
	method string // GET stands for HEAD too
	path   string // as http.ServeMux has it
	access access
	serve  http.HandlerFunc
}

// routes is everything that is served. What is not public, says so by its access.
func (s *Server) routes() []route {
	return []route{
		{"GET", "/healthz", access{scope: public, metrics: true}, healthz},
		{"GET", "/readyz", access{scope: public, metrics: true}, s.readyz},
		{"GET", "/metrics", access{scope: ScopeRead, loopback: true, metrics: true}, s.sources.Metrics.ServeHTTP},
		{"POST", "/v1/triggers", access{scope: ScopeTrigger, loopback: true}, s.postTrigger},
		{"POST", "/v1/alertmanager", access{scope: ScopeTrigger, loopback: true}, s.postAlerts},
		{"POST", "/v1/observations", access{scope: ScopeTrigger, loopback: true}, s.postObservations},
		{"GET", "/v1/timeline", access{scope: ScopeRead}, s.getTimeline},
		{"GET", "/v1/incidents", access{scope: ScopeRead}, s.listIncidents},
		{"GET", "/v1/incidents/{id}", access{scope: ScopeRead}, s.getIncident},
		{"GET", "/v1/incidents/{id}/files/{name}", access{scope: ScopePackets}, s.getFile},
		{"GET", "/v1/packets", access{scope: ScopePackets}, s.getPackets},
	}
}

// handler is what a listener serves: its routes, behind its guard.
func (s *Server) handler(g *guard) http.Handler {
	mux := http.NewServeMux()
	var paths []string
	for _, r := range s.routes() {
		if g.door == doorMetrics && !r.access.metrics {
			continue
		}
		paths = append(paths, r.path)
		mux.HandleFunc(r.method+" "+r.path, named(r.path, g.protect(r)))
		mux.HandleFunc(r.path, named(r.path, otherMethod(r)))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		fail(w, http.StatusNotFound, "there is no %s here: the paths are %s", req.URL.Path, strings.Join(paths, ", "))
	})
	return s.count(harden(g.checkHost(g.checkOrigin(g.identify(g.checkPath(mux))))))
}

func otherMethod(r route) http.HandlerFunc {
	allow := r.method
	if allow == http.MethodGet {
		allow = "GET, HEAD"
	}
	return func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Allow", allow)
		fail(w, http.StatusMethodNotAllowed, "%s is not answered on %s: use %s", req.Method, r.path, r.method)
	}
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

// checkPath refuses paths that lead up or nowhere, instead of redirecting to what they might mean.
func (g *guard) checkPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		p := req.URL.Path
		if p != "/" {
			p = strings.TrimSuffix(p, "/")
		}
		if !strings.HasPrefix(p, "/") || path.Clean(p) != p || strings.ContainsRune(p, 0) {
			g.refuse(w, refusedPath, newProblem(http.StatusBadRequest,
				"the path has empty, . or .. parts, or a zero byte: write it out"))
			return
		}
		next.ServeHTTP(w, req)
	})
}

func healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", textType)
	w.Write([]byte("ok\n"))
}

const textType = "text/plain; charset=utf-8"

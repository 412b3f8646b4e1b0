package api

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// door is a kind of listener: it says who can reach it.
type door int

const (
	doorSocket   door = iota + 1 // whom the socket's mode lets in
	doorLoopback                 // every process of the host network
	doorBeyond                   // other machines
	doorMetrics                  // other machines; it shows health and metrics only, and knows no tokens
)

func doorOf(a net.Addr) door {
	if tcp, ok := a.(*net.TCPAddr); ok && tcp.IP.IsLoopback() {
		return doorLoopback
	}
	return doorBeyond
}

// access is what a route asks of those who use it. The zero value lets in nobody but those at the socket.
type access struct {
	scope    Scope // of the token it takes, or public
	loopback bool  // on loopback no token is needed
	metrics  bool  // served on the metrics listener as well, where no token is needed
}

// public is the scope of what everybody may see. No token has it.
const public Scope = "public"

// names is the access to the names of what is recorded, behind readyz?verbose.
var names = access{scope: ScopeRead, loopback: true}

// client is who sent a request.
type client struct {
	door  door
	token *token // nil for none
	who   string // for the record: "uid 0, pid 4711", "token ci from 192.0.2.1", "127.0.0.1"
}

func (c client) may(a access) bool {
	switch {
	case c.door == doorSocket, a.scope == public:
		return true
	case c.door == doorMetrics:
		return a.metrics
	case c.door == doorLoopback && a.loopback:
		return true
	}
	return c.token != nil && c.token.has(a.scope)
}

type clientKey struct{}

func clientOf(req *http.Request) client {
	c, _ := req.Context().Value(clientKey{}).(client)
	return c
}

// Bounds of wrong tokens on a listener, so that trying them is answered slowly and logged. They never hold up a right one.
const (
	guessRate  = 5 // a second
	guessBurst = 20
	guessLog   = time.Minute // between log lines
)

// guard stands at one listener.
type guard struct {
	door    door
	listen  string        // the address as configured, "" for the socket
	hosts   []string      // other names of it
	socket  string        // path, where everything is handed out
	tokens  *kept[tokens] // nil if there are none
	stats   *counters
	log     *zap.Logger
	guesses *rate.Limiter

	mu     sync.Mutex // protects what follows
	wrong  uint64     // tokens since the last log line
	logged time.Time
}

// identify finds out who sent a request. A token that is wrong is refused, also where none is needed: whoever sends one
// wants to know.
func (g *guard) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c := client{door: g.door}
		switch g.door {
		case doorSocket:
			c.who = peer(req.Context())
		case doorMetrics:
			c.who = remote(req)
		default:
			c.who = remote(req)
			if given := req.Header.Values("Authorization"); len(given) > 0 {
				t, why := g.recognise(given)
				if why != "" {
					g.refuseToken(w, c.who, why)
					return
				}
				c.token, c.who = t, "token "+t.name+" from "+c.who
			}
		}
		next.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), clientKey{}, c)))
	})
}

// recognise returns the token in the values of Authorization, or why it is none. What it says never tells a wrong token
// from an unknown one.
func (g *guard) recognise(given []string) (t *token, why string) {
	scheme, value, _ := strings.Cut(given[0], " ")
	value = strings.TrimSpace(value)
	if len(given) > 1 || !strings.EqualFold(scheme, "Bearer") || value == "" {
		return nil, "Authorization cannot be read: send it once, as Bearer TOKEN"
	}
	if g.tokens != nil {
		t = g.tokens.value().find(value)
	}
	switch {
	case t == nil:
		return nil, "the token is not known here: ask whoever runs this recorder for one"
	case t.expired(time.Now()):
		return nil, fmt.Sprintf("the token expired at %s: ask whoever runs this recorder for a new one", t.expires.UTC().Format(time.RFC3339))
	}
	return t, ""
}

// refuseToken answers a token that was refused. Beyond guessRate the connection ends, so that trying costs one each.
func (g *guard) refuseToken(w http.ResponseWriter, who, why string) {
	g.note(who)
	if !g.guesses.Allow() {
		w.Header().Set("Connection", "close")
		setRetryAfter(w, time.Second)
		g.refuse(w, refusedGuesses, newProblem(http.StatusTooManyRequests,
			"too many wrong tokens were sent to this address: send a right one, those are answered at any time"))
		return
	}
	challenge(w, "invalid_token")
	g.refuse(w, refusedToken, newProblem(http.StatusUnauthorized, "%s", why))
}

// note logs wrong tokens, at most once in guessLog.
func (g *guard) note(who string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wrong++
	if time.Since(g.logged) < guessLog {
		return
	}
	g.log.Warn("tokens were refused: if this goes on, somebody tries them or has an old one",
		zap.Uint64("times", g.wrong), zap.String("last_client", who), zap.String("address", g.listen))
	g.wrong, g.logged = 0, time.Now()
}

// protect lets in who may use the route.
func (g *guard) protect(r route) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		c := clientOf(req)
		switch {
		case c.may(r.access):
			r.serve(w, req)
		case c.token != nil:
			g.refuse(w, refusedScope, newProblem(http.StatusForbidden, "%s needs a token with the scope %s, which token %s "+
				"does not have: ask for one that has it", r.path, r.access.scope, c.token.name))
		case g.tokens == nil:
			g.refuse(w, refusedNoToken, newProblem(http.StatusForbidden, "%s is not handed out on this address, which other "+
				"processes or machines can reach: use the Unix socket, such as curl --unix-socket %s 'http://localhost%s', "+
				"or set tokens and send one with the scope %s", r.path, g.socket, req.URL.RequestURI(), r.access.scope))
		default:
			challenge(w, "")
			g.refuse(w, refusedNoToken, newProblem(http.StatusUnauthorized, "%s needs a token with the scope %s: send one as "+
				"Authorization: Bearer TOKEN, or use the Unix socket (%s)", r.path, r.access.scope, g.socket))
		}
	}
}

// refuse answers what is not let in, and counts it.
func (g *guard) refuse(w http.ResponseWriter, kind string, p *problem) {
	g.stats.refused(kind)
	p.write(w)
}

// challenge says which kind of credentials is asked for (RFC 6750).
func challenge(w http.ResponseWriter, code string) {
	value := `Bearer realm="ringside"`
	if code != "" {
		value += `, error="` + code + `"`
	}
	w.Header().Set("WWW-Authenticate", value)
}

// setRetryAfter rounds up to whole seconds.
func setRetryAfter(w http.ResponseWriter, d time.Duration) {
	if d > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(d.Seconds()))))
	}
}

// remote is the address of a client on TCP, without its port.
func remote(req *http.Request) string {
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		return "unknown"
	}
	return host
}

package api

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// rights is who may use each route: by whom without a token, and with which scope of a token. A route that is not here
// fails TestAccess.
var rights = map[string]struct {
	anonymous []door
	scope     Scope
}{
	"GET /healthz":                        {[]door{doorSocket, doorLoopback, doorBeyond, doorMetrics}, ""},
	"GET /readyz":                         {[]door{doorSocket, doorLoopback, doorBeyond, doorMetrics}, ""},
	"GET /metrics":                        {[]door{doorSocket, doorLoopback, doorMetrics}, ScopeRead},
	"POST /v1/triggers":                   {[]door{doorSocket, doorLoopback}, ScopeTrigger},
	"POST /v1/alertmanager":               {[]door{doorSocket, doorLoopback}, ScopeTrigger},
	"POST /v1/observations":               {[]door{doorSocket, doorLoopback}, ScopeTrigger},
	"GET /v1/timeline":                    {[]door{doorSocket}, ScopeRead},
	"GET /v1/incidents":                   {[]door{doorSocket}, ScopeRead},
	"GET /v1/incidents/{id}":              {[]door{doorSocket}, ScopeRead},
	"GET /v1/incidents/{id}/files/{name}": {[]door{doorSocket}, ScopePackets},
	"GET /v1/packets":                     {[]door{doorSocket}, ScopePackets},
}

var doors = map[door]string{doorSocket: "socket", doorLoopback: "loopback", doorBeyond: "beyond", doorMetrics: "metrics"}

// credentials are the values of Authorization, the scopes they give, and whether they are in order.
var credentials = map[string]struct {
	header string
	scopes []Scope
	good   bool
}{
	"none":     {"", nil, true},
	"trigger":  {"Bearer " + triggerToken, []Scope{ScopeTrigger}, true},
	"read":     {"Bearer " + readToken, []Scope{ScopeRead}, true},
	"packets":  {"bearer  " + packetsToken, []Scope{ScopePackets}, true},
	"all":      {"Bearer " + allToken, scopes, true},
	"wrong":    {"Bearer " + wrongToken, nil, false},
	"expired":  {"Bearer " + expiredToken, nil, false},
	"longer":   {"Bearer " + allToken + "0", nil, false},
	"shorter":  {"Bearer " + allToken[:len(allToken)-1], nil, false},
	"no value": {"Bearer ", nil, false},
	"basic":    {"Basic " + allToken, nil, false},
	"bare":     {allToken, nil, false},
}

// TestAccess tries every route at every door with every kind of credentials.
func TestAccess(t *testing.T) {
	f := newFake()
	f.store = newStore(t)
	s := f.server(zap.NewNop())
	s.tokens = testTokens(t)
	s.anonymous, s.observers = newLimiter(1000), newLimiter(1000)
	tried := 0
	for _, r := range s.routes() {
		right, ok := rights[r.method+" "+r.path]
		if !ok {
			t.Errorf("%s %s: this test does not say who may use it", r.method, r.path)
		}
		for d, name := range doors {
			for kind, c := range credentials {
				tried++
				want := wantStatus(d, right.anonymous, right.scope, c.scopes, c.header != "", c.good)
				method, target := requestOf(r)
				var header []string
				if c.header != "" {
					header = []string{"Authorization", c.header}
				}
				w := send(s.handler(s.newGuard(d, "127.0.0.1:9409")), method, target, bodyOf(r.path), header...)
				got := w.Code
				if got == http.StatusAccepted {
					got = http.StatusOK
				}
				if got != want {
					t.Errorf("%s %s at %s with %s: %d, want %d: %s", method, target, name, kind, w.Code, want, w.Body)
					continue
				}
				if challenge := w.Header().Get("WWW-Authenticate"); (got == 401) != strings.HasPrefix(challenge, `Bearer realm="ringside"`) {
					t.Errorf("%s %s at %s with %s: %d with WWW-Authenticate %q", method, target, name, kind, got, challenge)
				}
				if got == 403 && !strings.Contains(detail(t, w), string(right.scope)) {
					t.Errorf("%s %s at %s with %s: %q does not name the scope %s", method, target, name, kind, w.Body, right.scope)
				}
			}
		}
	}
	if want := len(rights) * len(doors) * len(credentials); tried != want {
		t.Errorf("%d combinations were tried, want %d", tried, want)
	}
}

func wantStatus(d door, anonymous []door, scope Scope, has []Scope, given, good bool) int {
	switch {
	case d == doorSocket, d == doorMetrics && slices.Contains(anonymous, d):
		return http.StatusOK // whatever is sent as credentials
	case d == doorMetrics:
		return http.StatusNotFound
	case !good:
		return http.StatusUnauthorized
	case slices.Contains(anonymous, d), slices.Contains(has, scope):
		return http.StatusOK
	case given:
		return http.StatusForbidden
	}
	return http.StatusUnauthorized
}

// TestEveryRouteHasAccess: a route of which nobody said who may use it is one for the socket alone.
func TestEveryRouteHasAccess(t *testing.T) {
	for _, r := range newFake().server(zap.NewNop()).routes() {
		if r.access.scope != public && !slices.Contains(scopes, r.access.scope) {
			t.Errorf("%s has the scope %q", r.path, r.access.scope)
		}
	}
	for d := range doors {
		for _, token := range []*token{nil, {scopes: scopes}} {
			if c := (client{door: d, token: token}); c.may(access{}) != (d == doorSocket) {
				t.Errorf("the zero access lets in %+v", c)
			}
		}
	}
}

// TestNoTokens says where else to go when no tokens are configured.
func TestNoTokens(t *testing.T) {
	h := newFake().handler(doorBeyond)
	for _, target := range []string{"/metrics", "/v1/packets?from=-5m", "/v1/incidents"} {
		w := get(h, target)
		if d, cure := detail(t, w), "curl --unix-socket /run/r.sock 'http://localhost"+target+"'"; w.Code != 403 || !strings.Contains(d, cure) || !strings.Contains(d, "set tokens") {
			t.Errorf("%s: %d %q does not name the cures", target, w.Code, d)
		}
	}
	if w := get(h, "/healthz", bearer(allToken)...); w.Code != 401 {
		t.Errorf("a token that nobody knows: %d", w.Code)
	}
}

// TestTwoAuthorizations refuses to choose.
func TestTwoAuthorizations(t *testing.T) {
	s := newFake().server(zap.NewNop())
	s.tokens = testTokens(t)
	req := httptest.NewRequest(http.MethodGet, "/v1/packets", nil)
	req.Host = "localhost"
	req.Header["Authorization"] = []string{"Bearer " + allToken, "Bearer " + wrongToken}
	w := httptest.NewRecorder()
	if s.handler(s.newGuard(doorLoopback, "127.0.0.1:9409")).ServeHTTP(w, req); w.Code != 401 {
		t.Errorf("two values of Authorization: %d", w.Code)
	}
}

// TestNames shows the names of what is recorded to those who may read, and lets probes of others pass.
func TestNames(t *testing.T) {
	s := newFake().server(zap.NewNop())
	s.tokens = testTokens(t)
	for _, c := range []struct {
		door  door
		token string
		names bool
	}{
		{doorSocket, "", true}, {doorLoopback, "", true}, {doorBeyond, "", false}, {doorMetrics, "", false},
		{doorBeyond, packetsToken, false}, {doorBeyond, readToken, true}, {doorMetrics, readToken, false},
	} {
		for _, target := range []string{"/readyz?verbose", "/readyz?format=json"} {
			var header []string
			if c.token != "" {
				header = bearer(c.token)
			}
			w := get(s.handler(s.newGuard(c.door, "127.0.0.1:9409")), target, header...)
			if w.Code != 200 || strings.Contains(w.Body.String(), "eth0") != c.names {
				t.Errorf("%s with %q: %d %s, names wanted: %v", doors[c.door], c.token, w.Code, w.Body, c.names)
			}
		}
	}
}

func TestDoorOf(t *testing.T) {
	for ip, want := range map[string]door{"127.0.0.1": doorLoopback, "127.9.9.9": doorLoopback, "::1": doorLoopback, "192.0.2.1": doorBeyond, "0.0.0.0": doorBeyond, "::": doorBeyond, "::ffff:127.0.0.1": doorLoopback} {
		if got := doorOf(&net.TCPAddr{IP: net.ParseIP(ip)}); got != want {
			t.Errorf("%s is %s, want %s", ip, doors[got], doors[want])
		}
	}
}

// TestGuessing: wrong tokens are answered slower and slower, and never hold up a right one.
func TestGuessing(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	s := newFake().server(zap.New(core))
	s.tokens = testTokens(t)
	g := s.newGuard(doorBeyond, "192.0.2.1:9409")
	g.hosts = []string{"localhost"}
	g.guesses.SetLimit(0) // as long as the test takes
	h := s.handler(g)
	codes := map[int]int{}
	for i := range 100 {
		w := get(h, "/v1/packets", bearer(fmt.Sprintf("%s%d", wrongToken, i))...)
		codes[w.Code]++
		if w.Code == 429 && (w.Header().Get("Connection") != "close" || w.Header().Get("Retry-After") == "") {
			t.Errorf("guess %d: headers %v", i, w.Header())
		}
		if w := get(h, "/v1/packets", bearer(allToken)...); w.Code != 200 {
			t.Fatalf("after %d wrong tokens a right one gets %d", i+1, w.Code)
		}
	}
	if codes[401] != guessBurst || codes[429] != 100-guessBurst {
		t.Errorf("answers %v, want %d times 401 and then 429", codes, guessBurst)
	}
	if n := logs.FilterMessageSnippet("tokens were refused").Len(); n != 1 {
		t.Errorf("%d log lines within a minute, want 1", n)
	}
	want := []RefusedStats{{"guesses", 80}, {"token", 20}}
	if got := s.Stats().Refused; !slices.Equal(got, want) {
		t.Errorf("Stats().Refused = %v, want %v", got, want)
	}
}

// TestSameAnswer: neither text nor headers tell a token that is close from one that is not.
func TestSameAnswer(t *testing.T) {
	s := newFake().server(zap.NewNop())
	s.tokens = testTokens(t)
	h := s.handler(s.newGuard(doorLoopback, "127.0.0.1:9409"))
	first := get(h, "/metrics", bearer(wrongToken)...)
	for _, value := range []string{allToken[:len(allToken)-1], allToken + "x", "x", strings.Repeat("x", 8000)} {
		if w := get(h, "/metrics", bearer(value)...); w.Body.String() != first.Body.String() || fmt.Sprint(w.Header()) != fmt.Sprint(first.Header()) {
			t.Errorf("%.40s: %s, want %s", value, w.Body, first.Body)
		}
	}
	if d := detail(t, get(h, "/metrics", bearer(expiredToken)...)); !strings.Contains(d, "expired at 2026-01-01T00:00:00Z") {
		t.Errorf("expired: %q", d)
	}
}

// TestOrigin refuses what a page makes a browser send.
func TestOrigin(t *testing.T) {
	h := newFake().handler(doorLoopback)
	for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Origin", "null"}} {
		if w := send(h, http.MethodPost, "/v1/triggers", "{}", header...); w.Code != 403 || !strings.Contains(detail(t, w), "another site") {
			t.Errorf("%v: %d %s", header, w.Code, w.Body)
		}
	}
	if w := send(h, http.MethodPost, "/v1/triggers", "{}", "Content-Type", "application/x-www-form-urlencoded"); w.Code != 202 {
		t.Errorf("as curl -d sends it: %d %s", w.Code, w.Body)
	}
}

// TestTraversal tries to get out by every parameter of every path.
func TestTraversal(t *testing.T) {
	f := newFake()
	f.store = newStore(t)
	h := f.handler(doorSocket)
	long := strings.Repeat("a", 5000)
	for _, bad := range []string{
		"..", ".", "%2e%2e", "%2E%2E%2F", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "a%2f..%2fb", "%00", incidentID + "%00", "..%5c..", "%5c", "*", "%25%32%65", "...",
		incidentID + "%0a", incidentID + "%20", "-", "~", long, incidentID + "%2f..%2f" + oldID, "%ff%fe", "%e2%80%ae", ".manifest.json", "manifest.json%2f",
	} {
		for _, target := range []string{
			"/v1/incidents/" + bad, "/v1/incidents/" + bad + "/files/manifest.json?node=n1", "/v1/incidents/" + incidentID + "/files/" + bad + "?node=n1",
			"/v1/incidents/" + incidentID + "/files/manifest.json?node=" + bad, "/v1/incidents/" + incidentID + "/files/manifest.json?node=n1&cluster=" + bad,
		} {
			w := get(h, target)
			if d := detail(t, w); w.Code != 400 && w.Code != 404 || strings.Contains(d, long) {
				t.Errorf("%.120s: %d %.200s", target, w.Code, d)
			}
		}
	}
	for _, target := range []string{"/../healthz", "//healthz", "/v1//packets", "/./healthz", "/v1/../healthz", "/%2e%2e/healthz", "/healthz%00"} {
		if w := get(h, target); w.Code != 400 {
			t.Errorf("%s: %d, want 400", target, w.Code)
		}
	}
	if w := get(h, "/healthz/"); w.Code != 404 {
		t.Errorf("/healthz/: %d, want 404", w.Code)
	}
}

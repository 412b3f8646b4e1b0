package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestTokensStayHidden sends tokens in every way there is, right and wrong, and looks for them in logs, answers, the
// account and the report.
func TestTokensStayHidden(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("- {name: all, token: " + allToken + ", scopes: [trigger, read, packets]}\n- {name: old, token: " + expiredToken + ", scopes: [read], expires: 2026-01-01T00:00:00Z}\n")
	f := newFake()
	f.store = newStore(t)
	srv, address := start(t, Config{Tokens: path}, f.sources(), zap.New(core))
	var said strings.Builder
	ask := func(format string, args ...any) {
		t.Helper()
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, format, args...)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return // closed without an answer
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		fmt.Fprintln(&said, res.Status, res.Header, string(body))
	}
	values := []string{allToken, expiredToken, wrongToken}
	for _, token := range values {
		for _, r := range srv.routes() {
			method, target := requestOf(r)
			for _, scheme := range []string{"Bearer ", "Basic ", ""} {
				ask("%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s%s\r\nConnection: close\r\n\r\n", method, target, scheme, token)
			}
		}
		ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nAuthorization: Bearer %s\r\n\r\n", token, token)
		ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization %s\r\n\r\n", token)
		ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\x00\r\n\r\n", token)
		ask("GET /v1/incidents?token=%s HTTP/1.1\r\nHost: localhost\r\n\r\n", token)
		ask("POST /v1/triggers HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: x\r\n\r\n", token)
	}
	write("- {name: all, token: " + wrongToken + ", " + allToken + ": x, scopes: [" + expiredToken + "]}\n")
	srv.tokens.reload()
	ask("GET /readyz?verbose HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	if !strings.Contains(said.String(), "tokens: the new file is not in force") {
		t.Errorf("the report lacks the fault: %s", said.String())
	}
	var logged strings.Builder
	for _, e := range logs.All() {
		fmt.Fprintln(&logged, e.Level, e.LoggerName, e.Message, e.ContextMap())
	}
	if !strings.Contains(logged.String(), "audit packets were handed out") || !strings.Contains(logged.String(), "tokens were refused") {
		t.Fatalf("the log lacks what it should have: %s", logged.String())
	}
	for name, text := range map[string]string{"log": logged.String(), "answers": said.String(), "account": fmt.Sprintf("%+v", srv.Stats()), "config": fmt.Sprintf("%+v %#v", srv.cfg, srv.cfg)} {
		for _, token := range values {
			if strings.Contains(text, token) || strings.Contains(text, token[4:]) {
				t.Errorf("the %s has %s in it", name, token)
			}
		}
	}
}

// TestMetricsListener serves health and metrics to everybody, and nothing else.
func TestMetricsListener(t *testing.T) {
	f := newFake()
	srv, _ := start(t, Config{MetricsListen: "127.0.0.1:0"}, f.sources(), zap.NewNop())
	address := srv.Addresses()[2].String()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/healthz": {200, "ok\n"}, "/readyz": {200, "ready\n"}, "/readyz?verbose": {200, "ready\n"}, "/metrics": {200, "ringside_x_total 1\n"},
		"/v1/packets": {404, ""}, "/v1/incidents": {404, ""}, "/v1/triggers": {404, ""},
	} {
		res, err := client.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != want.status || want.body != "" && string(body) != want.body {
			t.Errorf("%s: %d %q", path, res.StatusCode, body)
		}
	}
	taken := Config{Socket: filepath.Join(t.TempDir(), "r.sock"), MetricsListen: address}
	if _, err := Listen(taken, f.sources(), zap.NewNop()); err == nil || !strings.Contains(err.Error(), "set metrics_listen to a free address") {
		t.Errorf("a taken port gives %v", err)
	}
}

// TestInTheClear warns of tokens that would cross a network unencrypted.
func TestInTheClear(t *testing.T) {
	dir := t.TempDir()
	tokens, cert, key := filepath.Join(dir, "tokens"), filepath.Join(dir, "crt"), filepath.Join(dir, "key")
	c, k := newCertificate(t, 1)
	for path, text := range map[string]string{tokens: "[]", cert: c, key: k} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		cfg  Config
		want int
	}{
		{Config{Listen: "0.0.0.0:0", Tokens: tokens}, 1},
		{Config{Listen: "0.0.0.0:0", Tokens: tokens, TLS: TLS{cert, key}}, 0},
		{Config{Listen: "0.0.0.0:0"}, 0},
		{Config{Listen: "127.0.0.1:0", Tokens: tokens}, 0},
	} {
		core, logs := observer.New(zapcore.WarnLevel)
		c.cfg.Socket = filepath.Join(dir, "r.sock")
		s, err := Listen(c.cfg, newFake().sources(), zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		s.Close() // before anybody is answered
		if n := logs.FilterMessageSnippet("in the clear").Len(); n != c.want {
			t.Errorf("%+v: %d warnings, want %d", c.cfg, n, c.want)
		}
	}
}

// TestStats accounts for every answer once.
func TestStats(t *testing.T) {
	f := newFake()
	s := f.server(zap.NewNop())
	h := s.handler(s.newGuard(doorLoopback, "127.0.0.1:9409"))
	for _, path := range []string{"/healthz", "/healthz", "/metrics", "/v1/packets", "/nowhere", "/v1/incidents/x"} {
		get(h, path)
	}
	get(s.handler(s.newGuard(doorSocket, "")), "/v1/packets")
	want := "[{/healthz 2xx 2} {/metrics 2xx 1} {/v1/incidents/{id} 4xx 1} {/v1/packets 2xx 1} {/v1/packets 4xx 1} {other 4xx 1}] [{no-token 2}] 7"
	st := s.Stats()
	if got := fmt.Sprint(st.Requests, st.Refused, st.HandedOut); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/upload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var day = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

// fake is a recorder and its window.
type fake struct {
	report   Report
	coverage rotate.Coverage
	openErr  error
	write    func(io.Writer) (int64, error) // the window's WriteTo
	from, to time.Time                      // as last asked
	closed   chan struct{}                  // gets one entry for each window closed
	engine   engine
	store    upload.Store // nil for none

	mu       sync.Mutex
	observed []hoststate.Event
	timeline func(context.Context, hoststate.Query, func(hoststate.Event) error) error
}

func newFake() *fake {
	f := &fake{closed: make(chan struct{}, 100)}
	f.timeline = func(_ context.Context, q hoststate.Query, each func(hoststate.Event) error) error {
		for _, e := range events {
			if q.Match(&e) {
				if err := each(e); err != nil {
					return err
				}
			}
		}
		return nil
	}
	f.report = Report{
		Ready:      true,
		Interfaces: []Interface{{Name: "eth0", Index: 2, State: "recording", Ring: "eth0", Received: 12}, {Name: "veth*", State: "waiting", Why: "no such interface"}},
		Rings:      []Ring{{Name: "eth0", Bytes: 32 << 20, Received: 12, Dropped: 3, CoveredTo: day}, {Name: "shared", Bytes: 32 << 20, Coarse: "cidrs of orders"}},
		Spool:      Spool{Dir: "/spool", Segments: 7, Bytes: 5 << 20, Oldest: day.Add(-time.Hour), Newest: day, Mode: "direct"},
	}
	f.coverage = rotate.Coverage{
		From: day, To: day.Add(time.Minute), Packets: 2, Segments: 1, Interfaces: []string{"eth0"},
		Rings: []rotate.RingCoverage{{Ring: "eth0", Covered: []rotate.Span{{From: day, To: day.Add(time.Minute)}}}},
	}
	f.write = func(w io.Writer) (int64, error) {
		n, err := io.WriteString(w, "packets")
		return int64(n), err
	}
	return f
}

func (f *fake) Coverage() rotate.Coverage          { return f.coverage }
func (f *fake) WriteTo(w io.Writer) (int64, error) { return f.write(w) }
func (f *fake) Close() error                       { f.closed <- struct{}{}; return nil }

func (f *fake) sources() Sources {
	return Sources{
		Report:  func() Report { return f.report },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ringside_x_total 1\n") }),
		Window: func(_ context.Context, from, to time.Time) (Window, error) {
			f.from, f.to = from, to
			if f.openErr != nil {
				return nil, f.openErr
			}
			return f, nil
		},
		Trigger:    f.engine.accept,
		Suppress:   f.engine.suppress,
		Incidents:  localIncidents,
		Suppressed: suppressed,
		Observe: func(events ...hoststate.Event) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.observed = append(f.observed, events...)
		},
		Timeline: f.timeline,
		Follow:   f.timeline,
		Store:    func() upload.Store { return f.store },
	}
}

func (f *fake) server(log *zap.Logger) *Server {
	return newServer(Config{Socket: "/run/r.sock", Node: "n1"}, f.sources(), log)
}

// handler is what a listener of that kind serves.
func (f *fake) handler(d door) http.Handler {
	s := f.server(zap.NewNop())
	return s.handler(s.newGuard(d, "127.0.0.1:9409"))
}

func get(h http.Handler, target string, header ...string) *httptest.ResponseRecorder {
	return send(h, http.MethodGet, target, "", header...)
}

func send(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	req.Host = "localhost"
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

// detail returns the detail of a problem, and fails if the answer is none.
func detail(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var p problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%q of type %q is no problem: %v", w.Body, w.Header().Get("Content-Type"), err)
	}
	if p.Status != w.Code || p.Title != http.StatusText(w.Code) || p.Type != "about:blank" || p.Detail == "" {
		t.Fatalf("problem %+v with status %d", p, w.Code)
	}
	return p.Detail
}

// TestHost refuses names that are not this server's: DNS rebinding.
func TestHost(t *testing.T) {
	for _, c := range []struct {
		listen, host string
		want         int
	}{
		{"127.0.0.1:9409", "127.0.0.1:9409", 200},
		{"127.0.0.1:9409", "127.0.0.1", 200},
		{"127.0.0.1:9409", "localhost:9409", 200},
		{"127.0.0.1:9409", "LOCALHOST", 200},
		{"127.0.0.1:9409", "[::1]:9409", 200},
		{"127.0.0.1:9409", "[::1]", 200},
		{"127.0.0.1:9409", "evil.example:9409", 403},
		{"127.0.0.1:9409", "localhost.evil.example", 403},
		{"127.0.0.1:9409", "192.0.2.1:9409", 403},
		{"127.0.0.1:9409", "", 403},
		{"node1:9409", "node1:9409", 200},
		{"node1:9409", "node2:9409", 403},
		{"node1:9409", "192.0.2.1", 403},
		{"192.0.2.1:9409", "192.0.2.1:9409", 200},
		{"0.0.0.0:9409", "192.0.2.1:9409", 200},
		{"[::]:9409", "[2001:db8::1]:9409", 200},
		{"0.0.0.0:9409", "evil.example", 403},
		{":9409", "192.0.2.1", 200},
		{":9409", "evil.example", 403},
		{":9409", "", 403},
		{"127.0.0.1:9409", "Ringside.Example:9409", 200},
		{"127.0.0.1:9409", "[2001:db8::7]:9409", 200},
		{"127.0.0.1:9409", "[2001:db8::8]:9409", 403},
		{"127.0.0.1:9409", "ringside.example.evil.example", 403},
	} {
		srv := newFake().server(zap.NewNop())
		srv.cfg.Hosts = []string{"ringside.example", "2001:db8::7"}
		h := srv.handler(srv.newGuard(doorBeyond, c.listen))
		req := httptest.NewRequest(http.MethodGet, "/healthz", nil)
		req.Host = c.host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != c.want {
			t.Errorf("listen %s, host %q: %d, want %d", c.listen, c.host, w.Code, c.want)
		}
	}
}

func TestProblems(t *testing.T) {
	f := newFake()
	h := f.handler(doorSocket)
	want := "there is no /v1/windows here: the paths are /healthz, /readyz, /metrics, /v1/triggers, /v1/alertmanager, /v1/observations, /v1/timeline, /v1/incidents, /v1/incidents/{id}, /v1/incidents/{id}/files/{name}, /v1/packets"
	if d := detail(t, get(h, "/v1/windows")); d != want {
		t.Errorf("unknown path: %q", d)
	}
	for _, r := range f.server(zap.NewNop()).routes() {
		method, allow := http.MethodPost, "GET, HEAD"
		if r.method == method {
			method, allow = http.MethodDelete, "POST"
		}
		path := pathOf(r)
		w := send(h, method, path, "")
		if d := detail(t, w); w.Code != 405 || w.Header().Get("Allow") != allow || d != method+" is not answered on "+r.path+": use "+r.method {
			t.Errorf("%s %s: %d, Allow %q, %q", method, path, w.Code, w.Header().Get("Allow"), d)
		}
	}
}

func TestReady(t *testing.T) {
	f := newFake()
	h := f.handler(doorSocket)
	if w := get(h, "/readyz"); w.Code != 200 || w.Body.String() != "ready\n" {
		t.Errorf("ready: %d %q", w.Code, w.Body)
	}
	const verbose = `ready

INTERFACE  STATE      RING  PACKETS  WHY
eth0       recording  eth0  12       -
veth*      waiting    -     0        no such interface

RING    MEMORY     PACKETS  DROPPED  COVERED TO            FILTER
eth0    32768 KiB  12       3        2026-11-22T03:00:00Z  exact
shared  32768 KiB  0        0        -                     coarse: cidrs of orders

SPOOL   SEGMENTS  SIZE   OLDEST                NEWEST                UNWRITTEN  MODE
/spool  7         5 MiB  2026-11-22T02:00:00Z  2026-11-22T03:00:00Z  0          direct
`
	if w := get(h, "/readyz?verbose"); w.Body.String() != verbose {
		t.Errorf("got\n%s\nwant\n%s", w.Body, verbose)
	}
	f.report.Ready, f.report.Spool.Error = false, "no space left on device"
	w := get(h, "/readyz?verbose=1")
	if w.Code != 503 || !strings.HasPrefix(w.Body.String(), "not ready: no interface is recorded") || !strings.Contains(w.Body.String(), "nothing can be written: no space left on device") {
		t.Errorf("not ready: %d %q", w.Code, w.Body)
	}
	for _, w := range []*httptest.ResponseRecorder{get(h, "/readyz?format=json"), get(h, "/readyz", "Accept", "application/json")} {
		var got Report
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 503 || fmt.Sprint(got) != fmt.Sprint(f.report) {
			t.Errorf("JSON: %d %+v, %v, want %+v", w.Code, got, err, f.report)
		}
	}
}

func TestParseTime(t *testing.T) {
	for text, want := range map[string]time.Time{
		"now": day, "-5m": day.Add(-5 * time.Minute), "-1h30m": day.Add(-90 * time.Minute), "-0s": day,
		"2026-11-22T03:00:00Z": day, "2026-11-22T04:00:00+01:00": day, "2026-11-22T03:00:00.000000001Z": day.Add(1),
	} {
		if got, err := ParseTime(text, day); err != nil || !got.Equal(want) {
			t.Errorf("ParseTime(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "RFC 3339", "5m": "RFC 3339", "yesterday": "RFC 3339", "2026-11-22": "RFC 3339", "2026-11-22 03:00:00Z": "RFC 3339",
		"-5": "write a number and a unit", "-5d": "write a number and a unit", "-": "write a number and a unit",
		"0001-01-01T00:00:00Z": "out of range", "2300-01-01T00:00:00Z": "out of range", "-2540400h": "out of range",
	} {
		if got, err := ParseTime(text, day); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"`+text+`"`) {
			t.Errorf("ParseTime(%q) = %v, %v, want an error with %q", text, got, err, want)
		}
	}
}

func TestListen(t *testing.T) {
	f := newFake()
	cfg := Config{Listen: "127.0.0.1:0", Socket: filepath.Join(t.TempDir(), "a", "b", "r.sock"), Drain: time.Second}
	s, err := Listen(cfg, f.sources(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	addresses := s.Addresses()
	if len(addresses) != 2 {
		t.Fatalf("%v, want the socket and a TCP address", addresses)
	}
	taken := Config{Listen: addresses[1].String(), Socket: filepath.Join(t.TempDir(), "r.sock")}
	if _, err := Listen(taken, f.sources(), zap.NewNop()); err == nil || !strings.Contains(err.Error(), "set listen to a free address") {
		t.Errorf("a taken port gives %v", err)
	}
	if _, err := net.Dial("unix", taken.Socket); err == nil {
		t.Error("the socket is still open after the port was refused")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + addresses[1].String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("healthz over TCP: %d, %v", res.StatusCode, res.Header)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if _, err := client.Get("http://" + addresses[1].String() + "/healthz"); err == nil {
		t.Error("the server answers after Run has returned")
	}
}

// TestListenerFails ends Run with the listener's error.
func TestListenerFails(t *testing.T) {
	s, err := Listen(Config{Socket: filepath.Join(t.TempDir(), "r.sock"), Drain: time.Second}, newFake().sources(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run = %v, want the listener's error", err)
	}
}

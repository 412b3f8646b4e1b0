package proofs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/readback"
	"github.com/ringside/ringside/test/ringside"
	"github.com/ringside/ringside/trigger"
)

// hostile is what somebody sends who means no good, or cannot do better.
type hostile struct {
	name    string
	raw     string
	status  int  // of the answer; 0: the connection is closed without one
	counted bool // as a refused trigger
}

// post is a request with a body that is refused with 400.
func post(name, body string) hostile {
	return hostile{name, fmt.Sprintf("POST /v1/triggers HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body), 400, true}
}

func hostiles() []hostile {
	long := strings.Repeat("x", 1<<20)
	const head = "POST /v1/triggers HTTP/1.1\r\nHost: localhost\r\n"
	return []hostile{
		post("null", "null"), post("list", "[]"), post("path", "../../etc"), post("text", "slow"), post("torn", `{"reason": "slow`),
		post("two", "{} {}"), post("NaN", `{"pre": NaN}`), post("NaN in quotes", `{"pre": "NaN"}`), post("negative", `{"pre": "-1m"}`),
		post("a year", `{"post": "8760h"}`), post("far future", `{"at": "2999-01-01T00:00:00Z"}`), post("far past", `{"at": "1066-10-14T09:00:00Z"}`),
		post("before the spool", `{"at": "1999-12-31T23:59:59Z"}`), post("line breaks", `{"labels": {"a": "b\r\nSet-Cookie: c"}}`),
		post("escape", `{"reason": "\u001b[2J"}`), post("unknown field", `{"spool": "/etc/passwd"}`), post("twice", `{"at": "now", "at": "-1m"}`),
		post("no UTF-8", "{\"reason\": \"\xff\xfe\"}"), post("deep", strings.Repeat("[", 60_000)), post("id", `{"id": "../../../etc/cron.d/x"}`),
		post("numbers", `{"reason": 1e999999}`),
		{"1 MB in a label", head + "Content-Length: 1048590\r\n\r\n{\"labels\": {\"a\": \"" + long[:30_000], 413, true},
		{"20 MB", head + "Content-Length: 20971520\r\n\r\n" + long[:30_000], 413, true},
		{"20 MB in chunks", head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+long[:0x10000]+"\r\n", 2), 413, true},
		{"a form", head + "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\na=b", 400, true},
		{"packed", head + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 415, true},
		{"a page of another site", head + "Origin: http://elsewhere.example\r\nContent-Length: 2\r\n\r\n{}", 403, false},
		{"slow body", head + "Content-Length: 100\r\n\r\n{", 408, true},
		{"slow headers", head + "X-Slow: ", 0, false},
		{"nothing", "", 0, false},
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, false},
		{"large headers", head + "X-Large: " + long[:64<<10] + "\r\n\r\n", 431, false},
		{"another method", "DELETE /v1/triggers HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, false},
		{"traversal", "POST /v1/incidents/../../etc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 400, false},
	}
}

// TestHostileTriggers sends everything that is hostile to both doors at once, and connections that never say anything to
// TCP. Each gets its answer or is closed, what was a trigger is counted, and meanwhile triggers of others are accepted and
// every packet is recorded.
func TestHostileTriggers(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	t.Parallel()
	s, dir := newSite(t, "v0"), ringside.Dir(t)
	p := loadgen.Plan{ID: 1, Port: headersPort, Sizes: mixedSizes}
	f := traffic{s.inbound(t, "v0", p), readback.Source{Plan: p, Interfaces: []string{"v0"}}}
	r := ringside.Launch(t, ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Dir: dir, Services: services, Interfaces: "[v0]",
		More: "trigger: {rate: 1000, http_rate: 1000}\nupload: {to: \"file://" + dir + "/store\"}",
	})
	stop := steady(t, f.Sender, 2000)
	var wg sync.WaitGroup
	want := map[string]int{}
	for _, door := range []string{trigger.SourceSocket, trigger.SourceHTTP} {
		for _, h := range hostiles() {
			conn := dial(t, r, door)
			wg.Go(func() { h.send(t, door, conn) })
			if h.counted {
				want[door]++
			}
		}
	}
	for range 80 { // more than the port takes
		conn := dial(t, r, trigger.SourceHTTP)
		wg.Go(func() {
			if n, err := silence(conn); n > 0 || err != nil {
				t.Errorf("a connection that says nothing got %d bytes, %v", n, err)
			}
		})
	}
	if status, answer, err := r.Post("/v1/triggers", `{"reason": "honest"}`); status != http.StatusAccepted || err != nil {
		t.Errorf("meanwhile: %d, %s, %v", status, answer, err)
	}
	wg.Wait()
	honest := post("", `{"reason": "honest"}`)
	honest.name, honest.status = "honest", http.StatusAccepted
	honest.send(t, trigger.SourceHTTP, dial(t, r, trigger.SourceHTTP))
	stop()
	settled(t, r, f.Count())
	m := metrics(t, r)
	for door, n := range want {
		if got := int(m[fmt.Sprintf("%s{kind=%q,source=%q}", refusedMetric, trigger.RefusedInvalid, door)]); got != n {
			t.Errorf("%s: %d refused triggers were counted, want %d", door, got, n)
		}
	}
	if total := sum(t, m, acceptedMetric); total != 2 {
		t.Errorf("%d triggers were accepted, want the 2 honest ones", total)
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	exact(t, ledgerOf(t, r, f.source), f.Sender)
}

// send sends all of it and reads the answer.
func (h hostile) send(t *testing.T, door string, conn net.Conn) {
	go io.WriteString(conn, h.raw) // an error means that the recorder has had enough
	if h.status == 0 {
		if n, err := silence(conn); n > 0 || err != nil {
			t.Errorf("%s, %s: %d bytes, %v", door, h.name, n, err)
		}
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Errorf("%s, %s: no answer: %v", door, h.name, err)
		return
	}
	body, err := io.ReadAll(res.Body)
	isProblem := res.Header.Get("Content-Type") == "application/problem+json" && strings.Contains(string(body), `"detail"`)
	byHTTP := h.status == 431 || h.name == "no HTTP" // net/http answers what never becomes a request, and hangs up
	if res.StatusCode != h.status || !byHTTP && (err != nil || res.StatusCode >= 400 && !isProblem) {
		t.Errorf("%s, %s: %s %s, %v, want %d", door, h.name, res.Status, body, err, h.status)
	}
}

// silence reads until the recorder closes the connection.
func silence(conn net.Conn) (n int64, err error) {
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	n, err = io.Copy(io.Discard, conn)
	if errors.Is(err, syscall.ECONNRESET) { // closed before all was read
		err = nil
	}
	return n, err
}

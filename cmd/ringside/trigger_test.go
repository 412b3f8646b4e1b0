package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/trigger"
)

const testIncident = "20261122T031000.000000Z-0123abcd"

// fakeDaemon answers on a Unix socket, and tells what it was asked.
type fakeDaemon struct {
	socket   string
	requests []string // method, path and query, token and body
	answers  map[string]func(n int) (status int, body any)
}

func newFakeDaemon(t *testing.T) *fakeDaemon {
	dir, err := os.MkdirTemp("", "rs") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	d := &fakeDaemon{socket: filepath.Join(dir, "sock"), answers: map[string]func(int) (int, any){}}
	l, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(d.serve))
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(func() {
		server.Close()
		os.RemoveAll(dir)
	})
	return d
}

// serve is called by one request at a time, as the commands do.
func (d *fakeDaemon) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	what := r.Method + " " + r.URL.String()
	n := 1
	for _, earlier := range d.requests {
		if strings.HasPrefix(earlier, what) {
			n++
		}
	}
	d.requests = append(d.requests, strings.TrimSpace(what+" "+r.Header.Get("Authorization")+" "+string(body)))
	answer := d.answers[what]
	if answer == nil {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	status, value := answer(n)
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "7")
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(value)
}

const postTrigger = "POST /v1/triggers"

var getIncident = "GET /v1/incidents/" + testIncident + "?local"

func (d *fakeDaemon) always(what string, status int, body any) {
	d.answers[what] = func(int) (int, any) { return status, body }
}

// trigger runs the command against the daemon.
func (d *fakeDaemon) trigger(args ...string) (out, errOut string, err error) {
	return runTrigger(append([]string{"--server", "unix://" + d.socket}, args...)...)
}

func runTrigger(args ...string) (string, string, error) {
	var out, errOut bytes.Buffer
	cmd := newTriggerCmd()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	err := cmd.ExecuteContext(context.Background())
	return out.String(), errOut.String(), err
}

// testReceipt is for a window that has ended.
var testReceipt = trigger.Receipt{
	ID: testIncident, Incident: testIncident,
	From: time.Date(2026, 11, 22, 3, 8, 0, 0, time.UTC), To: time.Date(2026, 11, 22, 3, 11, 0, 0, time.UTC),
}

func TestTriggerAsks(t *testing.T) {
	d := newFakeDaemon(t)
	d.always(postTrigger, 202, testReceipt)
	for _, test := range []struct {
		args []string
		body string
	}{
		{nil, `{}`},
		{[]string{"--reason", "orders <hang>", "--at", "-5m", "--pre", "1m", "--post", "1d", "--label", "a=b=c", "--label", "ticket="},
			`{"reason":"orders \u003chang\u003e","at":"-5m","pre":"1m","post":"1d","labels":{"a":"b=c","ticket":""}}`},
	} {
		d.requests = nil
		out, errOut, err := d.trigger(test.args...)
		if err != nil || out != testIncident+"\n" {
			t.Fatalf("%v: %q, %v", test.args, out, err)
		}
		if got := strings.Join(d.requests, "\n"); got != postTrigger+"  "+test.body {
			t.Errorf("%v: asked %s, want %s", test.args, got, test.body)
		}
		if errOut != "kept: 2026-11-22 03:08:00 to 2026-11-22 03:11:00 UTC\n" {
			t.Errorf("%s", errOut)
		}
	}
	out, errOut, err := d.trigger("--json")
	var r trigger.Receipt
	if json.Unmarshal([]byte(out), &r) != nil || r != testReceipt || errOut != "" || err != nil {
		t.Errorf("%s, %s, %v", out, errOut, err)
	}
}

func TestTriggerDescribes(t *testing.T) {
	r := testReceipt
	r.Merged, r.Incident = true, "20261122T030900.000000Z-00000000"
	var b strings.Builder
	describeReceipt(&b, r, r.To.Add(-61*time.Second))
	want := "joined incident 20261122T030900.000000Z-00000000, whose window it shares\n" +
		"kept: 2026-11-22 03:08:00 to 2026-11-22 03:11:00 UTC, the window ends in 1m1s\n"
	if b.String() != want {
		t.Errorf("got %s", b.String())
	}
}

// incidentIs is what the daemon says of the incident.
func incidentIs(state trigger.State, change func(*trigger.Incident)) api.Incident {
	local := trigger.Incident{ID: testIncident, State: state, From: testReceipt.From, To: testReceipt.To}
	if change != nil {
		change(&local)
	}
	return api.Incident{ID: testIncident, State: state, From: local.From, To: local.To, Local: &local}
}

func TestTriggerWaits(t *testing.T) {
	d := newFakeDaemon(t)
	d.always(postTrigger, 202, testReceipt)
	storedAs := trigger.Stored{Manifest: "cluster=c/manifest.json", Bytes: 3 << 20}
	d.answers[getIncident] = func(n int) (int, any) {
		switch n {
		case 1:
			return 200, incidentIs(trigger.StateReady, nil)
		case 2, 3:
			return 200, incidentIs(trigger.StateReady, func(i *trigger.Incident) {
				i.Attempts, i.Error, i.Retry = 2, "access denied\x1b: check the policy", testReceipt.To
			})
		case 4:
			return 503, map[string]any{"status": 503, "detail": "starting"}
		}
		return 200, incidentIs(trigger.StateStored, func(i *trigger.Incident) { i.Stored = &storedAs })
	}
	out, errOut, err := d.trigger("--wait")
	want := "kept: 2026-11-22 03:08:00 to 2026-11-22 03:11:00 UTC\nstoring it\n" +
		"not stored yet, 2 attempts, the next at 2026-11-22T03:11:00.000Z: access denied\\x1b: check the policy\n" +
		"starting; still waiting\n" +
		"stored: cluster=c/manifest.json, 3.0 MiB\nringside incidents get " + testIncident + " gets it\n"
	if err != nil || out != testIncident+"\n" || errOut != want {
		t.Errorf("%v\n%s\n%s\nwant\n%s", err, out, errOut, want)
	}
	if len(d.requests) != 6 {
		t.Errorf("asked %q", d.requests)
	}
	out, _, err = d.trigger("--wait", "--json")
	var i api.Incident
	if json.Unmarshal([]byte(out), &i) != nil || i.Local == nil || *i.Local.Stored != storedAs || err != nil {
		t.Errorf("%s, %v", out, err)
	}
}

// The terminal's line is written over; what comes next begins on an empty one.
func TestTriggerStatus(t *testing.T) {
	var b strings.Builder
	s := &status{out: &b, terminal: true}
	s.show("a%d", 1)
	s.show("a1")
	s.show("b")
	s.end()
	if b.String() != "\r\x1b[Ka1\r\x1b[Kb\r\x1b[K" {
		t.Errorf("%q", b.String())
	}
}

func TestTriggerFails(t *testing.T) {
	refused := func(status int, detail string) func(*fakeDaemon) {
		return func(d *fakeDaemon) {
			d.always(postTrigger, status, map[string]any{"type": "about:blank", "status": status, "detail": detail})
		}
	}
	then := func(status int, detail string) func(*fakeDaemon) {
		return func(d *fakeDaemon) {
			d.always(postTrigger, 202, testReceipt)
			d.always(getIncident, status, map[string]any{"status": status, "detail": detail})
		}
	}
	for _, test := range []struct {
		name  string
		setup func(*fakeDaemon)
		args  []string
		code  int
		want  string
	}{
		{"cool-down", refused(429, `"oom" had an incident 3s ago: wait`), nil, exitFailed, `"oom" had an incident 3s ago: wait (again in 7 s)`},
		{"full", refused(507, "full:\x1b[31m raise it"), nil, exitFailed, `full:\x1b[31m raise it`},
		{"no token", refused(401, "a token is needed: send one"), nil, exitFailed, "a token is needed: send one"},
		{"no recorder's answer", func(*fakeDaemon) {}, nil, exitFailed, "answers 418, not as a recorder does: check --server"},
		{"no JSON", func(d *fakeDaemon) { d.always(postTrigger, 202, "x") }, nil, exitFailed, "does not answer as a recorder does"},
		{"forgotten", then(404, "no such incident"), []string{"--wait"}, exitFailed, "incident " + testIncident + ": the recorder does not know the incident any more"},
		{"no scope", then(403, "the token lacks the scope read"), []string{"--wait"}, exitFailed, "is kept, but cannot be looked at: the token lacks the scope read"},
		{"bad duration", nil, []string{"--pre", "5"}, exitUsage, `pre "5" has no unit: write 5s`},
		{"bad time", nil, []string{"--at", "yesterday"}, exitUsage, `at "yesterday" is no time`},
		{"bad id", nil, []string{"--id", "../x"}, exitUsage, `id "../x" is none`},
		{"no value", nil, []string{"--label", "ab"}, exitUsage, `--label "ab": write KEY=VALUE`},
		{"twice", nil, []string{"--label", "a=b", "--label", "a=c"}, exitUsage, `--label "a=c": the key is given twice`},
		{"bad label", nil, []string{"--label", "=c"}, exitUsage, `label "": a key begins with a letter`},
		{"server", nil, []string{"--server", "/run/sock"}, exitUsage, `--server "/run/sock": write unix:///PATH`},
		{"server with path", nil, []string{"--server", "http://host/path"}, exitUsage, "write unix:///PATH"},
		{"server with password", nil, []string{"--server", "http://u:canary@host"}, exitUsage, "--server: write unix:///PATH"},
		{"no token file", nil, []string{"--token-file", "nosuch"}, exitUsage, "--token-file: open nosuch"},
		{"no socket", nil, []string{"--server", "unix:///nosuch/sock"}, exitFailed, "no recorder answers at unix:///nosuch/sock: " +
			"dial unix /nosuch/sock: connect: no such file or directory: start it with ringside run, or name another with --server"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newFakeDaemon(t)
			if test.setup != nil {
				test.setup(d)
			}
			_, _, err := d.trigger(test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
				t.Fatalf("got %v, want %s", err, test.want)
			}
			if got := exitCode(err); got != test.code {
				t.Errorf("exit code %d, want %d", got, test.code)
			}
			if test.setup == nil && len(d.requests) > 0 {
				t.Errorf("asked %q", d.requests)
			}
		})
	}
	if _, errOut, code := command("trigger", "orders", "hang"); code != exitUsage || !strings.Contains(errOut, `write --reason "orders hang"`) {
		t.Errorf("%d, %s", code, errOut)
	}
}

// Tokens are sent to the server that was named, to no other, and appear in no error.
func TestTriggerToken(t *testing.T) {
	const token = "canary-0123456789"
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	answer := func(w http.ResponseWriter) { fmt.Fprintf(w, `{"id": %q}`, testIncident) }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			t.Errorf("Authorization: %s", r.Header.Get("Authorization"))
		}
		answer(w)
	}))
	defer server.Close()
	path := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(token + "\n")
	if out, _, err := runTrigger("--server", server.URL, "--token-file", path); err != nil || out != testIncident+"\n" {
		t.Errorf("%s, %v", out, err)
	}
	answer = func(w http.ResponseWriter) {
		w.Header().Set("Location", elsewhere.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
	if _, _, err := runTrigger("--server", server.URL, "--token-file", path); err == nil || !strings.Contains(err.Error(), "answers 307") {
		t.Error(err)
	}
	for _, bad := range []string{"", "\n", token + "\n" + token, token + "\x00", strings.Repeat(token, 1000)} {
		write(bad)
		_, _, err := runTrigger("--server", server.URL, "--token-file", path)
		if err == nil || !strings.Contains(err.Error(), "holds no token") || strings.Contains(err.Error(), "canary") || exitCode(err) != exitUsage {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
}

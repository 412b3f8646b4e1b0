package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRun records, answers, and drains at SIGTERM: everything is sealed.
func TestRun(t *testing.T) {
	s := newSite(t, shared)
	d := s.start(t, "")
	line := d.await(t, `"msg":"recording"`)
	for _, want := range []string{`"interfaces":"veth0 veth1"`, `"budget":"64 MiB`, "curl -s --unix-socket " + s.socket, s.spool} {
		if !strings.Contains(line, want) {
			t.Errorf("the line at start lacks %q: %s", want, line)
		}
	}
	if code, body := s.get(t, "/readyz?verbose"); code != 200 || strings.Count(body, "recording") != 2 {
		t.Errorf("readyz: %d\n%s", code, body)
	}
	if code, body := s.get(t, "/metrics"); code != 200 || !strings.Contains(body, `ringside_build_info{goversion="go1`) || !strings.Contains(body, `version="v0.0.0-test"`) {
		t.Errorf("metrics: %d\n%s", code, body)
	}
	d.Process.Signal(syscall.SIGTERM)
	log, code := d.end(t)
	if code != 0 || !strings.Contains(log, "everything that was captured is on disk and sealed") {
		t.Errorf("exit code %d, log:\n%s", code, log)
	}
	if open, _ := filepath.Glob(s.spool + "/*.open"); len(open) > 0 {
		t.Errorf("left open: %v", open)
	}
	if sealed, _ := filepath.Glob(s.spool + "/*.pcapng"); len(sealed) != 1 {
		t.Errorf("sealed: %v, want one segment", sealed)
	}
	if _, err := os.Stat(s.socket); err == nil {
		t.Error("the socket is left behind")
	}
}

// TestSecondSignal stops at once, with a code that says so. A request that is never finished holds the drain up.
func TestSecondSignal(t *testing.T) {
	s := newSite(t, shared)
	d := s.start(t, "")
	d.await(t, `"msg":"recording"`)
	s.get(t, "/healthz") // the server runs
	c, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET /healthz HTTP/1.1\r\n")); err != nil {
		t.Fatal(err)
	}
	d.Process.Signal(syscall.SIGTERM)
	d.Process.Signal(syscall.SIGTERM) // as timeout(1) does: it counts as the first
	d.await(t, "a second signal stops at once")
	ended := make(chan struct{})
	go func() { // the one that comes repeatWithin later counts
		for again := time.NewTicker(repeatWithin / 4); ; {
			select {
			case <-again.C:
				d.Process.Signal(syscall.SIGTERM)
			case <-ended:
				return
			}
		}
	}()
	log, code := d.end(t)
	close(ended)
	if code != 1 || !strings.Contains(log, "stopped at once") {
		t.Errorf("exit code %d, log:\n%s", code, log)
	}
	if strings.Contains(log, "sealed\"") {
		t.Errorf("it claims to have sealed:\n%s", log)
	}
}

// TestLogGone goes on when nobody reads the log any more.
func TestLogGone(t *testing.T) {
	s := newSite(t, shared)
	d := s.start(t, "")
	d.await(t, `"msg":"recording"`)
	d.stderr.Close()
	d.Process.Signal(syscall.SIGINT) // which is logged
	if d.Wait(); d.ProcessState.ExitCode() != 0 {
		t.Errorf("it ended with %v, want 0", d.ProcessState)
	}
	if sealed, _ := filepath.Glob(s.spool + "/*.pcapng"); len(sealed) != 1 {
		t.Errorf("sealed: %v, want one segment", sealed)
	}
}

// TestSecondProcess refuses a spool, and a socket, that another process has, without disturbing it.
func TestSecondProcess(t *testing.T) {
	first := newSite(t, shared)
	d := first.start(t, "")
	d.await(t, `"msg":"recording"`)

	sameSpool := newSite(t, shared)
	sameSpool.write(t, fmt.Sprintf("listen: none\nsocket: %s\nrotate: {dir: %s, keep: {bytes: 64MiB, free: 0%%}}\n%s\n", sameSpool.socket, first.spool, shared))
	if log, code := sameSpool.start(t, "").end(t); code != 1 || !strings.Contains(log, first.spool) || !strings.Contains(log, fmt.Sprint(d.Process.Pid)) {
		t.Errorf("the same spool: exit code %d, want 1 and the directory and pid %d in:\n%s", code, d.Process.Pid, log)
	}
	sameSocket := newSite(t, shared)
	sameSocket.write(t, fmt.Sprintf("listen: none\nsocket: %s\nrotate: {dir: %s, keep: {bytes: 64MiB, free: 0%%}}\n%s\n", first.socket, sameSocket.spool, shared))
	if log, code := sameSocket.start(t, "").end(t); code != 1 || !strings.Contains(log, "another process listens on "+first.socket) {
		t.Errorf("the same socket: exit code %d:\n%s", code, log)
	}
	if code, _ := first.get(t, "/readyz"); code != 200 {
		t.Errorf("the first answers %d", code)
	}
	d.Process.Signal(syscall.SIGTERM)
	if log, code := d.end(t); code != 0 {
		t.Errorf("the first ends with %d:\n%s", code, log)
	}
}

// TestNoCapability names the capability and the ways to give it.
func TestNoCapability(t *testing.T) {
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("setpriv is not installed: apt-get install util-linux")
	}
	s := newSite(t, shared)
	log, code := s.start(t, "setpriv --bounding-set=-net_raw --inh-caps=-net_raw").end(t)
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	for _, want := range []string{"CAP_NET_RAW", "setcap", "sudo", "securityContext"} {
		if !strings.Contains(log, want) {
			t.Errorf("the error does not name %s:\n%s", want, log)
		}
	}
}

// TestMissingInterface waits for an interface by default, and refuses to start where it is required.
func TestMissingInterface(t *testing.T) {
	s := newSite(t, "capture: {interfaces: [nosuch0], ring: 16MiB}")
	d := s.start(t, "")
	d.await(t, "waiting for an interface to record")
	if code, body := s.get(t, "/readyz?verbose"); code != 503 || !regexp.MustCompile(`(?m)^nosuch0 +waiting`).MatchString(body) {
		t.Errorf("readyz: %d\n%s", code, body)
	}
	d.Process.Signal(syscall.SIGTERM)
	if log, code := d.end(t); code != 0 {
		t.Errorf("exit code %d:\n%s", code, log)
	}
	s = newSite(t, "capture: {interfaces: [{name: nosuch0, require: true}], ring: 16MiB}")
	if log, code := s.start(t, "").end(t); code != 2 || !strings.Contains(log, s.config()+":4: capture.interfaces: nosuch0 is required") {
		t.Errorf("required: exit code %d, want 2, the line and the key:\n%s", code, log)
	}
}

// TestBadConfig reports all problems and touches nothing.
func TestBadConfig(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "bad.yaml")
	text := "rotat: {}\nrotate:\n  dir: " + dir + "/spool\n  every: 30\ncapture:\n  services:\n    - {name: x, ports: [70000]}\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("ringside: the configuration has 3 problems, nothing was started\n"+
		"%[1]s:1: rotat: unknown key (did you mean \"rotate\"?): the keys here are cluster, node, listen, metrics_listen, hosts, tokens, tls, socket, shutdown_timeout, log, capture, rotate, trigger, detect, hoststate, upload\n"+
		"%[1]s:4: rotate.every: \"30\" has no unit: write 30s for seconds, or 30m, 30h, 30d\n"+
		"%[1]s:7: capture.services[0].ports[0]: \"70000\" is no port: ports are 1 to 65535\n", path)
	if _, got, code := command("run", "-c", path); code != 2 || got != want {
		t.Errorf("exit code %d, got:\n%swant:\n%s", code, got, want)
	}
	if _, err := os.Stat(dir + "/spool"); err == nil {
		t.Error("the spool was created")
	}
	if _, got, code := command("run", "-c", dir+"/absent.yaml"); code != 2 || !strings.Contains(got, dir+"/absent.yaml: there is no such file") {
		t.Errorf("an absent file: exit code %d, %s", code, got)
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args   string
		code   int
		stdout string
		stderr string
	}{
		{"version", 0, "ringside v0.0.0-test", ""},
		{"--help", 0, "Available Commands:", ""},
		{"run --help", 0, "a second one stops at once", ""},
		{"", 2, "", "no command is given: ringside run starts the recorder"},
		{"record", 2, "", `unknown command "record"`},
		{"run now", 2, "", `unknown command "now"`},
		{"run --conf x", 2, "", "unknown flag: --conf"},
		{"version 2", 2, "", "see ringside --help"},
	} {
		stdout, stderr, code := command(strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("ringside %s: exit code %d, stdout %q, stderr %q, want %d, %q, %q", c.args, code, stdout, stderr, c.code, c.stdout, c.stderr)
		}
		if c.code != 0 && stdout != "" {
			t.Errorf("ringside %s writes %q to stdout", c.args, stdout)
		}
	}
}

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// testBinary is the program, built once for all tests of this package.
var testBinary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "ringside")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testBinary = filepath.Join(dir, "ringside")
	build := exec.Command("go", "build", "-ldflags", "-X main.version=v0.0.0-test", "-o", testBinary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// site is a directory with a configuration, for a recorder in a network namespace of its own.
type site struct{ dir, socket, spool string }

// newSite writes a configuration: nothing of the machine's, and whatever capture section is given.
func newSite(t *testing.T, capture string) site {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: network namespaces and CAP_NET_RAW")
	}
	dir := t.TempDir()
	s := site{dir, filepath.Join(dir, "r.sock"), filepath.Join(dir, "spool")}
	s.write(t, fmt.Sprintf("listen: none\nsocket: %s\nrotate: {dir: %s, keep: {bytes: 64MiB, free: 0%%}}\n%s\n", s.socket, s.spool, capture))
	return s
}

func (s site) config() string { return filepath.Join(s.dir, "ringside.yaml") }

func (s site) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(s.config(), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// daemon is a running recorder.
type daemon struct {
	*exec.Cmd
	lines  *bufio.Scanner // of its log
	stderr io.Closer
}

const shared = "capture: {interfaces: [\"veth*\"], ring: 8MiB}"

// start runs the recorder, under the given wrapper, in a new namespace with a veth pair that is up.
func (s site) start(t *testing.T, wrapper string) *daemon {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip is not installed: apt-get install iproute2")
	}
	cmd := exec.Command("sh", "-c", "ip link add veth0 type veth peer name veth1 && ip link set veth0 up && ip link set veth1 up && exec "+
		wrapper+" \"$0\" run -c \"$1\"", testBinary, s.config())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &daemon{cmd, bufio.NewScanner(stderr), stderr}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	return d
}

// await reads the log up to a line with text, and returns what was read.
func (d *daemon) await(t *testing.T, text string) string {
	t.Helper()
	var read strings.Builder
	for d.lines.Scan() {
		fmt.Fprintln(&read, d.lines.Text())
		if strings.Contains(d.lines.Text(), text) {
			return read.String()
		}
	}
	t.Fatalf("the log ended without %q:\n%s", text, read.String())
	return ""
}

// end reads the rest of the log, and returns it with the exit code.
func (d *daemon) end(t *testing.T) (string, int) {
	t.Helper()
	var read strings.Builder
	for d.lines.Scan() {
		fmt.Fprintln(&read, d.lines.Text())
	}
	d.Wait()
	return read.String(), d.ProcessState.ExitCode()
}

func (s site) get(t *testing.T, path string) (int, string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
	}}
	res, err := (&http.Client{Transport: transport}).Get("http://ringside" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// command runs the program without a namespace, for what ends before anything is opened.
func command(args ...string) (stdout, stderr string, code int) {
	var out, errOut strings.Builder
	cmd := exec.Command(testBinary, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.Run()
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

package ringside

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Recorder is a process of the program. Its methods may be called concurrently.
type Recorder struct {
	Options
	cmd    *exec.Cmd
	log    logBuffer
	ended  chan struct{} // closed when the process has been waited for
	client http.Client
}

// logBuffer keeps what the process writes.
type logBuffer struct {
	mu   sync.Mutex
	text []byte
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	return len(p), nil
}

// Start starts a recorder without waiting for anything. The caller ends it by Stop or Kill.
func Start(o Options) (*Recorder, error) {
	config, err := o.write()
	if err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	args := slices.Concat(o.Prefix, []string{o.Binary, "run", "-c", config})
	r := &Recorder{Options: o, cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	r.cmd.Env = append(os.Environ(), o.Env...)
	r.client.Transport = &http.Transport{
		DisableKeepAlives:  true,
		DisableCompression: true, // it would cost the recorder more than the metrics themselves
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", o.socket())
		},
	}
	if err := o.Namespace.Start(r.cmd); err != nil {
		return nil, fmt.Errorf("start recorder: %w", err)
	}
	go func() {
		defer close(r.ended)
		_ = r.cmd.Wait() // its state is in ProcessState
	}()
	return r, nil
}

// Launch starts a recorder for a test and waits until it is ready. When the test ends it is killed, if it still runs,
// and its log is shown if the test failed.
func Launch(t testing.TB, o Options) *Recorder {
	t.Helper()
	r := LaunchUnready(t, o)
	if err := r.Ready(time.Minute); err != nil {
		t.Fatal(err)
	}
	return r
}

// LaunchUnready is Launch without waiting for readiness.
func LaunchUnready(t testing.TB, o Options) *Recorder {
	t.Helper()
	if o.Dir == "" {
		o.Dir = Dir(t)
	}
	r, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Kill()
		if t.Failed() {
			t.Logf("log of the recorder in %s:\n%s", o.Dir, tail(r.Log(), 4000))
		}
	})
	return r
}

// Dir is t.TempDir with a name short enough for a Unix socket.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func tail(s string, n int) string {
	if len(s) > n {
		return "… " + s[len(s)-n:]
	}
	return s
}

// Pid is the process's id.
func (r *Recorder) Pid() int { return r.cmd.Process.Pid }

// Log is what the process has written so far.
func (r *Recorder) Log() string {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return string(r.log.text)
}

// Ready waits until /readyz says so. It fails when the process ends or the time is over.
func (r *Recorder) Ready(within time.Duration) error {
	return r.Until(within, "ready", func() bool {
		status, _, err := r.Get("/readyz")
		return err == nil && status == http.StatusOK
	})
}

// Until waits until a condition holds, looking every 10 ms.
func (r *Recorder) Until(within time.Duration, what string, holds func() bool) error {
	deadline := time.After(within)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if holds() {
			return nil
		}
		select {
		case <-r.ended:
			return fmt.Errorf("recorder not %s: it ended: %v: %s", what, r.cmd.ProcessState, tail(r.Log(), 2000))
		case <-deadline:
			return fmt.Errorf("recorder not %s within %v: %s", what, within, tail(r.Log(), 2000))
		case <-tick.C:
		}
	}
}

// Get asks the Unix socket and returns the status and the whole body.
func (r *Recorder) Get(path string) (int, string, error) {
	resp, err := r.client.Get("http://ringside" + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// Post sends a JSON body to the Unix socket and returns the status and the whole answer.
func (r *Recorder) Post(path, body string) (int, string, error) {
	resp, err := r.client.Post("http://ringside"+path, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(answer), err
}

// Packets opens /v1/packets. The caller closes the body.
func (r *Recorder) Packets(from, to string) (*http.Response, error) {
	return r.client.Get("http://ringside/v1/packets?" + url.Values{"from": {from}, "to": {to}}.Encode())
}

// Signal sends a signal.
func (r *Recorder) Signal(s syscall.Signal) error { return r.cmd.Process.Signal(s) }

// Ended is closed when the process has ended.
func (r *Recorder) Ended() <-chan struct{} { return r.ended }

// Kill kills the process, if it still runs, and waits for its end.
func (r *Recorder) Kill() {
	_ = r.cmd.Process.Kill() // an error means that it has ended
	<-r.ended
}

// Wait waits for the end and returns the exit code, or -1 after a signal.
func (r *Recorder) Wait(within time.Duration) (int, error) {
	select {
	case <-r.ended:
		return r.cmd.ProcessState.ExitCode(), nil
	case <-time.After(within):
		return 0, fmt.Errorf("recorder still runs after %v: %s", within, tail(r.Log(), 2000))
	}
}

// Stop drains the recorder by SIGTERM. Anything but exit code 0 is an error.
func (r *Recorder) Stop() error {
	if err := r.Signal(unix.SIGTERM); err != nil {
		return fmt.Errorf("stop recorder: %w", err)
	}
	code, err := r.Wait(40 * time.Second)
	if err == nil && code != 0 {
		err = fmt.Errorf("recorder stopped with exit code %d: %s", code, tail(r.Log(), 2000))
	}
	return err
}

// Rusage is what the process used, known once it has ended.
func (r *Recorder) Rusage() *syscall.Rusage {
	usage, _ := r.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return usage
}

// Segments returns the paths of the spool's files, oldest first: sealed ones, and those being written.
func (r *Recorder) Segments() (sealed, open []string, err error) {
	dir := r.Namespace.Path(r.spool())
	entries, err := os.ReadDir(dir) // sorted by name, which begins with the sequence
	for _, e := range entries {
		switch path := filepath.Join(dir, e.Name()); {
		case strings.HasSuffix(path, ".pcapng"):
			sealed = append(sealed, path)
		case strings.HasSuffix(path, ".pcapng.open"):
			open = append(open, path)
		}
	}
	return sealed, open, err
}

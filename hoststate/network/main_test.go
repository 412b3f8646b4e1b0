package network

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

const inNamespace = "RINGSIDE_TEST_NAMESPACE"

// TestMain runs the tests in a network namespace of their own: sockets are opened by whatever thread a goroutine runs on,
// so the whole process must be in it.
func TestMain(m *testing.M) {
	if os.Getenv(inNamespace) == "" && os.Geteuid() == 0 {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), inNamespace+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
		if err := cmd.Run(); err != nil {
			if exit, ok := err.(*exec.ExitError); ok {
				os.Exit(exit.ExitCode())
			}
			panic(err)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// needNamespace skips a test that needs root.
func needNamespace(t testing.TB) {
	t.Helper()
	if os.Getenv(inNamespace) == "" {
		t.Skip("needs root, to make a network namespace and change it (CAP_SYS_ADMIN, CAP_NET_ADMIN)")
	}
}

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// memory is a Sink that keeps all events.
type memory struct {
	mu     sync.Mutex
	events []hoststate.Event
	blind  []string
	each   func(hoststate.Event) // called for every event if it is set before the watcher is started
}

func (m *memory) Emit(e hoststate.Event) {
	if m.each != nil {
		m.each(e)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, e)
}

func (m *memory) Blind(spots ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blind = spots
}

// of returns what was seen of some kinds.
func (m *memory) of(kinds ...string) (all []hoststate.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if slices.Contains(kinds, e.Kind) {
			all = append(all, e)
		}
	}
	return all
}

// clear forgets what was seen.
func (m *memory) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = nil
}

// await waits until there are n events of some kinds.
func (m *memory) await(t testing.TB, n int, kinds ...string) []hoststate.Event {
	t.Helper()
	await(t, fmt.Sprintf("%d of %v", n, kinds), func() bool { return len(m.of(kinds...)) >= n })
	return m.of(kinds...)
}

func await(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// run runs a watcher until the test ends, and returns when it has begun to see: ready makes a change and says whether it was seen.
func run(t testing.TB, w hoststate.Watcher, out hoststate.Sink) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, out) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s ended with %v", w.Name(), err)
			}
		case <-time.After(patience):
			t.Errorf("%s does not stop", w.Name())
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// powerless runs this test again in a process without capabilities, in the same namespace.
func powerless(t *testing.T, variable string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Pdeathsig: unix.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("without capabilities: %v\n%s", err, out)
	}
}

package state

import (
	"context"
	"encoding/json"
	"errors"
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

// TestMain runs the tests in a network namespace of their own: sockets are opened by whatever thread a goroutine runs on, so
// the whole process must be in it.
func TestMain(m *testing.M) {
	if os.Getenv(inNamespace) == "" && os.Geteuid() == 0 {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), inNamespace+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
		if err := cmd.Run(); err != nil {
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				os.Exit(exit.ExitCode())
			}
			panic(err)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// memory is a Sink that keeps all events.
type memory struct {
	mu     sync.Mutex
	events []hoststate.Event
	blind  []string
}

func (m *memory) Emit(e hoststate.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, e)
}

func (m *memory) Blind(spots ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blind = spots
}

func (m *memory) seen() []hoststate.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.events)
}

// run runs the watcher until the test ends.
func run(t *testing.T, k *Taker) *memory {
	t.Helper()
	m := &memory{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx, m) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return m
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

func data(t *testing.T, e hoststate.Event) *Snapshot {
	t.Helper()
	s := &Snapshot{}
	if err := json.Unmarshal(e.Data, s); err != nil {
		t.Fatalf("%v: %s", err, e.Data)
	}
	return s
}

func (s *Snapshot) section(t *testing.T, name string) *Section {
	t.Helper()
	i := slices.IndexFunc(s.Sections, func(s Section) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("no section %s", name)
	}
	return &s.Sections[i]
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

package conntrack

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

const inNamespace = "RINGSIDE_TEST_NAMESPACE"

// TestMain runs the tests in a network namespace of their own, with a connection tracking of its own: sockets are opened
// by whatever thread a goroutine runs on, so the whole process must be in it.
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
		t.Skip("needs root, to make a network namespace and to watch its connection tracking (CAP_SYS_ADMIN, CAP_NET_ADMIN)")
	}
}

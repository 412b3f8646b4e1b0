package netlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace with a mount namespace of its own. All methods may be called concurrently.
type Namespace struct {
	tid    int            // of the keeper: the thread that lives in the namespace until Close
	calls  chan func()    // run by the keeper
	gone   chan struct{}  // closed when the keeper has ended
	net    netns.NsHandle // keeps the network namespace for Do and for moving links
	mount  *os.File       // the mount namespace
	handle *netlink.Handle
}

// Test returns a namespace that is closed when the test ends. It skips the test where namespaces cannot be made.
func Test(t testing.TB) *Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: CAP_SYS_ADMIN and CAP_NET_ADMIN make network namespaces")
	}
	n, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// New makes a namespace whose loopback is up, whose links get no IPv6 addresses by themselves, and whose /sys shows
// its own links. The caller closes it.
func New() (*Namespace, error) {
	n := &Namespace{calls: make(chan func()), gone: make(chan struct{}), net: netns.None()}
	ready := make(chan error)
	go ownThread(func() { n.keep(ready) })
	if err := <-ready; err != nil {
		<-n.gone
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	var err error
	if n.handle, err = netlink.NewHandleAt(n.net); err != nil {
		return nil, errors.Join(fmt.Errorf("netlink in the namespace: %w", err), n.Close())
	}
	if err := n.Up("lo"); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// ownThread calls f on a thread that ends with f, so that whatever f did to its thread is undone by the kernel. The
// first thread of a process never ends; if the goroutine finds itself there, another takes over.
func ownThread(f func()) {
	runtime.LockOSThread() // for good: the runtime ends the thread with the goroutine
	if unix.Gettid() != unix.Getpid() {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		ownThread(f)
	}()
	<-done
	runtime.UnlockOSThread()
}

// keep is the keeper. When it returns its thread ends, and with it the mount namespace and every child whose parent it
// was (Pdeathsig).
func (n *Namespace) keep(ready chan<- error) {
	defer close(n.gone)
	n.tid = unix.Gettid()
	err := n.enter()
	ready <- err
	if err != nil {
		return
	}
	for f := range n.calls {
		f()
	}
}

func (n *Namespace) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("ringside", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount /sys of the namespace: %w", err)
	}
	for _, key := range []string{"default", "all"} { // no router solicitations, no neighbour discovery of our own
		path := "/proc/sys/net/ipv6/conf/" + key + "/disable_ipv6"
		if err := os.WriteFile(path, []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	var err error
	if n.net, err = netns.Get(); err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	if n.mount, err = os.Open("/proc/thread-self/ns/mnt"); err != nil {
		return fmt.Errorf("open mount namespace: %w", err)
	}
	return nil
}

// Close kills what still runs in the namespace and lets the kernel remove its links and mounts.
func (n *Namespace) Close() error {
	if n.handle != nil {
		n.handle.Close()
	}
	close(n.calls)
	<-n.gone
	return errors.Join(n.net.Close(), n.mount.Close())
}

// Do calls f on a thread inside the namespace (network and mounts) and returns its error. f must not start processes
// (see Start); sockets that it opens stay in the namespace. Several calls run at the same time.
func (n *Namespace) Do(f func() error) error {
	result := make(chan error, 1)
	go ownThread(func() {
		if err := n.join(); err != nil {
			result <- err
			return
		}
		result <- f()
	})
	return <-result
}

func (n *Namespace) join() error {
	if err := netns.Set(n.net); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare working directory: %w", err)
	}
	if err := unix.Setns(int(n.mount.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter mount namespace: %w", err)
	}
	return nil
}

// Start starts cmd inside the namespace. The child is killed when the namespace is closed or the test process dies.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if cmd.Dir == "" {
		cmd.Dir = "/" // the keeper's own is of no meaning
	}
	started := make(chan error)
	n.calls <- func() { started <- cmd.Start() }
	return <-started
}

// Run runs a program inside the namespace and returns what it wrote to both outputs.
func (n *Namespace) Run(name string, args ...string) (string, error) {
	var out strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.Start(cmd); err != nil {
		return "", fmt.Errorf("start %s: %w", name, err)
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// Path returns a path by which processes outside reach file, an absolute path inside the namespace's mounts.
func (n *Namespace) Path(file string) string {
	return fmt.Sprintf("/proc/%d/task/%d/root%s", os.Getpid(), n.tid, file)
}

package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Host is a network namespace with a mount namespace of its own. All methods may be called concurrently, Close last.
type Host struct {
	name   string
	tid    int            // of the keeper: the thread that lives in the namespace until Close
	calls  chan func()    // run by the keeper
	gone   chan struct{}  // closed when the keeper has ended
	net    netns.NsHandle // keeps the network namespace for Do and for moving links
	mount  *os.File       // the mount namespace
	handle *netlink.Handle
	close  func() error // once
}

// Options say what a host can do.
type Options struct {
	IPv6 bool // its links take IPv6 addresses; without it none appears by itself and no neighbour is looked for
}

// New makes a host whose loopback is up and whose /sys shows its own links. The name is for errors alone. The caller
// closes it.
func New(name string, o Options) (*Host, error) {
	h := &Host{name: name, calls: make(chan func()), gone: make(chan struct{}), net: netns.None()}
	h.close = sync.OnceValue(h.end)
	ready := make(chan error)
	go ownThread(func() { h.keep(o, ready) })
	if err := <-ready; err != nil {
		<-h.gone
		return nil, fmt.Errorf("make host %s: %w (it takes root: CAP_SYS_ADMIN and CAP_NET_ADMIN)", name, err)
	}
	var err error
	if h.handle, err = netlink.NewHandleAt(h.net); err != nil {
		return nil, errors.Join(fmt.Errorf("netlink in host %s: %w", name, err), h.Close())
	}
	if err := h.Up("lo"); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// Name is the name that New was given.
func (h *Host) Name() string { return h.name }

// NetNS is the descriptor of the network namespace, which lives until Close: for netlink sockets that are opened in it.
func (h *Host) NetNS() int { return int(h.net) }

// Netlink changes and reads links, addresses, routes, rules and connection tracking of the host. It lives until Close.
func (h *Host) Netlink() *netlink.Handle { return h.handle }

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
func (h *Host) keep(o Options, ready chan<- error) {
	defer close(h.gone)
	h.tid = unix.Gettid()
	err := h.enter(o)
	ready <- err
	if err != nil {
		return
	}
	for f := range h.calls {
		f()
	}
}

func (h *Host) enter(o Options) error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("ringside", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount /sys of the namespace: %w", err)
	}
	if err := quiet(o); err != nil {
		return err
	}
	var err error
	if h.net, err = netns.Get(); err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	if h.mount, err = os.Open("/proc/thread-self/ns/mnt"); err != nil {
		return fmt.Errorf("open mount namespace: %w", err)
	}
	return nil
}

// quiet keeps the kernel from sending packets of its own: no IPv6 at all, or no routers looked for and no addresses
// tried out.
func quiet(o Options) error {
	values := map[string]string{"disable_ipv6": "1"}
	if o.IPv6 {
		values = map[string]string{"accept_ra": "0", "accept_dad": "0", "dad_transmits": "0", "router_solicitations": "0"}
	}
	for key, value := range values {
		for _, conf := range []string{"default", "all"} {
			path := "/proc/sys/net/ipv6/conf/" + conf + "/" + key
			if err := os.WriteFile(path, []byte(value), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// Close kills what still runs in the host and lets the kernel remove its links and mounts. A second call does nothing.
func (h *Host) Close() error { return h.close() }

func (h *Host) end() error {
	if h.handle != nil {
		h.handle.Close()
	}
	close(h.calls)
	<-h.gone
	return errors.Join(h.net.Close(), h.mount.Close())
}

// Do calls f on a thread inside the namespace (network and mounts) and returns its error. f must not start processes
// (see Start); sockets that it opens stay in the namespace. Several calls run at the same time.
func (h *Host) Do(f func() error) error {
	result := make(chan error, 1)
	go ownThread(func() {
		if err := h.join(); err != nil {
			result <- err
			return
		}
		result <- f()
	})
	return <-result
}

func (h *Host) join() error {
	if err := netns.Set(h.net); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare working directory: %w", err)
	}
	if err := unix.Setns(int(h.mount.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter mount namespace: %w", err)
	}
	return nil
}

// Start starts cmd inside the host. The child is killed when the host is closed or this process dies.
func (h *Host) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if cmd.Dir == "" {
		cmd.Dir = "/" // the keeper's own is of no meaning
	}
	started := make(chan error)
	h.calls <- func() { started <- cmd.Start() }
	return <-started
}

// Run runs a program inside the namespace and returns what it wrote to both outputs.
func (h *Host) Run(name string, args ...string) (string, error) {
	var out strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := h.Start(cmd); err != nil {
		return "", fmt.Errorf("start %s: %w", name, err)
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// Path returns a path by which processes outside reach file, an absolute path inside the namespace's mounts.
func (h *Host) Path(file string) string {
	return fmt.Sprintf("/proc/%d/task/%d/root%s", os.Getpid(), h.tid, file)
}

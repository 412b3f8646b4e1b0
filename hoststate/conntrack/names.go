package conntrack

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

// names tells which process a netlink portid belongs to. Looking is done on a goroutine of its own, at once, for the
// process may live for milliseconds only; what was found is kept for keepName, because portids are used again.
type names struct {
	proc  string
	queue chan uint32

	searched time.Time     // when the latest search through all processes ended
	took     time.Duration // by it

	mu    sync.Mutex // guards known; the goroutine owns the rest
	known map[uint32]known
}

type known struct {
	process hoststate.Process
	at      time.Time
}

const (
	keepName  = 10 * time.Second
	mostNames = 256 // known at a time

	searchShare = 20 // times as long as a search through all processes takes pass until the next
)

func newNames(proc string) *names {
	return &names{proc: proc, queue: make(chan uint32, 64), known: map[uint32]known{}}
}

func (n *names) run(ctx context.Context) error {
	for {
		select {
		case port := <-n.queue:
			if !n.has(map[uint32]uint64{port: 0}) {
				p := n.find(port)
				n.mu.Lock()
				n.forget(time.Now())
				n.known[port] = known{p, time.Now()}
				n.mu.Unlock()
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// ask has a portid looked up. It never waits; where more are asked for than can be looked up, some stay unknown.
func (n *names) ask(port uint32) {
	select {
	case n.queue <- port:
	default:
	}
}

// has says whether all of the ports were looked up, whatever was found.
func (n *names) has(ports map[uint32]uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for port := range ports {
		if k, ok := n.known[port]; port != 0 && (!ok || time.Since(k.at) > keepName) {
			return false
		}
	}
	return true
}

// process is what is known of a portid by now.
func (n *names) process(port uint32) *hoststate.Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	if k, ok := n.known[port]; ok && time.Since(k.at) <= keepName {
		return &k.process
	}
	return &hoststate.Process{PortID: port}
}

// forget drops what is old, and everything if there is too much. The caller holds mu.
func (n *names) forget(now time.Time) {
	for port, k := range n.known {
		if now.Sub(k.at) > keepName || len(n.known) >= mostNames {
			delete(n.known, port)
		}
	}
}

// find looks for the process that has a portid. Certain is the owner of the netlink socket. Where that is gone or not
// readable, it is the process whose id the portid is, which is what the kernel gives to a process's first socket: the id
// in the process's own pid namespace, so that several may fit; then none is named.
func (n *names) find(port uint32) hoststate.Process {
	p := hoststate.Process{PortID: port}
	likely := strconv.FormatUint(uint64(port), 10)
	guess, fits := n.read(likely, port) // before anything else: it may be about to exit
	inode, _ := netfilterSocket(n.proc, port)
	if n.owns(likely, inode) {
		return guess
	}
	begun := time.Now()
	if begun.Sub(n.searched) < searchShare*n.took {
		return p
	}
	defer func() { n.searched, n.took = time.Now(), time.Since(begun) }()
	var found []hoststate.Process
	if fits {
		found = append(found, guess)
	}
	for _, pid := range n.processes() {
		other, fits := n.read(pid, port)
		if n.owns(pid, inode) {
			return other
		}
		if fits && other.PID != guess.PID {
			found = append(found, other)
		}
	}
	if len(found) == 1 {
		return found[0]
	}
	return p
}

// read reads a process's name, and says whether the portid fits: it is its id in its own pid namespace.
func (n *names) read(pid string, port uint32) (p hoststate.Process, fits bool) {
	p.PortID = port
	b, err := os.ReadFile(filepath.Join(n.proc, pid, "status"))
	if err != nil {
		return p, false
	}
	for line := range bytes.Lines(b) {
		key, value, _ := strings.Cut(strings.TrimSpace(string(line)), ":\t")
		switch key {
		case "Name":
			p.Name = value
		case "Tgid":
			p.PID, _ = strconv.Atoi(value)
		case "NStgid":
			ids := strings.Fields(value)
			return p, len(ids) > 0 && ids[len(ids)-1] == strconv.FormatUint(uint64(port), 10) && n.here(pid, len(ids) > 1)
		}
	}
	return p, false
}

// here says whether a process may be in our network namespace. Where that cannot be read, one in a container is not
// believed to be.
func (n *names) here(pid string, contained bool) bool {
	ours, _ := os.Readlink(filepath.Join(n.proc, "self/ns/net"))
	its, err := os.Readlink(filepath.Join(n.proc, pid, "ns/net"))
	if err != nil {
		return !contained
	}
	return its == ours
}

// netfilterSocket reads what net/netlink has of the netfilter socket with a portid: its inode, "" if there is none, and
// how many messages it had no room for.
func netfilterSocket(proc string, port uint32) (inode string, drops uint64) {
	b, err := os.ReadFile(filepath.Join(proc, "net/netlink"))
	if err != nil {
		return "", 0
	}
	for line := range bytes.Lines(b) { // sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
		f := strings.Fields(string(line))
		if len(f) == 10 && f[1] == strconv.Itoa(unix.NETLINK_NETFILTER) && f[2] == strconv.FormatUint(uint64(port), 10) {
			drops, _ = strconv.ParseUint(f[8], 10, 64)
			return f[9], drops
		}
	}
	return "", 0
}

// owns says whether a process has the socket with that inode open, as far as that may be read.
func (n *names) owns(pid, inode string) bool {
	if inode == "" {
		return false
	}
	dir := filepath.Join(n.proc, pid, "fd")
	fds, _ := os.ReadDir(dir)
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && to == "socket:["+inode+"]" {
			return true
		}
	}
	return false
}

func (n *names) processes() (pids []string) {
	dir, err := os.Open(n.proc)
	if err != nil {
		return nil
	}
	defer dir.Close()
	all, _ := dir.Readdirnames(-1)
	for _, name := range all {
		if name[0] >= '1' && name[0] <= '9' {
			pids = append(pids, name)
		}
	}
	return pids
}

package network

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringside/ringside/hoststate"
)

const (
	remember = 2 * time.Second        // how long an answer is good: portids are used again
	scanFor  = 100 * time.Millisecond // at most, through all processes' descriptors; and at most a twentieth of the time,
	spare    = 10 * time.Second       // where so much time can be saved up
)

// processes finds who has a netlink socket. It has one user.
type processes struct {
	proc     string
	protocol int // such as NETLINK_ROUTE
	known    map[uint32]remembered
	next     time.Time // all processes may be looked through from then on; time before it is saved up
}

type remembered struct {
	by    hoststate.Process
	until time.Time
}

func newProcesses(proc string, protocol int) *processes {
	return &processes{proc: proc, protocol: protocol, known: map[uint32]remembered{}}
}

// of returns the process behind a portid, by name if it still is there: that which has the socket or, if the socket is gone or
// nobody's descriptors may be read, the only one with that pid. The kernel gives a process's first socket its pid as its portid, but as it
// is in the process's own pid namespace, and others numbers above 2^31.
func (p *processes) of(portid uint32) *hoststate.Process {
	now := time.Now()
	if portid == 0 {
		return &hoststate.Process{}
	}
	if k, ok := p.known[portid]; ok && now.Before(k.until) {
		return &k.by
	}
	by := hoststate.Process{PortID: portid}
	by.PID = p.find(portid, p.socket(portid))
	if by.PID != 0 {
		comm, _ := os.ReadFile(fmt.Sprintf("%s/%d/comm", p.proc, by.PID))
		if by.Name = strings.TrimSpace(string(comm)); by.Name == "" {
			by.PID = 0
		}
	}
	if len(p.known) > 256 {
		clear(p.known)
	}
	p.known[portid] = remembered{by, now.Add(remember)}
	return &by
}

// socket is what a descriptor of the portid's socket links to, "" if the socket is gone. The columns of /proc/net/netlink are sk,
// protocol, portid, ..., inode.
func (p *processes) socket(portid uint32) string {
	f, err := os.Open(p.proc + "/net/netlink")
	if err != nil {
		return ""
	}
	defer f.Close()
	protocol, id := strconv.Itoa(p.protocol), strconv.FormatUint(uint64(portid), 10)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) >= 10 && f[1] == protocol && f[2] == id {
			return "socket:[" + f[9] + "]"
		}
	}
	return ""
}

// find looks for who has the socket, first at the processes that likely have it, and for the only process with that pid. It returns 0
// for none. Reading the descriptors of others needs CAP_SYS_PTRACE.
func (p *processes) find(portid uint32, socket string) (namesake int) {
	if socket == "" && portid >= 1<<31 {
		return 0
	}
	likely := map[int]bool{int(portid): true}
	for _, k := range p.known {
		likely[k.by.PID] = true
	}
	for pid := range likely {
		if socket != "" && p.has(pid, socket) {
			return pid
		}
	}
	began := time.Now()
	if began.Before(p.next) {
		return 0
	}
	if p.next.Before(began.Add(-spare)) {
		p.next = began.Add(-spare)
	}
	defer func() { p.next = p.next.Add(20 * time.Since(began)) }()
	dir, err := os.Open(p.proc)
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	several := false
	for _, name := range slices.Backward(names) { // who changes something often is young
		pid, err := strconv.Atoi(name)
		switch {
		case err != nil:
		case time.Since(began) > scanFor:
			return 0
		case socket != "" && p.has(pid, socket):
			return pid
		case portid < 1<<31 && p.inner(pid) == int(portid):
			several = several || namesake != 0
			namesake = pid
		}
	}
	if several {
		return 0
	}
	return namesake
}

// has says whether a process has the socket.
func (p *processes) has(pid int, socket string) bool {
	dir := filepath.Join(p.proc, strconv.Itoa(pid), "fd")
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	for _, name := range names {
		if to, err := os.Readlink(filepath.Join(dir, name)); err == nil && to == socket {
			return true
		}
	}
	return false
}

// ofThread returns the process that a thread belongs to, of which the kernel gave the number and the name. Both are kept if procfs
// shows nobody with that name under that number: then it is of another pid namespace, or the process is gone.
func ofThread(proc string, by hoststate.Process) hoststate.Process {
	dir := fmt.Sprintf("%s/%d", proc, by.PID)
	comm, _ := os.ReadFile(dir + "/comm")
	if strings.TrimSpace(string(comm)) != by.Name {
		return by
	}
	status, _ := os.ReadFile(dir + "/status")
	_, tgid, _ := strings.Cut(string(status), "\nTgid:")
	tgid, _, _ = strings.Cut(tgid, "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(tgid))
	if err != nil || pid == by.PID {
		return by
	}
	if comm, err := os.ReadFile(fmt.Sprintf("%s/%d/comm", proc, pid)); err == nil {
		by.PID, by.Name = pid, strings.TrimSpace(string(comm))
	}
	return by
}

// inner is the pid that a process has in its own pid namespace. Threads of the kernel have none: they open no sockets.
func (p *processes) inner(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("%s/%d/status", p.proc, pid))
	if err != nil || !strings.Contains(string(status), "\nVmSize:") {
		return 0
	}
	_, ids, _ := strings.Cut(string(status), "\nNSpid:")
	ids, _, _ = strings.Cut(ids, "\n")
	f := strings.Fields(ids)
	if len(f) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(f[len(f)-1])
	return n
}

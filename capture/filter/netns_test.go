package filter

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// inNamespace runs the rest of the test in a network namespace of its own, which is gone when the test is: the
// goroutine keeps its thread, and the thread ends with it.
func inNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); errors.Is(err, unix.EPERM) {
		t.Skip("making a network namespace needs CAP_SYS_ADMIN: run as root")
	} else if err != nil {
		t.Fatal(err)
	}
	setSysctl(t, "net/ipv6/conf/default/disable_ipv6", "1") // no packets of the kernel's own
	setSysctl(t, "net/ipv6/conf/all/disable_ipv6", "1")
	link, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// setSysctl writes a sysctl of the namespace the thread is in.
func setSysctl(t *testing.T, name, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
}

// newVeth makes a pair of veths, of which a sends and b receives, and returns their indexes. Brought up last, with its
// peer there, a has its carrier and queue at once; b gets them from a worker of the kernel, some time later.
func newVeth(t *testing.T, a, b string) (int, int) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = a, 9000
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: b}); err != nil {
		t.Fatal(err)
	}
	var index []int
	for _, name := range []string{b, a} {
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(link)
		}
		if err != nil {
			t.Fatal(err)
		}
		index = append(index, link.Attrs().Index)
	}
	return index[1], index[0]
}

// tap is a packet socket on one interface.
type tap struct{ fd int }

// newTap opens a socket that receives what code keeps on the interface; nil keeps everything. The filter is attached
// before the socket is bound, so that nothing gets past it.
func newTap(t *testing.T, index int, code []bpf.RawInstruction) tap {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) {
		t.Skip("packet sockets need CAP_NET_RAW: run as root")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { go unix.Close(fd) }) // each waits for the kernel's other cores, so not one after another
	if err := attach(fd, code); err != nil {
		t.Fatalf("attach a program of %d instructions: %v", len(code), err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		t.Fatal(err)
	}
	all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}); err != nil {
		t.Fatal(err)
	}
	return tap{fd}
}

func attach(fd int, code []bpf.RawInstruction) error {
	if code == nil {
		return nil
	}
	filters := make([]unix.SockFilter, len(code))
	for i, ins := range code {
		filters[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]})
}

// wait blocks until there is something to receive.
func (s tap) wait(t *testing.T) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 10_000)
		if n == 1 {
			return
		}
		if !errors.Is(err, unix.EINTR) {
			t.Fatalf("nothing came in 10 s: %v", err)
		}
	}
}

// receive reads one packet, cut as the filter asks, into buf and returns its length; 0 if there is none.
func (s tap) receive(t *testing.T, buf []byte) int {
	n, err := unix.Read(s.fd, buf)
	if errors.Is(err, unix.EAGAIN) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// receiveMeta is receive with what the kernel says about the packet.
func (s tap) receiveMeta(t *testing.T, buf []byte) (int, Meta) {
	var control [64]byte
	n, got, _, from, err := unix.Recvmsg(s.fd, buf, control[:], 0)
	if errors.Is(err, unix.EAGAIN) {
		return 0, Meta{}
	}
	if err != nil {
		t.Fatal(err)
	}
	link := from.(*unix.SockaddrLinklayer)
	m := Meta{Length: n, Protocol: link.Protocol<<8 | link.Protocol>>8, IfIndex: link.Ifindex, HaType: link.Hatype,
		PktType: link.Pkttype}
	messages, err := unix.ParseSocketControlMessage(control[:got])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range messages {
		if c.Header.Level == unix.SOL_PACKET && c.Header.Type == unix.PACKET_AUXDATA {
			if native := binary.NativeEndian; native.Uint32(c.Data)&unix.TP_STATUS_VLAN_VALID != 0 { // struct tpacket_auxdata
				m.VLAN, m.VLANTCI, m.VLANTPID = true, native.Uint16(c.Data[16:]), native.Uint16(c.Data[18:])
			}
		}
	}
	return n, m
}

// drops is how many packets did not fit the socket's buffer.
func (s tap) drops(t *testing.T) uint32 {
	stats, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		t.Fatal(err)
	}
	return stats.Drops
}

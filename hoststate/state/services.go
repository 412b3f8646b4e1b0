package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate/conntrack"
	"github.com/ringside/ringside/hoststate/network"
)

// mostOf is how many connections, and how many sockets, a snapshot has.
const mostOf = 4000

var errNoServices = errors.New("no service is watched by ports or addresses")

func sysctls(proc string) ([]section, error) {
	var lines []string
	for name, value := range network.Sysctls(proc) {
		lines = append(lines, name+" = "+value)
	}
	if lines == nil {
		return nil, fmt.Errorf("there are none in %s/sys: mount procfs there", proc)
	}
	slices.Sort(lines)
	return []section{{name: "sysctls", shown: lines}}, nil
}

// connections is what conntrack has of the services.
func connections(ctx context.Context, services []conntrack.Service) ([]section, error) {
	if len(services) == 0 {
		return nil, errNoServices
	}
	entries, total, err := conntrack.Dump(ctx, services, mostOf)
	if err != nil {
		return nil, err
	}
	s := section{name: "conntrack", total: total, compared: []string{}}
	for i := range entries {
		e := &entries[i]
		line := fmt.Sprintf("%s %s %s → %s, answers %s → %s", e.Service, e.Protocol, e.Src, e.Dst, e.ReplySrc, e.ReplyDst)
		if e.State != 0 {
			line += " " + e.State.String()
		}
		s.compared = append(s.compared, line)
		s.shown = append(s.shown, fmt.Sprintf("%s, %d s left, %s", line, e.Left, e.Status))
	}
	slices.Sort(s.shown)
	slices.Sort(s.compared)
	return []section{s}, nil
}

// sockets is the host's TCP sockets of the services (linux/inet_diag.h).
func sockets(ctx context.Context, services []conntrack.Service) ([]section, error) {
	if len(services) == 0 {
		return nil, errNoServices
	}
	s := section{name: "sockets", compared: []string{}}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		request := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		request.AddRawData(socketRequest(family))
		err := request.ExecuteIter(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY, func(msg []byte) bool {
			if k, ok := parseSocket(msg); ok && ctx.Err() == nil {
				s.take(&k, services)
			}
			return ctx.Err() == nil
		})
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // sockets that come and go meanwhile may lack
			return nil, fmt.Errorf("ask for the sockets: %w", err)
		}
	}
	slices.Sort(s.shown)
	slices.Sort(s.compared)
	return []section{s}, nil
}

// take adds a socket if it is a service's.
func (s *section) take(k *socket, services []conntrack.Service) {
	i := slices.IndexFunc(services, func(c conntrack.Service) bool { return c.Protocol != "udp" && (at(c, k.local) || at(c, k.remote)) })
	if i < 0 {
		return
	}
	if s.total++; s.total > mostOf {
		return
	}
	line := fmt.Sprintf("%s %s → %s %s", services[i].Name, k.local, k.remote, k.state())
	s.compared = append(s.compared, line)
	s.shown = append(s.shown, fmt.Sprintf("%s, receive queue %d, send queue %d, retransmitting %d (%d in all), rtt %.1f ms, rto %d ms", line,
		k.received, k.unsent, k.retransmits, k.retransmitted, float64(k.rtt)/1000, k.rto/1000))
}

// at says whether an end of a connection is a service's.
func at(c conntrack.Service, end netip.AddrPort) bool {
	if len(c.Ports) == 0 && len(c.CIDRs) == 0 {
		return false
	}
	return (len(c.Ports) == 0 || slices.ContainsFunc(c.Ports, func(r conntrack.PortRange) bool { return r.First <= end.Port() && end.Port() <= r.Last })) &&
		(len(c.CIDRs) == 0 || slices.ContainsFunc(c.CIDRs, func(p netip.Prefix) bool { return p.Contains(end.Addr()) }))
}

// socket is what the kernel tells of a TCP socket: struct inet_diag_msg, and struct tcp_info where there is one.
type socket struct {
	local, remote    netip.AddrPort
	number           uint8  // of the state
	received, unsent uint32 // bytes in the queues; of a listener: connections that wait, and how many may
	retransmits      uint8  // of what is outstanding now
	retransmitted    uint32 // segments since it was opened
	rtt, rto         uint32 // microseconds
}

const (
	requestLen = 56 // struct inet_diag_req_v2
	messageLen = 72 // struct inet_diag_msg
	infoLen    = 104
)

// socketRequest is a struct inet_diag_req_v2 for all TCP sockets of a family, with struct tcp_info.
func socketRequest(family uint8) []byte {
	b := make([]byte, requestLen)
	b[0], b[1], b[2] = family, unix.IPPROTO_TCP, 1<<(netlink.INET_DIAG_INFO-1)
	binary.NativeEndian.PutUint32(b[4:], 1<<netlink.TCP_MAX_STATES-1) // every state
	return b
}

func parseSocket(b []byte) (k socket, ok bool) {
	if len(b) < messageLen {
		return k, false
	}
	address := func(b []byte, port uint16) netip.AddrPort {
		ip := netip.AddrFrom4([4]byte(b))
		if len(b) >= 16 {
			ip = netip.AddrFrom16([16]byte(b)).Unmap()
		}
		return netip.AddrPortFrom(ip, port)
	}
	length := 4
	if b[0] == unix.AF_INET6 {
		length = 16
	}
	k.number, k.retransmits = b[1], b[3]
	k.local = address(b[8:8+length], binary.BigEndian.Uint16(b[4:]))
	k.remote = address(b[24:24+length], binary.BigEndian.Uint16(b[6:]))
	k.received, k.unsent = binary.NativeEndian.Uint32(b[56:]), binary.NativeEndian.Uint32(b[60:])
	for b = b[messageLen:]; len(b) >= unix.SizeofNlAttr; {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofNlAttr || n > len(b) {
			break
		}
		if info := b[unix.SizeofNlAttr:n]; binary.NativeEndian.Uint16(b[2:]) == netlink.INET_DIAG_INFO && len(info) >= infoLen {
			k.rto, k.rtt, k.retransmitted = binary.NativeEndian.Uint32(info[8:]), binary.NativeEndian.Uint32(info[68:]), binary.NativeEndian.Uint32(info[100:])
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return k, true
}

var stateNames = [...]string{"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK",
	"LISTEN", "CLOSING", "NEW_SYN_RECV"}

func (k *socket) state() string {
	if int(k.number) < len(stateNames) {
		return stateNames[k.number]
	}
	return fmt.Sprint("state ", k.number)
}

package netfilter

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/lab/host"
)

// Entry is a connection that a host tracks.
type Entry struct {
	Protocol uint8          // 6, 17, ...
	From, To netip.AddrPort // of its first packet
	Outside  netip.AddrPort // From as the other side sees it
	State    TCPState       // of TCP
	Left     time.Duration  // until it expires
}

// TCPState is how far connection tracking holds a TCP connection to be (nf_conntrack_tcp.h).
type TCPState uint8

const (
	TCPEstablished TCPState = 3
	TCPTimeWait    TCPState = 7
)

// Entries returns what a host tracks, of one family.
func Entries(h *host.Host, ipv6 bool) ([]Entry, error) {
	flows, err := h.Netlink().ConntrackTableList(netlink.ConntrackTable, family(ipv6))
	if err != nil {
		return nil, fmt.Errorf("read the tracked connections of %s: %w", h.Name(), err)
	}
	entries := make([]Entry, len(flows))
	for i, f := range flows {
		entries[i] = entry(f)
	}
	return entries, nil
}

func entry(f *netlink.ConntrackFlow) Entry {
	e := Entry{
		Protocol: f.Forward.Protocol, Left: time.Duration(f.TimeOut) * time.Second,
		From: addrPort(f.Forward.SrcIP, f.Forward.SrcPort), To: addrPort(f.Forward.DstIP, f.Forward.DstPort),
		Outside: addrPort(f.Reverse.DstIP, f.Reverse.DstPort),
	}
	if tcp, ok := f.ProtoInfo.(*netlink.ProtoInfoTCP); ok {
		e.State = TCPState(tcp.State)
	}
	return e
}

// Flush removes every entry of a host, as `conntrack -F` does.
func Flush(h *host.Host) error {
	if err := h.Netlink().ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		return fmt.Errorf("flush the tracked connections of %s: %w", h.Name(), err)
	}
	return nil
}

// Delete removes the entries that match, one by one, and returns how many.
func Delete(h *host.Host, ipv6 bool, match func(Entry) bool) (int, error) {
	n, err := h.Netlink().ConntrackDeleteFilters(netlink.ConntrackTable, family(ipv6), filter(match))
	if err != nil {
		return int(n), fmt.Errorf("delete tracked connections of %s: %w", h.Name(), err)
	}
	return int(n), nil
}

type filter func(Entry) bool

// MatchConntrackFlow is what the netlink library asks.
func (f filter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool { return f(entry(flow)) }

func family(ipv6 bool) netlink.InetFamily {
	if ipv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip) // an entry without an address has none
	return netip.AddrPortFrom(addr.Unmap(), port)
}

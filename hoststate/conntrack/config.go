package conntrack

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Defaults of Config.
const (
	DefaultProc   = "/proc"
	DefaultBuffer = 20 << 20 // for 32,000 events, because a flush may be faster than any reader; only taken while they wait
	DefaultDigest = 10 * time.Second
)

// Config is what a Watcher needs to know. Zero fields are defaults.
type Config struct {
	Services []Service     // the watched ones; the first that matches an entry names it
	Proc     string        // where the host's proc is mounted
	Buffer   int           // bytes that wait to be read. The kernel doubles them, and charges 1,280 an event
	Digest   time.Duration // between two dumps, at most, as long as a dump is cheap: see Watcher
}

func (c Config) withDefaults() Config {
	if c.Proc == "" {
		c.Proc = DefaultProc
	}
	if c.Buffer <= 0 {
		c.Buffer = DefaultBuffer
	}
	if c.Digest <= 0 {
		c.Digest = DefaultDigest
	}
	return c
}

// Service is what is watched: an entry belongs to it if one of its four ends has one of the ports and one of the
// addresses. A service with neither ports nor addresses has no entries.
type Service struct {
	Name     string
	Protocol string         // "tcp", "udp", or "" for both
	Ports    []PortRange    // none: any port
	CIDRs    []netip.Prefix // none: any address
}

// PortRange is an inclusive range of ports, 1 to 65535.
type PortRange struct{ First, Last uint16 }

func (s *Service) has(e *Entry) bool {
	switch {
	case e.Protocol == unix.IPPROTO_TCP && s.Protocol != "udp":
	case e.Protocol == unix.IPPROTO_UDP && s.Protocol != "tcp":
	default:
		return false
	}
	return s.at(e.Dst) || s.at(e.ReplySrc) || s.at(e.Src) || s.at(e.ReplyDst)
}

func (s *Service) at(end netip.AddrPort) bool {
	if len(s.Ports) == 0 && len(s.CIDRs) == 0 {
		return false
	}
	port := func(r PortRange) bool { return r.First <= end.Port() && end.Port() <= r.Last }
	address := func(p netip.Prefix) bool { return p.Contains(end.Addr()) }
	return (len(s.Ports) == 0 || slices.ContainsFunc(s.Ports, port)) &&
		(len(s.CIDRs) == 0 || slices.ContainsFunc(s.CIDRs, address))
}

// serviceOf sets the name of the service that e belongs to, and returns its index; "" and -1 if it is none of them.
func serviceOf(services []Service, e *Entry) int {
	for i := range services {
		if services[i].has(e) {
			e.Service = services[i].Name
			return i
		}
	}
	e.Service = ""
	return -1
}

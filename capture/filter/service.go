package filter

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
)

// Full is the Payload of a service whose packets are kept whole.
const Full = -1

// maxPayload is the largest Payload in bytes: beyond it a cut saves nothing worth a number, and Full says what is meant.
const maxPayload = 65535

// PortRange is an inclusive range of ports, 1 to 65535.
type PortRange struct{ First, Last uint16 }

// String is the port, or "first-last".
func (r PortRange) String() string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Service is one kind of traffic to record: ports with optional addresses, or a tcpdump expression. A packet belongs to
// it if its destination, or its source, has one of the ports and one of the addresses.
type Service struct {
	Name       string
	Protocol   string         // "tcp", "udp", or "" for both
	Ports      []PortRange    // of the service's side; none means any port, and then CIDRs are needed
	CIDRs      []netip.Prefix // of the service's side; none means any address
	Payload    int            // bytes kept after the headers, 0 to 65535, or Full
	Expression string         // a tcpdump expression; then Protocol, Ports and CIDRs are empty
}

// Validate returns everything that is wrong with s, each with its cure; nil if nothing is. It does not compile the
// expression: only tcpdump can judge that, and NewCompiler asks it.
func (s Service) Validate() []error {
	var problems []error
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if s.Name == "" {
		add("a service has no name: give it one, it is shown with its packets")
	} else if strings.ContainsFunc(s.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		add("service name %q has characters that do not print: use letters, digits and dashes", s.Name)
	}
	if s.Payload < Full || s.Payload > maxPayload {
		add("payload %d is out of range: write 0 to %d bytes, or full", s.Payload, maxPayload)
	}
	if s.Expression != "" {
		if s.Protocol != "" || len(s.Ports) > 0 || len(s.CIDRs) > 0 {
			add("a filter excludes protocol, ports and cidrs: write them into the expression %q", s.Expression)
		}
		if strings.ContainsRune(s.Expression, 0) {
			add("filter %q contains a zero byte: remove it", s.Expression)
		}
		return problems
	}
	if s.Protocol != "" && s.Protocol != "tcp" && s.Protocol != "udp" {
		add("protocol %q is unknown: write tcp or udp, or leave it out for both; for others use a filter expression", s.Protocol)
	}
	if len(s.Ports) == 0 && len(s.CIDRs) == 0 {
		add("neither ports nor cidrs nor a filter: say what belongs to the service, e.g. ports: [5432]")
	}
	for _, r := range s.Ports {
		if r.First == 0 || r.Last == 0 {
			add("port 0 is never used on the wire: write 1 to 65535")
		} else if r.First > r.Last {
			add("port range %d-%d is the wrong way round: write %d-%d", r.First, r.Last, r.Last, r.First)
		}
	}
	for _, p := range s.CIDRs {
		if err := validPrefix(p); err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

// validPrefix accepts what compares with the addresses of a packet as it is.
func validPrefix(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return fmt.Errorf("cidr %s is not valid: write ADDRESS/BITS, e.g. 10.0.0.0/8", p)
	case p.Addr().Is4In6() && p.Bits() >= 96:
		return fmt.Errorf("cidr %s never appears in a packet: write %s", p, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked())
	case p != p.Masked():
		return fmt.Errorf("cidr %s has bits beyond its prefix length: write %s, or %s/%d for the one address",
			p, p.Masked(), p.Addr(), p.Addr().BitLen())
	}
	return nil
}

// has says whether the IP protocol is one of the service's.
func (s Service) has(protocol byte) bool {
	return s.Protocol == "" || s.Protocol == "tcp" && protocol == protoTCP || s.Protocol == "udp" && protocol == protoUDP
}

// snap is the payload as the program adds it: bytes, or whole.
func (s Service) snap() uint32 {
	if s.Payload == Full {
		return whole
	}
	return uint32(s.Payload)
}

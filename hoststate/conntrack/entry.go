package conntrack

import (
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Entry is one connection as the kernel tracks it. Its JSON is the data of conntrack.new, conntrack.update,
// conntrack.destroy and conntrack.pickup.
type Entry struct {
	Protocol Protocol       `json:"protocol"`
	Src      netip.AddrPort `json:"src"` // who spoke first, as it addressed; ports are 0 where the protocol has none
	Dst      netip.AddrPort `json:"dst"`
	ReplySrc netip.AddrPort `json:"reply_src"` // what answers look like: not Dst and Src the other way round where NAT is done
	ReplyDst netip.AddrPort `json:"reply_dst"`
	State    State          `json:"state,omitempty"` // of TCP
	Status   Status         `json:"status"`
	Left     uint32         `json:"left_seconds"` // until it expires; 0 in the event of one that has
	Mark     uint32         `json:"mark,omitempty"`
	Zone     uint16         `json:"zone,omitempty"`
	ID       uint32         `json:"id"` // the kernel's, the same in dumps and events for as long as the entry lives
	Service  string         `json:"service,omitempty"`
}

// lossLeft is the remaining time in seconds above which the destruction of an established entry cannot be its expiry.
const lossLeft = 30

// IsFlow says whether the loss of the entry hurts: TCP, ESTABLISHED, assured, and not about to expire.
func (e *Entry) IsFlow() bool {
	return e.established() && e.Status&StatusAssured != 0 && e.Left > lossLeft
}

func (e *Entry) established() bool {
	return e.Protocol == unix.IPPROTO_TCP && e.State == StateEstablished
}

// String is such as "tcp 10.1.2.3:41822 → 10.99.0.5:5432 (ESTABLISHED)".
func (e *Entry) String() string {
	s := e.Protocol.String() + " " + e.Src.String() + " → " + e.Dst.String()
	if e.State != 0 {
		s += " (" + e.State.String() + ")"
	}
	return s
}

// Protocol is an IP protocol's number.
type Protocol uint8

// String is the protocol's name where it has a usual one, else its number.
func (p Protocol) String() string {
	switch p {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_ICMP:
		return "icmp"
	case unix.IPPROTO_ICMPV6:
		return "icmpv6"
	case unix.IPPROTO_SCTP:
		return "sctp"
	}
	return strconv.Itoa(int(p))
}

// MarshalText is String.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// State is the kernel's view of a TCP connection (enum tcp_conntrack). 0 is none: another protocol.
type State uint8

// StateEstablished is the state of a connection that both sides may use.
const StateEstablished State = 3

var stateNames = [...]string{"", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"}

// String is the name the kernel's own tools use.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return strconv.Itoa(int(s))
}

// MarshalText is String.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Status is a set of the kernel's flags of an entry (enum ip_conntrack_status).
type Status uint32

// StatusAssured is set once both sides have spoken: such an entry is not sacrificed when the table is full.
const StatusAssured Status = 1 << 2

var statusNames = [...]string{"expected", "seen-reply", "assured", "confirmed", "src-nat", "dst-nat", "seq-adjust", "src-nat-done",
	"dst-nat-done", "dying", "fixed-timeout", "template", "nat-clash", "helper", "offload", "hw-offload"}

// String is the names of the flags, with commas between.
func (s Status) String() string {
	var names []string
	for i, name := range statusNames {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// MarshalText is String.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

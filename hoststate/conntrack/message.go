package conntrack

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Message types of ctnetlink, the low byte of the header's type (enum cntl_msg_types).
const (
	ctNew      = 0
	ctGet      = 1
	ctDelete   = 2
	ctStatsCPU = 4
	ctStats    = 5
)

// Attributes (enum ctattr_type and those nested in it).
const (
	ctaTupleOrig, ctaTupleReply, ctaStatus, ctaProtoInfo    = 1, 2, 3, 4
	ctaTimeout, ctaMark, ctaID, ctaZone                     = 7, 8, 12, 18
	ctaTimestamp, ctaTimestampEvent                         = 20, 27
	ctaTupleIP, ctaTupleProto                               = 1, 2
	ctaIPv4Src, ctaIPv4Dst, ctaIPv6Src, ctaIPv6Dst          = 1, 2, 3, 4
	ctaProtoNum, ctaProtoSrcPort, ctaProtoDstPort           = 1, 2, 3
	ctaProtoInfoTCP, ctaProtoInfoTCPState, ctaTimestampStop = 1, 1, 2
)

// header is struct nlmsghdr without its length.
type header struct {
	Type, Flags uint16
	Seq, PortID uint32
}

// messages are the netlink messages of one datagram that are still to be read.
type messages []byte

// next takes off the first message. It returns false at the end, and at a message that is cut off.
func (m *messages) next() (h header, body []byte, ok bool) {
	b := *m
	if len(b) < unix.NLMSG_HDRLEN {
		return h, nil, false
	}
	n := uint64(binary.NativeEndian.Uint32(b))
	if n < unix.NLMSG_HDRLEN || n > uint64(len(b)) {
		return h, nil, false
	}
	h.Type, h.Flags = binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:])
	h.Seq, h.PortID = binary.NativeEndian.Uint32(b[8:]), binary.NativeEndian.Uint32(b[12:])
	*m = b[min((n+3)&^3, uint64(len(b))):]
	return h, b[unix.NLMSG_HDRLEN:n], true
}

// attributes are netlink attributes that are still to be read.
type attributes []byte

// next takes off the first attribute, whose value is a part of a. It returns false at the end, and at one that is cut off.
func (a *attributes) next() (kind uint16, value []byte, ok bool) {
	b := *a
	if len(b) < unix.SizeofNlAttr {
		return 0, nil, false
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < unix.SizeofNlAttr || n > len(b) {
		return 0, nil, false
	}
	kind = binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	*a = b[min((n+3)&^3, len(b)):]
	return kind, b[unix.SizeofNlAttr:n], true
}

// number reads a big-endian number of 1, 2, 4 or 8 bytes; anything else is 0.
func number(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	case 8:
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// event is one message of the kernel about an entry.
type event struct {
	Entry
	PortID uint32 // of who caused it; 0 is the kernel
	Made   bool   // the entry is new; with Gone false too, it was updated
	Gone   bool
	At     time.Time
}

// expired says whether the entry is gone because its time had come.
func (e *event) expired() bool { return e.Gone && e.PortID == 0 && e.Left == 0 }

// lost says whether a connection in use is gone.
func (e *event) lost() bool { return e.Gone && e.IsFlow() }

// pickedUp says whether the kernel made the entry from the middle of a connection: until such an entry has seen both
// sides it is not assured and has the unacknowledged time-out, 300 s by default.
func (e *event) pickedUp() bool {
	return e.Made && e.PortID == 0 && e.established() && e.Status&StatusAssured == 0
}

// parse reads a message that h is the header of into e, and returns false if it is none about an entry. now is used
// where the kernel does not stamp its events (net.netfilter.nf_conntrack_timestamp). Attributes that are unknown or cut
// off are skipped. It does not allocate and keeps nothing of body.
func (e *event) parse(h header, body []byte, now time.Time) bool {
	*e = event{PortID: h.PortID, At: now}
	if h.Type>>8 != unix.NFNL_SUBSYS_CTNETLINK || len(body) < nfgenLen {
		return false
	}
	switch h.Type & 0xff {
	case ctNew:
		e.Made = h.Flags&(unix.NLM_F_CREATE|unix.NLM_F_EXCL) != 0
	case ctDelete:
		e.Gone = true
	default:
		return false
	}
	for a := attributes(body[nfgenLen:]); ; {
		kind, v, ok := a.next()
		if !ok {
			return e.Src.IsValid()
		}
		switch kind {
		case ctaTupleOrig:
			e.Protocol, e.Src, e.Dst = parseTuple(v)
		case ctaTupleReply:
			_, e.ReplySrc, e.ReplyDst = parseTuple(v)
		case ctaStatus:
			e.Status = Status(number(v))
		case ctaProtoInfo:
			e.State = parseState(v)
		case ctaTimeout:
			e.Left = uint32(number(v))
		case ctaMark:
			e.Mark = uint32(number(v))
		case ctaID:
			e.ID = uint32(number(v))
		case ctaZone:
			e.Zone = uint16(number(v))
		case ctaTimestamp:
			e.stamp(find(v, ctaTimestampStop))
		case ctaTimestampEvent:
			e.stamp(v)
		}
	}
}

// stamp takes the kernel's time in ns, unless it is absurd.
func (e *event) stamp(v []byte) {
	if at := time.Unix(0, int64(number(v))); len(v) == 8 && e.At.Sub(at).Abs() < time.Hour {
		e.At = at
	}
}

// find returns the value of the first attribute of that kind, nil if there is none.
func find(b []byte, want uint16) []byte {
	for a := attributes(b); ; {
		kind, v, ok := a.next()
		if !ok {
			return nil
		}
		if kind == want {
			return v
		}
	}
}

func parseState(b []byte) State {
	return State(number(find(find(b, ctaProtoInfoTCP), ctaProtoInfoTCPState)))
}

func parseTuple(b []byte) (protocol Protocol, src, dst netip.AddrPort) {
	var from, to netip.Addr
	for a := attributes(find(b, ctaTupleIP)); ; {
		kind, v, ok := a.next()
		if !ok {
			break
		}
		address, _ := netip.AddrFromSlice(v)
		switch kind {
		case ctaIPv4Src, ctaIPv6Src:
			from = address
		case ctaIPv4Dst, ctaIPv6Dst:
			to = address
		}
	}
	var sport, dport uint16
	for a := attributes(find(b, ctaTupleProto)); ; {
		kind, v, ok := a.next()
		if !ok {
			break
		}
		switch kind {
		case ctaProtoNum:
			protocol = Protocol(number(v))
		case ctaProtoSrcPort:
			sport = uint16(number(v))
		case ctaProtoDstPort:
			dport = uint16(number(v))
		}
	}
	return protocol, netip.AddrPortFrom(from, sport), netip.AddrPortFrom(to, dport)
}

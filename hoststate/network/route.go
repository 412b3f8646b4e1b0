package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// Route is a route, and the data of route.add and route.remove.
type Route struct {
	Family   string `json:"family"`         // ip, ip6
	Type     string `json:"type,omitempty"` // such as local or blackhole; "" is unicast
	To       string `json:"to"`             // a prefix, or default
	From     string `json:"from,omitempty"` // IPv6 only: a prefix of sources
	Table    string `json:"table"`          // main, local, default, or its number
	Protocol string `json:"protocol"`       // who made it, by its own word: kernel, dhcp, static, ...
	Scope    string `json:"scope,omitempty"`
	Source   string `json:"source,omitempty"` // preferred source address
	Metric   uint32 `json:"metric,omitempty"`
	TOS      uint8  `json:"tos,omitempty"`
	Hops     []Hop  `json:"hops,omitempty"`
	More     string `json:"more,omitempty"` // what else tells it from others, such as mtu 1400
}

// Hop is where a route sends packets.
type Hop struct {
	Via    string `json:"via,omitempty"` // the gateway
	Dev    string `json:"dev,omitempty"`
	Index  int    `json:"index,omitempty"`  // of Dev
	Weight int    `json:"weight,omitempty"` // of several hops
}

const (
	sizeofRtNexthop = 8
	rtaEncap        = 22 // RTA_ENCAP and others of linux/rtnetlink.h
	rtaNextHopID    = 30
)

// parseRoute reads RTM_NEWROUTE and RTM_DELROUTE (linux/rtnetlink.h). Cached copies are no routes.
func parseRoute(b []byte, names names) (o object, ok bool) {
	if len(b) < unix.SizeofRtMsg || (b[0] != unix.AF_INET && b[0] != unix.AF_INET6) ||
		binary.NativeEndian.Uint32(b[8:])&unix.RTM_F_CLONED != 0 {
		return o, false
	}
	family, bits, sourceBits := b[0], int(b[1]), int(b[2])
	r := &Route{Family: familyName(family), TOS: b[3], Protocol: protocolName(b[5]), Type: typeName(b[7])}
	if family == unix.AF_INET {
		r.Scope = scopeName(b[6])
	}
	table := uint32(b[4])
	r.To = "default"
	var hop Hop
	for kind, v := range attributes(b[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_DST:
			r.To = prefix(v, bits)
		case unix.RTA_SRC:
			r.From = prefix(v, sourceBits)
		case unix.RTA_TABLE:
			table = u32(v)
		case unix.RTA_PRIORITY:
			r.Metric = u32(v)
		case unix.RTA_PREFSRC:
			r.Source = address(v)
		case unix.RTA_MULTIPATH:
			r.Hops = parseHops(v, names)
		case unix.RTA_METRICS:
			r.More += metrics(v)
		case unix.RTA_ENCAP_TYPE:
			r.More += fmt.Sprintf(" encap-type %d", binary.NativeEndian.Uint16(append(v[:len(v):len(v)], 0, 0)))
		case rtaEncap:
			r.More += fmt.Sprintf(" encap %x", v)
		case rtaNextHopID:
			r.More += fmt.Sprintf(" nhid %d", u32(v))
		default:
			hop.take(kind, v, names)
		}
	}
	if len(r.Hops) == 0 && hop != (Hop{}) {
		r.Hops = []Hop{hop}
	}
	r.Table, r.More = tableName(table), strings.TrimSpace(r.More)
	o = object{
		class: routes, family: family, subject: r.Table, data: r,
		slot:  fmt.Sprintf("%s %s %s %s %d %d", r.Family, r.Table, r.To, r.From, r.TOS, r.Metric),
		ident: r.line(func(h Hop) string { return fmt.Sprintf("#%d", h.Index) }),
		text:  r.String(),
		own:   b[5] == unix.RTPROT_KERNEL,
	}
	for _, h := range r.Hops {
		if h.Index != 0 {
			o.links = append(o.links, h.Index)
		}
	}
	return o, true
}

// take reads an attribute that routes and their hops share.
func (h *Hop) take(kind uint16, v []byte, names names) {
	switch kind {
	case unix.RTA_OIF:
		h.Index = int(u32(v))
		h.Dev = names.of(h.Index)
	case unix.RTA_GATEWAY:
		h.Via = address(v)
	case unix.RTA_VIA: // a gateway of another family: struct rtvia
		if len(v) > 2 {
			h.Via = address(v[2:])
		}
	}
}

// parseHops reads the struct rtnexthop of a route over several ways.
func parseHops(b []byte, names names) (hops []Hop) {
	for len(b) >= sizeofRtNexthop {
		n := int(binary.NativeEndian.Uint16(b))
		if n < sizeofRtNexthop || n > len(b) {
			break
		}
		h := Hop{Weight: int(b[3]) + 1, Index: int(u32(b[4:]))}
		h.Dev = names.of(h.Index)
		for kind, v := range attributes(b[sizeofRtNexthop:n]) {
			h.take(kind, v, names)
		}
		hops = append(hops, h)
		b = b[min(align(n), len(b)):]
	}
	return hops
}

func (r *Route) String() string { return r.line(func(h Hop) string { return h.Dev }) }

// line is the route as a line: "default via 10.0.0.1 dev eth0 table main proto dhcp scope global src 10.0.0.5 metric 100".
func (r *Route) line(dev func(Hop) string) string {
	var s strings.Builder
	add := func(word, value string) {
		if value != "" {
			s.WriteString(" " + word + " " + value)
		}
	}
	s.WriteString(strings.TrimPrefix(r.Type+" "+r.To, " "))
	if r.To == "default" && r.Family == "ip6" {
		s.WriteString(" (ip6)")
	}
	add("from", r.From)
	for _, h := range r.Hops {
		if len(r.Hops) > 1 {
			s.WriteString(" nexthop")
		}
		add("via", h.Via)
		if h.Index != 0 {
			add("dev", dev(h))
		}
		if len(r.Hops) > 1 {
			add("weight", fmt.Sprint(h.Weight))
		}
	}
	add("table", r.Table)
	add("proto", r.Protocol)
	add("scope", r.Scope)
	add("src", r.Source)
	if r.Metric != 0 {
		add("metric", fmt.Sprint(r.Metric))
	}
	if r.TOS != 0 {
		add("tos", fmt.Sprintf("%#x", r.TOS))
	}
	if r.More != "" {
		s.WriteString(" " + r.More)
	}
	return s.String()
}

// isDefault says whether the route makes uplinks of its interfaces.
func (r *Route) isDefault() bool { return r.To == "default" && r.Type == "" }

// metrics names what the route sets for connections (RTAX_ of linux/rtnetlink.h), as " mtu 1400".
func metrics(b []byte) (s string) {
	known := map[uint16]string{2: "mtu", 3: "window", 4: "rtt", 8: "advmss", 11: "initcwnd", 13: "rto-min", 14: "initrwnd"}
	for kind, v := range attributes(b) {
		if name := known[kind]; name != "" && u32(v) != 0 {
			s += fmt.Sprintf(" %s %d", name, u32(v))
		}
	}
	return s
}

func address(b []byte) string {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return ""
	}
	return a.String()
}

func prefix(b []byte, bits int) string {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return "?"
	}
	if bits == a.BitLen() {
		return a.String()
	}
	return netip.PrefixFrom(a, bits).String()
}

func familyName(f uint8) string {
	if f == unix.AF_INET6 {
		return "ip6"
	}
	return "ip"
}

func tableName(t uint32) string {
	switch t {
	case unix.RT_TABLE_MAIN:
		return "main"
	case unix.RT_TABLE_LOCAL:
		return "local"
	case unix.RT_TABLE_DEFAULT:
		return "default"
	}
	return fmt.Sprint(t)
}

func protocolName(p uint8) string {
	switch p {
	case unix.RTPROT_REDIRECT:
		return "redirect"
	case unix.RTPROT_KERNEL:
		return "kernel"
	case unix.RTPROT_BOOT:
		return "boot"
	case unix.RTPROT_STATIC:
		return "static"
	case unix.RTPROT_RA:
		return "ra"
	case unix.RTPROT_BIRD:
		return "bird"
	case unix.RTPROT_DHCP:
		return "dhcp"
	case unix.RTPROT_BGP:
		return "bgp"
	}
	return fmt.Sprint(p)
}

func typeName(t uint8) string {
	switch t {
	case unix.RTN_UNICAST:
		return ""
	case unix.RTN_LOCAL:
		return "local"
	case unix.RTN_BROADCAST:
		return "broadcast"
	case unix.RTN_ANYCAST:
		return "anycast"
	case unix.RTN_MULTICAST:
		return "multicast"
	case unix.RTN_BLACKHOLE:
		return "blackhole"
	case unix.RTN_UNREACHABLE:
		return "unreachable"
	case unix.RTN_PROHIBIT:
		return "prohibit"
	case unix.RTN_THROW:
		return "throw"
	}
	return fmt.Sprintf("type-%d", t)
}

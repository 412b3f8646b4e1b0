package network

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Rule is a routing policy rule, and the data of rule.add and rule.remove.
type Rule struct {
	Family   string `json:"family"` // ip, ip6
	Priority uint32 `json:"priority"`
	Match    string `json:"match"`  // such as "from 10.0.0.0/8 fwmark 0x80/0x80 iif eth0"
	Action   string `json:"action"` // such as "lookup 100" or blackhole
}

// parseRule reads RTM_NEWRULE and RTM_DELRULE (linux/fib_rules.h).
func parseRule(b []byte, _ names) (o object, ok bool) {
	const size = 12 // struct fib_rule_hdr
	if len(b) < size || (b[0] != unix.AF_INET && b[0] != unix.AF_INET6) {
		return o, false
	}
	toBits, fromBits, tos, table, action, flags := int(b[1]), int(b[2]), b[3], uint32(b[4]), b[7], binary.NativeEndian.Uint32(b[8:])
	r := &Rule{Family: familyName(b[0])}
	from, to, mark, mask, target := "all", "", uint32(0), uint32(0), uint32(0)
	var more strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&more, " "+format, args...) }
	for kind, v := range attributes(b[size:]) {
		switch kind {
		case unix.FRA_PRIORITY:
			r.Priority = u32(v)
		case unix.FRA_SRC:
			from = prefix(v, fromBits)
		case unix.FRA_DST:
			to = " to " + prefix(v, toBits)
		case unix.FRA_FWMARK:
			mark = u32(v)
		case unix.FRA_FWMASK:
			mask = u32(v)
		case unix.FRA_TABLE:
			table = u32(v)
		case unix.FRA_GOTO:
			target = u32(v)
		case unix.FRA_IIFNAME:
			add("iif %s", text(v))
		case unix.FRA_OIFNAME:
			add("oif %s", text(v))
		case unix.FRA_L3MDEV:
			if len(v) > 0 && v[0] != 0 {
				add("l3mdev")
			}
		case unix.FRA_TUN_ID:
			add("tun-id %x", v)
		case unix.FRA_UID_RANGE:
			if len(v) >= 8 {
				add("uidrange %d-%d", u32(v), u32(v[4:]))
			}
		case unix.FRA_IP_PROTO:
			if len(v) > 0 {
				add("ipproto %d", v[0])
			}
		case unix.FRA_SPORT_RANGE:
			add("sport %s", ports(v))
		case unix.FRA_DPORT_RANGE:
			add("dport %s", ports(v))
		case unix.FRA_SUPPRESS_PREFIXLEN:
			if n := int32(u32(v)); n >= 0 {
				add("suppress-prefixlength %d", n)
			}
		case unix.FRA_SUPPRESS_IFGROUP:
			if n := int32(u32(v)); n >= 0 {
				add("suppress-ifgroup %d", n)
			}
		}
	}
	if tos != 0 {
		add("tos %#x", tos)
	}
	switch {
	case mark == 0 && mask == 0:
	case mask == 0xffffffff:
		add("fwmark %#x", mark)
	default:
		add("fwmark %#x/%#x", mark, mask)
	}
	r.Match = "from " + from + to + more.String()
	if flags&unix.FIB_RULE_INVERT != 0 {
		r.Match = "not " + r.Match
	}
	switch action {
	case unix.FR_ACT_TO_TBL:
		r.Action = "lookup " + tableName(table)
	case unix.FR_ACT_GOTO:
		r.Action = fmt.Sprintf("goto %d", target)
	case unix.FR_ACT_NOP:
		r.Action = "nop"
	default:
		r.Action = typeName(action)
	}
	return object{
		class: rules, family: b[0], subject: fmt.Sprint(r.Priority), data: r,
		slot: r.String(), ident: r.String(), text: r.String(),
	}, true
}

// String is the rule as a line: "ip 100: from 10.0.0.0/8 lookup 100".
func (r *Rule) String() string {
	return fmt.Sprintf("%s %d: %s %s", r.Family, r.Priority, r.Match, r.Action)
}

func ports(b []byte) string {
	if len(b) < 4 {
		return "?"
	}
	from, to := binary.NativeEndian.Uint16(b), binary.NativeEndian.Uint16(b[2:])
	if from == to {
		return fmt.Sprint(from)
	}
	return fmt.Sprintf("%d-%d", from, to)
}

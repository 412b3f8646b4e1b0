package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// renderer writes the expressions of a rule on a line, much as nft does: what it knows of them, and else their names. It shows what a
// rule is about; that two rules are the same only their hashes say.
type renderer struct {
	s    strings.Builder
	regs map[uint32]loaded // by number of the 32-bit register
}

// loaded is what a register has.
type loaded struct {
	name  string // such as ip saddr, or the value of an immediate
	as    form
	words uint32
}

// form is how a value is written.
type form int

const (
	asHex form = iota
	asName
	asAddress
	asPort
	asProtocol
	asNumber // of the host's byte order
	asState  // of connection tracking
)

// render returns the line of a rule whose expressions are in b, of at most so many bytes.
func render(b []byte, limit int) string {
	r := renderer{regs: map[uint32]loaded{}}
	for name, data := range expressions(b) {
		if r.s.Len() > limit {
			return r.s.String()[:limit] + "..."
		}
		r.expression(name, data)
	}
	return strings.TrimSpace(r.s.String())
}

func (r *renderer) word(format string, args ...any) { fmt.Fprintf(&r.s, format+" ", args...) }

func (r *renderer) expression(name string, data []byte) {
	a := attributeMap(data)
	switch name {
	case "meta":
		r.move(a, unix.NFTA_META_DREG, unix.NFTA_META_SREG, loadOf(metaKeys, "meta", be32(a[unix.NFTA_META_KEY])))
	case "ct":
		r.move(a, unix.NFTA_CT_DREG, unix.NFTA_CT_SREG, loadOf(ctKeys, "ct", be32(a[unix.NFTA_CT_KEY])))
	case "payload":
		r.move(a, unix.NFTA_PAYLOAD_DREG, unix.NFTA_PAYLOAD_SREG, payload(a))
	case "bitwise":
		from := r.get(a[unix.NFTA_BITWISE_SREG])
		if from.as != asState {
			from.name += fmt.Sprintf(" & %#x", value(a[unix.NFTA_BITWISE_MASK]))
		} else {
			from.name += " & " + from.format(value(a[unix.NFTA_BITWISE_MASK]))
		}
		r.set(a[unix.NFTA_BITWISE_DREG], from)
	case "cmp":
		l := r.get(a[unix.NFTA_CMP_SREG])
		op := []string{"==", "!=", "<", "<=", ">", ">="}[be32(a[unix.NFTA_CMP_OP])%6]
		r.word("%s %s %s", l.name, op, l.format(value(a[unix.NFTA_CMP_DATA])))
		clear(r.regs)
	case "lookup":
		not := ""
		if be32(a[unix.NFTA_LOOKUP_FLAGS])&1 != 0 {
			not = "!= "
		}
		r.word("%s %s@%s", r.joined(a[unix.NFTA_LOOKUP_SREG]), not, text(a[unix.NFTA_LOOKUP_SET]))
		clear(r.regs)
		if to, ok := a[unix.NFTA_LOOKUP_DREG]; ok {
			r.set(to, loaded{name: "@" + text(a[unix.NFTA_LOOKUP_SET])})
		}
	case "immediate":
		r.immediate(a)
	case "nat":
		kind := "snat"
		if be32(a[unix.NFTA_NAT_TYPE]) == 1 {
			kind = "dnat"
		}
		r.word("%s to %s%s", kind, r.nat(a, unix.NFTA_NAT_REG_ADDR_MIN, unix.NFTA_NAT_REG_PROTO_MIN), natFlags(a[unix.NFTA_NAT_FLAGS]))
	case "masq":
		r.word("masquerade%s", natFlags(a[unix.NFTA_MASQ_FLAGS]))
	case "redir":
		r.word("redirect to %s%s", r.nat(a, 0, unix.NFTA_REDIR_REG_PROTO_MIN), natFlags(a[unix.NFTA_REDIR_FLAGS]))
	case "log":
		r.word("log prefix %q", text(a[unix.NFTA_LOG_PREFIX]))
	case "limit":
		r.word("limit %d/%ds", be64(a[unix.NFTA_LIMIT_RATE]), be64(a[unix.NFTA_LIMIT_UNIT]))
	case "match", "target": // of xtables, through iptables-nft: the numbers are the same for both
		info := ""
		if text(a[unix.NFTA_MATCH_NAME]) == "comment" {
			info = fmt.Sprintf(" %q", text(a[unix.NFTA_MATCH_INFO]))
		}
		r.word("xt %s %s%s", name, text(a[unix.NFTA_MATCH_NAME]), info)
	default:
		r.word("%s", name)
	}
}

// move loads a register, or writes what it has to where the name says.
func (r *renderer) move(a map[uint16][]byte, to, from uint16, l loaded) {
	if reg, ok := a[to]; ok {
		r.set(reg, l)
	} else {
		r.word("%s set %s", l.name, r.get(a[from]).name)
	}
}

func (r *renderer) immediate(a map[uint16][]byte) {
	data := attributeMap(a[unix.NFTA_IMMEDIATE_DATA])
	v, ok := data[unix.NFTA_DATA_VERDICT]
	if !ok {
		r.set(a[unix.NFTA_IMMEDIATE_DREG], loaded{name: fmt.Sprintf("%#x", data[unix.NFTA_DATA_VALUE]), words: words(data[unix.NFTA_DATA_VALUE])})
		return
	}
	verdict := attributeMap(v)
	switch code := int32(be32(verdict[unix.NFTA_VERDICT_CODE])); code {
	case 0:
		r.word("drop")
	case 1:
		r.word("accept")
	case unix.NFT_JUMP:
		r.word("jump %s", text(verdict[unix.NFTA_VERDICT_CHAIN]))
	case unix.NFT_GOTO:
		r.word("goto %s", text(verdict[unix.NFTA_VERDICT_CHAIN]))
	case unix.NFT_RETURN:
		r.word("return")
	default:
		r.word("verdict %d", code)
	}
}

// nat is what packets are translated to: an address and a port, where the registers have them.
func (r *renderer) nat(a map[uint16][]byte, addr, port uint16) string {
	s := ""
	if reg, ok := a[addr]; ok {
		s = natValue(r.get(reg).name, asAddress)
	}
	if reg, ok := a[port]; ok {
		s += ":" + natValue(r.get(reg).name, asPort)
	}
	return s
}

// natValue writes an immediate as what nat takes it for.
func natValue(hex string, as form) string {
	var b []byte
	if _, err := fmt.Sscanf(hex, "0x%x", &b); err != nil {
		return hex
	}
	if as == asPort && len(b) > 2 {
		b = b[:2]
	}
	return loaded{as: as}.format(b)
}

func natFlags(b []byte) (s string) {
	for _, f := range []struct {
		bit  uint32
		name string
	}{{1 << 2, " random"}, {1 << 4, " fully-random"}, {1 << 3, " persistent"}} {
		if be32(b)&f.bit != 0 {
			s += f.name
		}
	}
	return s
}

func (r *renderer) get(reg []byte) loaded {
	if l, ok := r.regs[register(reg)]; ok {
		return l
	}
	return loaded{name: fmt.Sprintf("reg %d", be32(reg))}
}

func (r *renderer) set(reg []byte, l loaded) { r.regs[register(reg)] = l }

// joined is what a register and those behind it have.
func (r *renderer) joined(reg []byte) string {
	l := r.get(reg)
	s, next := l.name, register(reg)+l.words
	for l.words > 0 {
		var ok bool
		if l, ok = r.regs[next]; !ok {
			break
		}
		s += " . " + l.name
		next += l.words
	}
	return s
}

// register counts in words: the old registers 1 to 4 are four words each.
func register(b []byte) uint32 {
	if n := be32(b); n >= unix.NFT_REG_1 && n <= unix.NFT_REG_4 {
		return unix.NFT_REG32_00 + (n-1)*4
	} else {
		return n
	}
}

// format writes a value that is compared with what was loaded.
func (l loaded) format(b []byte) string {
	switch {
	case l.as == asName:
		return text(b)
	case l.as == asAddress && (len(b) == 4 || len(b) == 16):
		a, _ := netip.AddrFromSlice(b)
		return a.String()
	case l.as == asPort && len(b) == 2:
		return fmt.Sprint(binary.BigEndian.Uint16(b))
	case l.as == asProtocol && len(b) == 1:
		if name := map[byte]string{1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}[b[0]]; name != "" {
			return name
		}
		return fmt.Sprint(b[0])
	case l.as == asNumber && len(b) == 4:
		return fmt.Sprintf("%#x", u32(b))
	case l.as == asState && len(b) == 4 && u32(b) != 0:
		var s []string
		for i, name := range []string{"invalid", "established", "related", "new", "", "", "untracked"} {
			if u32(b)&(1<<i) != 0 {
				s = append(s, name)
			}
		}
		return strings.Join(s, ",")
	}
	return fmt.Sprintf("%#x", b)
}

var metaKeys = map[uint32]loaded{
	unix.NFT_META_MARK: {"meta mark", asNumber, 1}, unix.NFT_META_IIF: {"iif", asNumber, 1}, unix.NFT_META_OIF: {"oif", asNumber, 1},
	unix.NFT_META_IIFNAME: {"iifname", asName, 4}, unix.NFT_META_OIFNAME: {"oifname", asName, 4},
	unix.NFT_META_NFPROTO: {"nfproto", asHex, 1}, unix.NFT_META_L4PROTO: {"l4proto", asProtocol, 1}, unix.NFT_META_SKUID: {"skuid", asNumber, 1},
}

var ctKeys = map[uint32]loaded{
	unix.NFT_CT_STATE: {"ct state", asState, 1}, unix.NFT_CT_MARK: {"ct mark", asNumber, 1}, unix.NFT_CT_STATUS: {"ct status", asNumber, 1},
	unix.NFT_CT_ZONE: {"ct zone", asHex, 1}, unix.NFT_CT_DIRECTION: {"ct direction", asHex, 1},
}

func loadOf(known map[uint32]loaded, what string, key uint32) loaded {
	if l, ok := known[key]; ok {
		return l
	}
	return loaded{fmt.Sprintf("%s key %d", what, key), asHex, 1}
}

// payload names the usual fields of a packet.
func payload(a map[uint16][]byte) loaded {
	base, offset, n := be32(a[unix.NFTA_PAYLOAD_BASE]), be32(a[unix.NFTA_PAYLOAD_OFFSET]), be32(a[unix.NFTA_PAYLOAD_LEN])
	type field struct{ base, offset, n uint32 }
	l, ok := map[field]loaded{
		{unix.NFT_PAYLOAD_NETWORK_HEADER, 9, 1}:   {"ip protocol", asProtocol, 1},
		{unix.NFT_PAYLOAD_NETWORK_HEADER, 12, 4}:  {"ip saddr", asAddress, 1},
		{unix.NFT_PAYLOAD_NETWORK_HEADER, 16, 4}:  {"ip daddr", asAddress, 1},
		{unix.NFT_PAYLOAD_NETWORK_HEADER, 6, 1}:   {"ip6 nexthdr", asProtocol, 1},
		{unix.NFT_PAYLOAD_NETWORK_HEADER, 8, 16}:  {"ip6 saddr", asAddress, 4},
		{unix.NFT_PAYLOAD_NETWORK_HEADER, 24, 16}: {"ip6 daddr", asAddress, 4},
		{unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2}: {"sport", asPort, 1},
		{unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2}: {"dport", asPort, 1},
	}[field{base, offset, n}]
	if ok {
		return l
	}
	bases := []string{"link", "network", "transport", "inner", "tunnel"}
	return loaded{fmt.Sprintf("@%s,%d,%d", bases[base%5], offset, n), asHex, max(1, (min(n, 64)+3)/4)}
}

// value is the bytes of an nft_data.
func value(b []byte) []byte { return attributeMap(b)[unix.NFTA_DATA_VALUE] }

func words(b []byte) uint32 { return uint32(len(b)+3) / 4 }

package filter

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// References are tcpdump expressions that say what a service keeps, spelling out what pcap's words leave out: later
// fragments, quotes, and ports behind the generated chains of extension headers. Each stands for untagged frames (and
// those whose tag the kernel stripped); tagged makes those for tags.

// reference returns terms, any of which accepts.
func reference(s Service) []string {
	if s.Expression != "" {
		return []string{s.Expression}
	}
	var terms []string
	for _, p := range []byte{protoTCP, protoUDP} {
		if !s.has(p) {
			continue
		}
		if covers(s, false) {
			terms = append(terms, direct4(s, p), later4(s, p), quoted4(s, p), quotedLater4(s, p))
		}
		if !covers(s, true) {
			continue
		}
		for _, chain := range shapes {
			terms = append(terms, walk6(s, p, chain, 0)...)
		}
		for _, outer := range quotingShapes {
			is, next, at := follow(outer, 0, nil)
			is = append(is, fmt.Sprintf("ip6[%d]=58 and ip6[%d]>=1 and ip6[%d]<=4", next, at, at))
			for _, chain := range quotedShapes {
				for _, t := range walk6(s, p, chain, at+8) {
					terms = append(terms, strings.Join(is, " and ")+" and "+t)
				}
			}
		}
	}
	return terms
}

// tagged returns the expressions for no, one and two tags in the data.
func tagged(s Service, term string) []string {
	if s.Expression != "" {
		return []string{term} // as pcap reads it
	}
	return []string{term, "vlan and (" + term + ")", "vlan and vlan and (" + term + ")"}
}

func covers(s Service, v6 bool) bool {
	if len(s.CIDRs) == 0 {
		return true
	}
	for _, p := range s.CIDRs {
		if p.Addr().Is6() == v6 {
			return true
		}
	}
	return false
}

var protocolNames = map[byte]string{protoTCP: "tcp", protoUDP: "udp"}

func direct4(s Service, p byte) string {
	name := protocolNames[p]
	side := func(side string) string {
		all := []string{fmt.Sprintf("%s[2:2]+1 > 0", name)} // there are ports, whatever they are
		var ports []string
		for _, r := range s.Ports {
			ports = append(ports, fmt.Sprintf("%s %s portrange %d-%d", name, side, r.First, r.Last))
		}
		all = append(all, anyOf(ports), nets(s, false, side))
		return allOf(all)
	}
	return fmt.Sprintf("ip and %s and (%s or %s)", name, side("dst"), side("src"))
}

func later4(s Service, p byte) string {
	return allOf([]string{
		fmt.Sprintf("ip[9]=%d and ip[6:2]&0x1fff != 0 and ip[19]+1 > 0", p),
		anyOf([]string{nets(s, false, "dst"), nets(s, false, "src")}),
	})
}

func nets(s Service, v6 bool, side string) string {
	var all []string
	for _, p := range s.CIDRs {
		if p.Addr().Is6() != v6 {
			continue
		}
		if p.Bits() == 0 {
			return ""
		}
		all = append(all, fmt.Sprintf("%s net %v", side, p))
	}
	return anyOf(all)
}

const quotesPacket = "(icmp[0]=3 or icmp[0]=4 or icmp[0]=5 or icmp[0]=11 or icmp[0]=12)"

func quoted4(s Service, p byte) string {
	side := func(addr, port int) string {
		value := fmt.Sprintf("icmp[%d+((icmp[8]&0xf)<<2):2]", 8+port)
		return allOf([]string{portsAt(s, value), addressAt(s, false, "icmp", 8+addr)})
	}
	return fmt.Sprintf("%s and icmp[17]=%d and icmp[14:2]&0x1fff = 0 and icmp[27]+1 > 0 and icmp[10+((icmp[8]&0xf)<<2):2]+1 > 0 and (%s or %s)",
		quotesPacket, p, side(16, 2), side(12, 0))
}

func quotedLater4(s Service, p byte) string {
	return allOf([]string{
		fmt.Sprintf("%s and icmp[17]=%d and icmp[14:2]&0x1fff != 0 and icmp[27]+1 > 0", quotesPacket, p),
		anyOf([]string{addressAt(s, false, "icmp", 8+16), addressAt(s, false, "icmp", 8+12)}),
	})
}

// follow returns the terms that hold for a chain in the IPv6 header at base, where the type of what follows it stands,
// and where that begins.
func follow(chain []extension, base int, is []string) (terms []string, next, at int) {
	next, at = base+6, base+40
	for _, e := range chain {
		is = append(is, fmt.Sprintf("ip6[%d]=%d", next, e.kind))
		switch e.kind {
		case extFrag:
			is = append(is, fmt.Sprintf("ip6[%d:2]&0xfff8=0", at+2))
		case extAuth:
			is = append(is, fmt.Sprintf("ip6[%d]=%d", at+1, e.size/4-2))
		default:
			is = append(is, fmt.Sprintf("ip6[%d]=%d", at+1, e.size/8-1))
		}
		next, at = at, at+e.size
	}
	return is, next, at
}

// walk6 returns the term for a packet behind a chain, and if the chain has a fragment header that for later fragments.
func walk6(s Service, p byte, chain []extension, base int) []string {
	is, next, at := follow(chain, base, []string{"ip6"})
	side := func(addr, port int) string {
		return allOf([]string{portsAt(s, fmt.Sprintf("ip6[%d:2]", at+port)), addressAt(s, true, "ip6", base+addr)})
	}
	terms := []string{fmt.Sprintf("%s and ip6[%d]=%d and ip6[%d:2]+1 > 0 and (%s or %s)",
		strings.Join(is, " and "), next, p, at+2, side(24, 2), side(8, 0))}
	for i, e := range chain {
		if e.kind != extFrag {
			continue
		}
		is, next, at := follow(chain[:i], base, []string{"ip6"})
		terms = append(terms, allOf([]string{
			fmt.Sprintf("%s and ip6[%d]=44 and ip6[%d:2]&0xfff8 != 0 and ip6[%d]=%d", strings.Join(is, " and "), next, at+2, at, p),
			anyOf([]string{addressAt(s, true, "ip6", base+24), addressAt(s, true, "ip6", base+8)}),
		}))
	}
	return terms
}

func portsAt(s Service, value string) string {
	var all []string
	for _, r := range s.Ports {
		if r.First == r.Last {
			all = append(all, fmt.Sprintf("%s=%d", value, r.First))
		} else {
			all = append(all, fmt.Sprintf("(%s>=%d and %s<=%d)", value, r.First, value, r.Last))
		}
	}
	return anyOf(all)
}

// addressAt compares the address at an offset of a protocol with the service's.
func addressAt(s Service, v6 bool, in string, at int) string {
	var all []string
	for _, p := range s.CIDRs {
		if p.Addr().Is6() != v6 {
			continue
		}
		if p.Bits() == 0 {
			return ""
		}
		all = append(all, prefixAt(p, in, at))
	}
	return anyOf(all)
}

func prefixAt(p netip.Prefix, in string, at int) string {
	var words []string
	for bits, b := p.Bits(), p.Addr().AsSlice(); bits > 0; bits, b, at = bits-32, b[4:], at+4 {
		value := fmt.Sprintf("%s[%d:4]", in, at)
		if bits < 32 {
			value += fmt.Sprintf("&%#x", ^uint32(0)<<(32-bits))
		}
		words = append(words, fmt.Sprintf("%s=%#x", value, binary.BigEndian.Uint32(b)))
	}
	return allOf(words)
}

// anyOf and allOf leave out empty terms, which accept everything: anyOf then is empty too.
func anyOf(terms []string) string {
	for _, t := range terms {
		if t == "" {
			return ""
		}
	}
	if len(terms) == 0 {
		return ""
	}
	return "(" + strings.Join(terms, " or ") + ")"
}

func allOf(terms []string) string {
	var all []string
	for _, t := range terms {
		if t != "" {
			all = append(all, t)
		}
	}
	if len(all) == 0 {
		return "len > 0"
	}
	return "(" + strings.Join(all, " and ") + ")"
}

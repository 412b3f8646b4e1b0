package counters

import (
	"fmt"
	"sort"
	"strings"
)

// wanted is which columns of which group of the kernel's files are read, by the group's name there. doc.go says why these.
var wanted = map[string]*group{
	"Ip":    columns("ip", "InHdrErrors InAddrErrors InUnknownProtos InDiscards OutDiscards OutNoRoutes ReasmFails FragFails"),
	"Icmp":  columns("icmp", "InErrors InDestUnreachs InTimeExcds InRedirects OutErrors OutDestUnreachs OutTimeExcds OutRedirects"),
	"Tcp":   columns("tcp", "ActiveOpens PassiveOpens AttemptFails EstabResets RetransSegs InErrs OutRsts InCsumErrors"),
	"Udp":   columns("udp", "NoPorts InErrors RcvbufErrors SndbufErrors InCsumErrors MemErrors"),
	"IpExt": columns("ipext", "InNoRoutes InTruncatedPkts InCsumErrors ReasmOverlaps"),
	"TcpExt": columns("tcpext", "SyncookiesSent SyncookiesFailed EmbryonicRsts PruneCalled RcvPruned OfoPruned OutOfWindowIcmps LockDroppedIcmps "+
		"PAWSActive PAWSEstab BeyondWindow TSEcrRejected ListenOverflows ListenDrops TCPLostRetransmit TCPFastRetrans TCPTimeouts TCPLossProbes "+
		"TCPSpuriousRTOs TCPAbortOnData TCPAbortOnClose TCPAbortOnMemory TCPAbortOnTimeout TCPAbortOnLinger TCPAbortFailed TCPMemoryPressures "+
		"TCPBacklogDrop PFMemallocDrop TCPMinTTLDrop TCPDeferAcceptDrop IPReversePathFilter TCPTimeWaitOverflow TCPReqQFullDoCookies "+
		"TCPReqQFullDrop TCPRetransFail TCPOFODrop TCPChallengeACK TCPSYNChallenge TCPToZeroWindowAdv TCPSynRetrans TCPZeroWindowDrop "+
		"TCPRcvQDrop TCPWqueueTooBig"),
	"Ip6": columns("ip6", "InHdrErrors InTooBigErrors InNoRoutes InAddrErrors InUnknownProtos InTruncatedPkts InDiscards OutDiscards "+
		"OutNoRoutes ReasmFails FragFails"),
	"Icmp6": columns("icmp6", "InErrors InDestUnreachs InPktTooBigs InTimeExcds InRedirects OutErrors OutDestUnreachs OutPktTooBigs OutTimeExcds"),
	"Udp6":  columns("udp6", "NoPorts InErrors RcvbufErrors SndbufErrors InCsumErrors MemErrors"),

	"conntrack": columns("conntrack", "invalid insert_failed drop early_drop icmp_error clashres search_restart chainlength"),
}

// softnet and device are columns of files without usable headers, by their place from 0; "" is not read.
var (
	softnet = []string{"softnet.processed", "softnet.dropped", "softnet.time_squeeze", 10: "softnet.flow_limit"}
	device  = []string{1: "rx_packets", 2: "rx_errors", 3: "rx_drops", 9: "tx_packets", 10: "tx_errors", 11: "tx_drops"}
)

// allowances are ena's statistics that are told.
var allowances = []string{
	"bw_in_allowance_exceeded", "bw_out_allowance_exceeded", "pps_allowance_exceeded", "conntrack_allowance_exceeded", "linklocal_allowance_exceeded",
}

const available = "conntrack_allowance_available"

// group is columns of one header: the kernel's names and ours.
type group struct {
	prefix string
	names  map[string]string
}

func columns(prefix, list string) *group {
	g := &group{prefix: prefix, names: map[string]string{}}
	for _, name := range strings.Fields(list) {
		g.names[name] = prefix + "." + name
	}
	return g
}

// volume says whether a counter is of what always flows. Such are not in the sentence.
func volume(name string) bool {
	for _, end := range []string{"_packets", "softnet.processed", "Opens"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// mostSaid is how many counters a sentence names.
const mostSaid = 6

// sentence says what matters of the changes, such as "conntrack: 1204 entries, invalid +12; tcp: RetransSegs +40".
func sentence(told map[string]uint64) string {
	var names []string
	for name := range told {
		if !volume(name) && !strings.HasPrefix(name, "disk.") {
			names = append(names, name)
		}
	}
	sort.Slice(names, func(i, j int) bool { return before(names[i], names[j]) })
	var b strings.Builder
	last := ""
	for n, name := range names {
		if n == mostSaid {
			fmt.Fprintf(&b, "; and %d more", len(names)-n)
			break
		}
		at := strings.LastIndexByte(name, '.')
		group, rest := name[:at], name[at+1:]
		switch {
		case group != last && last != "":
			b.WriteString("; " + group + ": ")
		case group != last:
			b.WriteString(group + ": ")
		default:
			b.WriteString(", ")
		}
		last = group
		switch {
		case name == entries:
			fmt.Fprintf(&b, "%d entries", told[name])
		case isValue(name):
			fmt.Fprintf(&b, "%s %d", rest, told[name])
		default:
			fmt.Fprintf(&b, "%s +%d", rest, told[name])
		}
	}
	if b.Len() == 0 {
		return "only packets were counted"
	}
	return b.String()
}

// before orders what a sentence says: conntrack first and its entries at its head, pressure last.
func before(a, b string) bool {
	rank := func(name string) int {
		switch {
		case name == entries:
			return 0
		case strings.HasPrefix(name, "conntrack."):
			return 1
		case strings.HasPrefix(name, "psi."):
			return 3
		}
		return 2
	}
	if x, y := rank(a), rank(b); x != y {
		return x < y
	}
	return a < b
}

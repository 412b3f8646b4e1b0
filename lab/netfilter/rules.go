package netfilter

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/ringside/ringside/lab/host"
)

// Rules is the rule set of a host for one family of addresses. What no rule says passes.
type Rules struct {
	Track   bool // connections are tracked, also where nothing else needs it
	NAT     []NAT
	Arrive  []Match // what arrives on any link, before its way is looked up
	Forward []Match // what passes through
	Input   []Match // what is for the host itself
}

// NAT translates the source address of what leaves.
type NAT struct {
	From  netip.Prefix
	Out   string     // the link
	To    netip.Addr // zero: that of the link, and an entry ends when the link loses it (masquerade)
	Ports Ports
}

// Ports is which source port a translated connection gets.
type Ports int

const (
	KeepPorts   Ports = iota // its own, if that is free
	RandomPorts              // any (--random)
	FullyRandom              // any, from the kernel's random numbers (--random-fully)
)

// Match is a rule. A zero field matches everything.
type Match struct {
	In, Out             string // links
	Source, Destination netip.Prefix
	Protocol            uint8 // 6, 17, ...
	SourcePort          uint16
	Port                uint16 // of the destination; needs Protocol
	Opening             bool   // TCP segments with SYN and without ACK alone
	State               State
	Chance              float64 // above 0 and below 1: only so many of those that match otherwise, at random
	Do                  Verdict
}

// State is what connection tracking makes of a packet.
type State uint32

const (
	AnyState    State = 0
	Invalid     State = State(expr.CtStateBitINVALID)
	Established State = State(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	New         State = State(expr.CtStateBitNEW)
)

// Verdict is what becomes of a packet.
type Verdict int

const (
	Accept   Verdict = iota
	Drop             // silently
	Prohibit         // answered by ICMP, administratively prohibited
	Reset            // answered by RST; TCP alone
)

const table = "lab"

// Apply replaces the rules of a host that Apply made before, in one transaction. Rules without anything remove the table.
func Apply(h *host.Host, r Rules, ipv6 bool) error {
	conn, err := nftables.New(nftables.WithNetNSFd(h.NetNS()))
	if err != nil {
		return fmt.Errorf("rules of %s: %w", h.Name(), err)
	}
	b := builder{conn: conn, layout: ipv4}
	t := &nftables.Table{Name: table, Family: nftables.TableFamilyIPv4}
	if ipv6 {
		b.layout, t.Family = ipv6Layout, nftables.TableFamilyIPv6
	}
	conn.AddTable(t) // so that there is one to delete
	conn.DelTable(t)
	if !r.empty() {
		b.table = conn.AddTable(t)
		b.build(r)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("rules of %s: %w (the kernel needs nf_tables, nft_ct, nft_masq, nft_nat and nft_reject)", h.Name(), err)
	}
	return nil
}

func (r Rules) empty() bool {
	return !r.Track && len(r.NAT)+len(r.Arrive)+len(r.Forward)+len(r.Input) == 0
}

// builder adds to a transaction.
type builder struct {
	conn   *nftables.Conn
	table  *nftables.Table
	layout layout
}

func (b *builder) build(r Rules) {
	if len(r.NAT) > 0 {
		c := b.chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
		for _, n := range r.NAT {
			b.rule(c, b.nat(n))
		}
	}
	b.matches("prerouting", nftables.ChainHookPrerouting, nftables.ChainPriorityRaw, r.Arrive)
	forward := slices.Clone(r.Forward)
	if r.Track {
		forward = append(forward, Match{State: Established, Do: Accept}) // whoever asks for a state has connections tracked
	}
	b.matches("forward", nftables.ChainHookForward, nftables.ChainPriorityFilter, forward)
	b.matches("input", nftables.ChainHookInput, nftables.ChainPriorityFilter, r.Input)
}

func (b *builder) chain(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
	return b.conn.AddChain(&nftables.Chain{Name: name, Table: b.table, Type: kind, Hooknum: hook, Priority: priority})
}

func (b *builder) matches(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority, list []Match) {
	if len(list) == 0 {
		return
	}
	c := b.chain(name, nftables.ChainTypeFilter, hook, priority)
	for _, m := range list {
		b.rule(c, b.match(m))
	}
}

func (b *builder) rule(c *nftables.Chain, exprs []expr.Any) {
	b.conn.AddRule(&nftables.Rule{Table: b.table, Chain: c, Exprs: exprs})
}

package network

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

// nft is a connection that keeps its socket.
func nft(t testing.TB) *nftables.Conn {
	t.Helper()
	c, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error { return c.SetReadBuffer(8 << 20) }))
	must(t, err)
	t.Cleanup(func() {
		c.CloseLasting()
		c, err := nftables.New()
		must(t, err)
		c.FlushRuleset()
		must(t, c.Flush())
	})
	return c
}

// natTable makes a table with a chain for source NAT, in a transaction of the caller's.
func natTable(c *nftables.Conn, name string) (*nftables.Table, *nftables.Chain) {
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: name})
	return table, c.AddChain(&nftables.Chain{Name: "POSTROUTING", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
}

// masquerade is a rule that masquerades what leaves by an interface.
func masquerade(table *nftables.Table, chain *nftables.Chain, iface string) *nftables.Rule {
	return &nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: append([]byte(iface), make([]byte, 16-len(iface))...)},
		&expr.Counter{},
		&expr.Masq{Random: true},
	}}
}

// snat translates a pod's connections to PostgreSQL to an address, as AWS's CNI plug-in does.
func snat(table *nftables.Table, chain *nftables.Chain, to string) *nftables.Rule {
	return &nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: net.ParseIP("10.20.1.11").To4()},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, 5432)},
		&expr.Immediate{Register: 1, Data: net.ParseIP(to).To4()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, FullyRandom: true},
	}}
}

// invalid drops what connection tracking cannot place.
func invalid(table *nftables.Table, chain *nftables.Chain) *nftables.Rule {
	return &nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, 1), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}}
}

// watchingRules starts a RulesetWatcher and returns when it sees.
func watchingRules(t testing.TB, c *nftables.Conn) *memory {
	t.Helper()
	m := &memory{}
	w := NewRuleset(Config{})
	w.readEvery = 10 * time.Millisecond
	run(t, w, m)
	await(t, "the watcher to see", func() bool {
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "mark"})
		c.DelTable(table)
		must(t, c.Flush())
		return len(m.of("ruleset.change")) > 0
	})
	awaitEnd(t, m)
	m.clear()
	return m
}

// awaitEnd waits until everything is told that was done before, and returns what was told.
func awaitEnd(t testing.TB, m *memory) (all []RulesetChange) {
	t.Helper()
	s, err := open(unix.NETLINK_NETFILTER, 1<<16)
	must(t, err)
	defer s.close()
	id, err := generation(t.Context(), s)
	must(t, err)
	await(t, fmt.Sprint("the end of generation ", id), func() bool {
		all = changes(t, m)
		return len(all) > 0 && all[len(all)-1].Phase == "end" && int32(all[len(all)-1].To-id) >= 0
	})
	return all
}

func changes(t testing.TB, m *memory) (all []RulesetChange) {
	t.Helper()
	for _, e := range m.of("ruleset.change") {
		var d RulesetChange
		must(t, json.Unmarshal(e.Data, &d))
		all = append(all, d)
	}
	return all
}

func TestRulesetChange(t *testing.T) {
	needNamespace(t)
	c := nft(t)
	m := watchingRules(t, c)
	table, chain := natTable(c, "nat")
	c.AddRule(masquerade(table, chain, "eth0"))
	c.AddRule(masquerade(table, chain, "eth1"))
	must(t, c.Flush())
	all := awaitEnd(t, m)
	if len(all) != 2 || all[0].Phase != "begin" || all[0].From+1 != all[0].To || all[1].From != all[0].From || all[1].To != all[0].To {
		t.Fatalf("told %+v, want begin and end of one generation", all)
	}
	end := all[1]
	if end.Added != 2 || end.Removed != 0 || end.Rules != 2 || len(end.Chains) != 1 || end.Chains[0].Chain != "ip nat POSTROUTING" ||
		strings.Join(end.Chains[0].Plus, "; ") != "oifname == eth0 counter masquerade random; oifname == eth1 counter masquerade random" ||
		!strings.HasPrefix(end.Chains[0].After, "type nat hook postrouting priority 100 policy accept, 2 rules ") {
		t.Errorf("the end is %+v", end)
	}
	for _, e := range m.of("ruleset.change") {
		isMe(t, e.By)
	}
	last := m.of("ruleset.change")[1]
	if want := fmt.Sprintf("the rule set went from generation %d to %d by %s: 2 rules were added to and 0 removed from ip nat POSTROUTING",
		end.From, end.To, last.By); last.Text != want || last.Subject != "ip nat" {
		t.Errorf("it reads %q of %s, want %q", last.Text, last.Subject, want)
	}

	// The same rules again are a generation, and no difference.
	m.clear()
	c.FlushTable(table)
	c.AddRule(masquerade(table, chain, "eth0"))
	c.AddRule(masquerade(table, chain, "eth1"))
	must(t, c.Flush())
	end = awaitEnd(t, m)[1]
	if end.Before != end.After || len(end.Chains) != 0 {
		t.Errorf("a reload without a change is told as %+v", end)
	}

	// Rules in another order, and one with another set.
	m.clear()
	set := &nftables.Set{Table: table, Name: "peers", KeyType: nftables.TypeIPAddr}
	must(t, c.AddSet(set, []nftables.SetElement{{Key: []byte{10, 0, 0, 1}}, {Key: []byte{10, 0, 0, 2}}}))
	c.FlushChain(chain)
	c.AddRule(masquerade(table, chain, "eth1"))
	c.AddRule(masquerade(table, chain, "eth0"))
	must(t, c.Flush())
	end = awaitEnd(t, m)[1]
	if len(end.Chains) != 1 || !end.Chains[0].Reordered || len(end.Sets) != 1 || end.Sets[0].Set != "ip nat peers" ||
		!strings.Contains(end.Sets[0].After, ", 2 elements ") {
		t.Errorf("told %+v", end)
	}
	m.clear()
	must(t, c.SetDeleteElements(set, []nftables.SetElement{{Key: []byte{10, 0, 0, 1}}}))
	must(t, c.Flush())
	if end = awaitEnd(t, m)[1]; len(end.Sets) != 1 || !strings.Contains(end.Sets[0].After, ", 1 elements ") || len(end.Chains) != 0 {
		t.Errorf("told %+v", end)
	}
	m.clear()
	c.FlushRuleset()
	must(t, c.Flush())
	if end = awaitEnd(t, m)[1]; end.Removed != 2 || end.Rules != 0 || end.Chains[0].After != "" || len(end.Chains[0].Minus) != 2 {
		t.Errorf("told %+v", end)
	}
}

// Without CAP_NET_ADMIN the watcher says what is missing.
func TestRulesetWithoutPermission(t *testing.T) {
	needNamespace(t)
	const child = "RINGSIDE_TEST_POWERLESS"
	if os.Getenv(child) == "" {
		powerless(t, child)
		return
	}
	err := NewRuleset(Config{}).Run(t.Context(), &memory{})
	want := &hoststate.Unavailable{Why: "no permission to read the nftables rule set", Cure: "give the process CAP_NET_ADMIN"}
	if got, ok := err.(*hoststate.Unavailable); !ok || *got != *want {
		t.Errorf("it ends with %v, want %v", err, want)
	}
	if _, err := Read(t.Context()); err != nil {
		t.Errorf("rtnetlink needs no capability: %v", err)
	}
}

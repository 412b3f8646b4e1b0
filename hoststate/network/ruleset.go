package network

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// Ruleset is what nftables has: chains with their rules, and sets with their elements. iptables-nft is a part of it, iptables-legacy is
// not. What changes by traffic is left out: counters, quotas, and the elements of sets that packets fill or time empties.
type Ruleset struct {
	Generation uint32 // of the rule set, as the kernel counts transactions
	Rules      int
	Torn       bool // it changed each time it was read: parts are from different generations

	chains map[string]*chain // by family, table and name
	sets   map[string]*set
	texts  int // bytes of the rules' texts
}

// chain is a chain of rules.
type chain struct {
	head   string // its hook, priority and policy
	hashes []uint64
	texts  []string // of as many rules, from the first, as maxText has room for
}

const (
	maxText     = 4 << 20 // bytes of rules' texts that a Ruleset holds
	maxRuleText = 1 << 10 // bytes of one
	maxElements = 1 << 20 // that are read of all sets
)

// ReadRuleset reads the rule set of the network namespace that the calling thread is in. It returns *hoststate.Unavailable without
// CAP_NET_ADMIN, or where the kernel has no nf_tables. It ends with ctx, when the kernel is silent for 10 s, or
// when a part takes more than a minute. 50,000
// rules take about a second of a processor, most of it the kernel's, and some 5 MiB.
func ReadRuleset(ctx context.Context) (*Ruleset, error) {
	s, err := open(unix.NETLINK_NETFILTER, 1<<20)
	if err != nil {
		return nil, cannotRead(err)
	}
	defer s.close()
	var r *Ruleset
	for range 4 {
		before, err := generation(ctx, s)
		if err != nil {
			return nil, cannotRead(err)
		}
		r = &Ruleset{Generation: before, chains: map[string]*chain{}, sets: map[string]*set{}}
		if err := r.read(ctx, s); err != nil && !errors.Is(err, errInterrupted) {
			return nil, cannotRead(err)
		}
		after, err := generation(ctx, s)
		if err != nil {
			return nil, cannotRead(err)
		}
		if before == after {
			return r, nil
		}
	}
	r.Torn = true
	return r, nil
}

func (r *Ruleset) read(ctx context.Context, s *socket) error {
	err := s.dump(ctx, nfTables|unix.NFT_MSG_GETCHAIN, nfgenmsg(unix.AF_UNSPEC), func(_ header, b []byte) { r.addChain(b) })
	if err == nil {
		err = s.dump(ctx, nfTables|unix.NFT_MSG_GETRULE, nfgenmsg(unix.AF_UNSPEC), func(_ header, b []byte) { r.addRule(b) })
	}
	if err == nil {
		err = s.dump(ctx, nfTables|unix.NFT_MSG_GETSET, nfgenmsg(unix.AF_UNSPEC), func(_ header, b []byte) { r.addSet(b) })
	}
	left := maxElements
	for _, name := range slices.Sorted(maps.Keys(r.sets)) {
		t := r.sets[name]
		if err != nil || t.moving || left <= 0 {
			continue
		}
		request := attribute(attribute(nfgenmsg(t.family), unix.NFTA_SET_ELEM_LIST_TABLE, t.table), unix.NFTA_SET_ELEM_LIST_SET, t.name)
		err = s.dump(ctx, nfTables|unix.NFT_MSG_GETSETELEM, request, func(_ header, b []byte) { t.addElements(b) })
		if left -= t.elements; errors.Is(err, unix.ENOENT) { // it is gone again
			err = errInterrupted
		}
	}
	return err
}

func (r *Ruleset) addChain(b []byte) {
	if len(b) < 4 {
		return
	}
	a := attributeMap(b[4:])
	c := &chain{}
	if hook, ok := a[unix.NFTA_CHAIN_HOOK]; ok {
		h := attributeMap(hook)
		c.head = fmt.Sprintf("type %s hook %s priority %d policy %s", text(a[unix.NFTA_CHAIN_TYPE]),
			hookName(b[0], be32(h[unix.NFTA_HOOK_HOOKNUM])), int32(be32(h[unix.NFTA_HOOK_PRIORITY])),
			map[uint32]string{0: "drop", 1: "accept"}[be32(a[unix.NFTA_CHAIN_POLICY])])
	}
	r.chains[key(b[0], a[unix.NFTA_CHAIN_TABLE], a[unix.NFTA_CHAIN_NAME])] = c
}

func (r *Ruleset) addRule(b []byte) {
	if len(b) < 4 {
		return
	}
	a := attributeMap(b[4:])
	c := r.chains[key(b[0], a[unix.NFTA_RULE_TABLE], a[unix.NFTA_RULE_CHAIN])]
	if c == nil {
		return
	}
	r.Rules++
	c.hashes = append(c.hashes, hashRule(a))
	if r.texts < maxText && len(c.texts) == len(c.hashes)-1 {
		t := render(a[unix.NFTA_RULE_EXPRESSIONS], maxRuleText)
		if comment := comment(a[unix.NFTA_RULE_USERDATA]); comment != "" {
			t += fmt.Sprintf(" comment %q", comment)
		}
		c.texts = append(c.texts, t)
		r.texts += len(t)
	}
}

// hashRule is the same for rules that do the same.
func hashRule(a map[uint16][]byte) uint64 {
	h := fnv.New64a()
	for name, data := range expressions(a[unix.NFTA_RULE_EXPRESSIONS]) {
		h.Write([]byte(name))
		h.Write([]byte{0})
		switch name {
		case "counter", "last", "connlimit":
		case "quota":
			h.Write(attributeMap(data)[unix.NFTA_QUOTA_BYTES])
		default:
			h.Write(data)
		}
	}
	h.Write(a[unix.NFTA_RULE_USERDATA])
	return h.Sum64()
}

// expressions walks a rule's expressions: name and data.
func expressions(b []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, e := range attributes(b) {
			var name string
			var data []byte
			for kind, v := range attributes(e) {
				switch kind {
				case unix.NFTA_EXPR_NAME:
					name = text(v)
				case unix.NFTA_EXPR_DATA:
					data = v
				}
			}
			if name != "" && !yield(name, data) {
				return
			}
		}
	}
}

// comment finds the comment among the pieces of a rule's user data: type 0 (a byte), length (a byte), string.
func comment(b []byte) string {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		if b[0] == 0 {
			return text(b[2 : 2+b[1]])
		}
		b = b[2+int(b[1]):]
	}
	return ""
}

// Digest is the same for rule sets with the same chains, rules in the same order, and sets. It is 16 hexadecimal digits.
func (r *Ruleset) Digest() string {
	h := sha256.New()
	for _, l := range r.Lines() {
		h.Write([]byte(l + "\n"))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Lines has a line for each chain and set, in order: "ip nat POSTROUTING: type nat hook postrouting priority 100 policy accept, 12 rules 3f0a9d...".
func (r *Ruleset) Lines() []string {
	all := make([]string, 0, len(r.chains)+len(r.sets))
	for name, c := range r.chains {
		all = append(all, name+": "+c.String())
	}
	for name, s := range r.sets {
		all = append(all, name+": "+s.String())
	}
	slices.Sort(all)
	return all
}

// Text has the rules themselves, as lines "ip nat POSTROUTING: oifname == eth0 masquerade": chains in order of their
// names, rules in their own. It ends with a line that says so if 4 MiB had no room for all.
func (r *Ruleset) Text() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.chains)) {
		for _, t := range r.chains[name].texts {
			all = append(all, name+": "+t)
		}
	}
	if left := r.Rules - len(all); left > 0 {
		all = append(all, fmt.Sprintf("... %d more rules are left out", left))
	}
	return all
}

func (c *chain) String() string {
	s := fmt.Sprintf("%d rules %016x", len(c.hashes), c.hash())
	if c.head != "" {
		return c.head + ", " + s
	}
	return s
}

func (c *chain) hash() uint64 {
	h := fnv.New64a()
	for _, r := range c.hashes {
		binary.Write(h, binary.BigEndian, r)
	}
	return h.Sum64()
}

// key names what a table has: "ip nat POSTROUTING".
func key(family uint8, table, name []byte) string {
	f, ok := map[uint8]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6",
		unix.NFPROTO_ARP: "arp", unix.NFPROTO_BRIDGE: "bridge", unix.NFPROTO_NETDEV: "netdev"}[family]
	if !ok {
		f = fmt.Sprint("family-", family)
	}
	return f + " " + text(table) + " " + text(name)
}

func hookName(family uint8, n uint32) string {
	hooks := []string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}
	if family == unix.NFPROTO_NETDEV {
		hooks = []string{"ingress", "egress"}
	}
	if int(n) < len(hooks) {
		return hooks[n]
	}
	return fmt.Sprint(n)
}

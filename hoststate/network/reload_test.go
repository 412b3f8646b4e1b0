package network

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/ringside/ringside/hoststate"
)

// Reloads in a row: every generation is accounted for, nothing grows, and what is known at last is what there is.
func TestReloads(t *testing.T) {
	needNamespace(t)
	c := nft(t)
	m := watchingRules(t, c)
	reload := func(i int) {
		c.FlushRuleset()
		table, chain := natTable(c, "nat")
		for r := range 5 {
			c.AddRule(masquerade(table, chain, fmt.Sprintf("eth%d-%d", i%7, r)))
		}
		must(t, c.Flush())
	}
	for i := range 20 {
		reload(i)
	}
	from := awaitEnd(t, m)
	m.clear()
	heap, goroutines := heapNow(), runtime.NumGoroutine()
	const n = 1000
	for i := range n {
		if reload(i); i%250 == 100 {
			awaitEnd(t, m)
		}
	}
	all := awaitEnd(t, m)
	last, generations, ends := from[len(from)-1], 0, 0
	for _, d := range all {
		if d.Phase == "end" {
			if d.From != last.To || d.Before != last.After {
				t.Fatalf("%+v does not follow %+v", d, last)
			}
			last = d
			generations += d.Generations
			ends++
			if len(d.By) != 1 || d.By[0].Generations != d.Generations {
				t.Errorf("by %+v, want this process alone", d.By)
			}
		}
	}
	if generations != n || int(last.To-from[len(from)-1].To) != n {
		t.Errorf("%d generations are told, up to %d more, want %d", generations, last.To-from[len(from)-1].To, n)
	}
	r, err := ReadRuleset(t.Context())
	must(t, err)
	if r.Digest() != last.After || r.Generation != last.To || r.Rules != last.Rules || r.Rules != 5 {
		t.Errorf("the last digest is %s of generation %d, but there is %s of %d", last.After, last.To, r.Digest(), r.Generation)
	}
	m.clear()
	grown := heapNow() - heap
	t.Logf("%d reloads: %d events, of them %d ends; %d KiB more heap, %d goroutines more", n, len(all), ends, grown>>10, runtime.NumGoroutine()-goroutines)
	if grown > 1<<20 || runtime.NumGoroutine() > goroutines || len(all) > n {
		t.Errorf("%d events, %d bytes, %d goroutines more", len(all), grown, runtime.NumGoroutine()-goroutines)
	}
}

// A large rule set is read within bounds of memory, and of one rule more in so many exactly that is told.
func TestLargeRuleset(t *testing.T) {
	needNamespace(t)
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	const n = 50_000
	c := nft(t)
	table, chain := natTable(c, "nat")
	for i := range n {
		c.AddRule(masquerade(table, chain, fmt.Sprintf("eth%d", i)))
		if i%250 == 249 {
			must(t, c.Flush())
		}
	}
	heap := heapNow()
	began := time.Now()
	r, err := ReadRuleset(t.Context())
	must(t, err)
	took, used := time.Since(began), heapNow()-heap
	text := r.Text()
	t.Logf("%d rules: read in %v, %d KiB of heap, %d lines of text", n, took, used>>10, len(text))
	if r.Rules != n || len(r.Lines()) != 1 || used > 12<<20 {
		t.Errorf("%d rules in %d chains, want %d; %d bytes", r.Rules, len(r.Lines()), n, used)
	}
	c.InsertRule(masquerade(table, chain, "first"))
	must(t, c.Flush())
	now, err := ReadRuleset(t.Context())
	must(t, err)
	var d RulesetChange
	d.difference(r, now)
	if d.Added != 1 || d.Removed != 0 || len(d.Chains) != 1 || strings.Join(d.Chains[0].Plus, "") != "oifname == first counter masquerade random" ||
		d.Before != r.Digest() || d.After != now.Digest() || d.Before == d.After {
		t.Errorf("one rule more is told as %+v", d)
	}
}

func TestRender(t *testing.T) {
	needNamespace(t)
	c := nft(t)
	table, chain := natTable(c, "nat")
	must(t, c.Flush())
	for _, e := range []struct {
		rule *nftables.Rule
		want string
	}{
		{snat(table, chain, "10.20.0.10"), "ip saddr == 10.20.1.11 l4proto == tcp dport == 5432 snat to 10.20.0.10 fully-random"},
		{invalid(table, chain), "ct state & invalid != 0x00000000 drop"},
		{masquerade(table, chain, "eth0"), "oifname == eth0 counter masquerade random"},
	} {
		c.FlushChain(chain)
		c.AddRule(e.rule)
		must(t, c.Flush())
		r, err := ReadRuleset(t.Context())
		must(t, err)
		if got := strings.Join(r.Text(), "\n"); got != "ip nat POSTROUTING: "+e.want {
			t.Errorf("it reads %q, want %q", got, e.want)
		}
	}
}

func TestLegacyTables(t *testing.T) {
	proc := t.TempDir()
	must(t, os.Mkdir(filepath.Join(proc, "net"), 0o755))
	names := func(file, content string) {
		must(t, os.WriteFile(filepath.Join(proc, "net", file), []byte(content), 0o644))
	}
	m := &memory{}
	f := &rulesetFollower{proc: proc, out: m}
	f.lookAtLegacy(time.Unix(1, 0))
	if len(m.events) != 0 || len(m.blind) != 0 {
		t.Errorf("without tables it tells %v, blind %q", m.events, m.blind)
	}
	names("ip_tables_names", "filter\nnat\n")
	names("ip6_tables_names", "filter\n")
	f.lookAtLegacy(time.Unix(2, 0))
	f.lookAtLegacy(time.Unix(3, 0))
	want := hoststate.Event{Kind: "ruleset.change", Subject: "iptables-legacy", Before: "", After: "ip filter, ip nat, ip6 filter"}
	if len(m.events) != 1 || m.events[0].Kind != want.Kind || m.events[0].Subject != want.Subject || m.events[0].After != want.After {
		t.Errorf("told %+v, want %+v", m.events, want)
	}
	if len(m.blind) != 1 || !strings.Contains(m.blind[0], "ip filter, ip nat, ip6 filter") {
		t.Errorf("blind: %q", m.blind)
	}
	names("ip_tables_names", "")
	names("ip6_tables_names", "")
	f.lookAtLegacy(time.Unix(4, 0))
	if len(m.events) != 2 || len(m.blind) != 0 {
		t.Errorf("told %+v, blind %q", m.events, m.blind)
	}
}

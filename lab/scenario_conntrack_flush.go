package lab

import (
	"context"
	"fmt"
	"os/exec"

	"github.com/ringside/ringside/lab/netfilter"
)

// Variants of conntrack-flush.
const (
	flushRandom   = "random-ports"
	flushKeep     = "port-keeping"
	flushDropped  = "strict-dropped"
	flushLeaked   = "strict-leaked"
	flushRejected = "strict-rejected"
	flushOlder    = "older"
	flushExternal = "external"
	flushNoNAT    = "no-nat"
)

func conntrackFlush() Scenario {
	return Scenario{
		Name:  "conntrack-flush",
		Class: "conntrack-loss",
		Title: "a program flushes the node's connection tracking",
		What: "Every entry is destroyed in one burst, and the kernel names the netlink socket that did it. Where ports are random, connections whose client " +
			"speaks first go on from another port, mid-stream, and the server answers RST; where the server speaks first, the node itself answers RST, and " +
			"the client waits until it gives up. New connections work.",
		Variants: []Variant{
			{Name: flushRandom, What: "translation picks random ports: connections go on from another port and are reset"},
			{Name: flushKeep, What: "translation keeps ports: only connections whose server speaks first are lost"},
			{Name: flushDropped, What: "`nf_conntrack_tcp_loose=0` and INVALID dropped: segments enter the node and never leave"},
			{Name: flushLeaked, What: "`nf_conntrack_tcp_loose=0` and no rule for INVALID: segments leave with the pod's address"},
			{Name: flushRejected, What: "`nf_conntrack_tcp_loose=0` and INVALID rejected: pods get an RST that no server sent"},
			{Name: flushOlder, What: "the connections are older than the recorder: the kernel tells of no entry, only the table shows it"},
			{Name: flushExternal, What: "`conntrack -F` does it, a program that is gone at once"},
			{Name: flushNoNAT, Class: "none", What: "pods' addresses are not translated: the state is lost, and nobody is hurt"},
		},
		Needs:  needsProgram,
		Setup:  setupFlush,
		Fault:  flush,
		Expect: expectFlush,
	}
}

func setupFlush(u *Setup) {
	u.notices("conntrack.burst")
	if u.NAT == MasqueradeKeep || u.NAT == NoNAT {
		u.NAT = MasqueradeRandom
	}
	switch u.Variant {
	case flushKeep:
		u.NAT = MasqueradeKeep
	case flushDropped:
		u.Loose, u.Forward = false, []netfilter.Match{{State: netfilter.Invalid, Do: netfilter.Drop}}
	case flushLeaked:
		u.Loose = false
	case flushRejected:
		u.Loose, u.Forward = false, []netfilter.Match{{State: netfilter.Invalid, Do: netfilter.Reset}}
	case flushOlder:
		u.Older = true
		u.notices("conntrack.drop")
	case flushNoNAT:
		u.NAT = NoNAT
	}
}

func flush(_ context.Context, l *Lab) error {
	if l.Setup.Variant != flushExternal {
		l.Begin("every entry of the node's connection tracking is flushed")
		return netfilter.Flush(l.Node)
	}
	l.Begin("conntrack -F flushes the node's connection tracking")
	_, err := l.Node.Run("conntrack", "-F")
	return err
}

func needsProgram(variant string) error {
	if variant != flushExternal {
		return nil
	}
	if _, err := exec.LookPath("conntrack"); err != nil {
		return fmt.Errorf("%w: install conntrack", err)
	}
	return nil
}

func expectFlush(s *Seen) []Expectation {
	e := []Expectation{newConnectionsWork(s)}
	if s.Variant == flushOlder {
		e = append(e, s.expectDrop())
	} else {
		e = append(e, s.expectBurst("userspace"))
	}
	e = append(e, s.expectOwnTrigger(s.Rules[0]))
	if s.Variant != flushOlder && s.Variant != flushExternal {
		e = append(e, s.expectCause(self()))
	}
	switch s.Variant {
	case flushKeep:
		e = append(e, s.expectSpared(), s.expectNodeResets(), s.expectMuteClients(), s.expectNoMigration())
	case flushDropped:
		e = append(e, s.expectVanished(), s.expectMuteClients())
	case flushLeaked:
		e = append(e, s.expectLeak(false))
	case flushRejected:
		e = append(e, s.expectLocalResets())
	case flushNoNAT:
		e = append(e, s.expectNoImpact(), s.expectNoMigration())
	default:
		e = append(e, s.expectMigration(), s.expectServerResets(), s.expectNodeResets(), s.expectMuteClients())
	}
	return e
}

package evidence

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/hoststate"
)

// TestTimeline is how what the host did changes what packets alone would say.
func TestTimeline(t *testing.T) {
	migrated := finding(detect.ConntrackLoss, "port-migration", 0.9, flows(4, "orders-db", detect.Reset))
	idle := finding(detect.ConntrackExpiry, "idle-migration", 0.9, flows(4, "orders-db", detect.Reset))
	blind := timeline()
	blind.Coverage.Timeline.Complete = false
	restarted := finding(detect.ServerRestart, "known-reset", 0.9, flows(4, "orders-db", detect.Reset))
	gone := finding(detect.PodGone, "orphans", 0.9, flows(4, "orders-db", detect.Hung))
	gone.First = after(-500)
	for i := range gone.Flows {
		gone.Flows[i].First = after(-500)
	}
	for _, c := range []struct {
		name   string
		found  []detect.Finding
		facts  Facts
		class  detect.Class
		sure   [2]float64 // from, to
		lost   bool
		cause  string
		kinds  []string // of the chain
		adding string   // the rule of a finding that the judge made
	}{
		{"packets alone", []detect.Finding{migrated}, Facts{}, detect.ConntrackLoss, [2]float64{0.9, 0.9}, true, "", nil, ""},
		{"a burst by userspace", []detect.Finding{migrated}, timeline(burst(conntrack, migrated.Flows)...), detect.ConntrackLoss, [2]float64{0.99, 1}, true,
			"conntrack (pid 29531) destroyed it", []string{"conntrack.burst"}, ""},
		{"a burst by the kernel", []detect.Finding{migrated}, timeline(burst(kernel, migrated.Flows)...), detect.ConntrackLoss, [2]float64{0.99, 1}, true,
			"the kernel destroyed it", []string{"conntrack.burst"}, ""},
		{"an address that went", []detect.Finding{migrated}, timeline(join(burst(kernel, migrated.Flows), []hoststate.Event{upgraded("systemd"), removed(networkd)})...),
			detect.ConntrackLoss, [2]float64{0.99, 1}, true,
			"the kernel destroyed it when systemd-networkd (pid 812) removed 10.0.3.17 from ens5, 4 s after dpkg upgraded systemd",
			[]string{"package", "address.remove", "conntrack.burst"}, ""},
		{"an address of IPv6 that went with a route", []detect.Finding{migrated}, timeline(join(burst(kernel, migrated.Flows), []hoststate.Event{removed(kernel),
			{Time: after(-2), Kind: "route.remove", Subject: "main", By: nft, Text: "route default via fe80::1 dev ens5 table main was removed"}})...),
			detect.ConntrackLoss, [2]float64{0.99, 1}, true, "the kernel destroyed it when nft (pid 99) removed 10.0.3.17 from ens5",
			[]string{"route.remove", "address.remove", "conntrack.burst"}, ""},
		{"an address that went, nobody knows how", []detect.Finding{migrated}, timeline(join(burst(kernel, migrated.Flows), []hoststate.Event{removed(kernel)})...),
			detect.ConntrackLoss, [2]float64{0.99, 1}, true, "the kernel destroyed it when 10.0.3.17 was removed from ens5", []string{"address.remove", "conntrack.burst"}, ""},
		{"a link that was set down", []detect.Finding{migrated}, timeline(join(burst(kernel, migrated.Flows), []hoststate.Event{
			{Time: after(-1), Kind: "link.change", Subject: "ens5", By: nft, Text: "ens5 was set down, by nft (pid 99)"}})...),
			detect.ConntrackLoss, [2]float64{0.99, 1}, true, "the kernel destroyed it when nft (pid 99) set ens5 down", []string{"link.change", "conntrack.burst"}, ""},
		{"an address of another minute", []detect.Finding{migrated}, timeline(join(burst(kernel, migrated.Flows), []hoststate.Event{
			{Time: after(-50000), Kind: "address.remove", Subject: "ens5", By: networkd}})...), detect.ConntrackLoss, [2]float64{0.99, 1}, true,
			"the kernel destroyed it", []string{"conntrack.burst"}, ""},
		{"a burst long ago", []detect.Finding{migrated}, timeline(burstAt(night.Add(-time.Hour), conntrack, flows(9, "sessions-cache", ""))...),
			detect.ConntrackLoss, [2]float64{0.6, 0.65}, true, "", nil, ""},
		{"no burst, though entries were watched", []detect.Finding{migrated}, timeline(), detect.ConntrackLoss, [2]float64{0.6, 0.65}, true, "", nil, ""},
		{"no burst on a timeline that is not whole", []detect.Finding{migrated}, blind, detect.ConntrackLoss, [2]float64{0.9, 0.9}, true, "", nil, ""},
		{"no burst, and packets are not sure either", []detect.Finding{finding(detect.ConntrackLoss, "port-migration", 0.8, flows(4, "orders-db", detect.Reset))}, timeline(),
			detect.None, [2]float64{0.5, 0.6}, false, "", nil, ""},
		{"entries that the table lacks, and of which no event tells", []detect.Finding{migrated}, timeline(dropped(4)), detect.ConntrackLoss, [2]float64{0.95, 1}, true,
			"no event tells who destroyed it", []string{"conntrack.drop"}, ""},
		{"entries expired", []detect.Finding{migrated}, timeline(expiry(migrated.Flows)...), detect.ConntrackExpiry, [2]float64{0.97, 1}, false, "", nil, ""},
		{"lost, and only idle flows notice", []detect.Finding{idle}, timeline(burst(conntrack, idle.Flows)...), detect.ConntrackLoss, [2]float64{0.97, 1}, true,
			"conntrack (pid 29531) destroyed it", []string{"conntrack.burst"}, ""},
		{"idle flows, while others were lost", []detect.Finding{idle}, timeline(burst(conntrack, flows(4, "sessions-cache", ""))...), detect.ConntrackExpiry,
			[2]float64{0.9, 0.9}, false, "", nil, ""},
		{"others expired", []detect.Finding{migrated}, timeline(expiry(flows(1, "sessions-cache", ""))...), detect.ConntrackLoss, [2]float64{0.6, 0.65}, true, "", nil, ""},
		{"expired, and lost too", []detect.Finding{migrated}, timeline(join(expiry(flows(4, "sessions-cache", "")), burst(conntrack, migrated.Flows))...),
			detect.ConntrackLoss, [2]float64{0.99, 1}, true, "conntrack (pid 29531) destroyed it", []string{"conntrack.burst"}, ""},
		{"lost, and the flows look as if a server had restarted", []detect.Finding{restarted}, timeline(burst(conntrack, restarted.Flows)...), detect.ConntrackLoss,
			[2]float64{0.95, 1}, true, "conntrack (pid 29531) destroyed it", []string{"conntrack.burst"}, "entries-lost"},
		{"lost, and other flows were hit", []detect.Finding{restarted}, timeline(burst(conntrack, flows(4, "sessions-cache", ""))...), detect.ServerRestart,
			[2]float64{0.9, 0.9}, true, "", nil, "conntrack-burst"},
		{"lost, and servers spoke to nobody, as the timeline shows", nil, timeline(append(burst(kernel, flows(4, "orders-db", "")), orphaned(3)...)...), detect.ConntrackLoss,
			[2]float64{0.95, 1}, true, "the kernel destroyed it", []string{"conntrack.burst"}, "entries-lost"},
		{"lost, and two servers spoke to nobody", nil, timeline(append(burst(kernel, flows(4, "orders-db", "")), orphaned(2)...)...), detect.None,
			[2]float64{0.95, 1}, true, "the kernel destroyed it", []string{"conntrack.burst"}, "conntrack-burst"},
		{"a pod that went, and whose entries were deleted then", []detect.Finding{gone}, timeline(burst(conntrack, gone.Flows)...), detect.PodGone,
			[2]float64{0.9, 0.9}, false, "", nil, ""},
		{"the entries of a pod that was removed with its link, deleted by a process", []detect.Finding{migrated},
			timeline(append(burst(conntrack, migrated.Flows), hoststate.Event{Time: after(900), Kind: "link.change", Subject: "quiet", Data: data(map[string]any{"gone": 1})})...),
			detect.None, [2]float64{0.5, 0.6}, false, "", nil, ""},
		{"the same while only some other route went", []detect.Finding{migrated},
			timeline(append(burst(conntrack, migrated.Flows), hoststate.Event{Time: after(900), Kind: "route.remove", Subject: "main", Data: data(map[string]any{"to": "10.20.1.99"})})...),
			detect.ConntrackLoss, [2]float64{0.99, 1}, true, "conntrack (pid 29531) destroyed it", []string{"conntrack.burst"}, ""},
		{"lost, and nobody hurt", nil, timeline(burst(conntrack, flows(4, "orders-db", ""))...), detect.None, [2]float64{0.95, 0.95}, true,
			"conntrack (pid 29531) destroyed it", []string{"conntrack.burst"}, "conntrack-burst"},
		{"a leak after a flush", []detect.Finding{finding(detect.NATRulesLoss, "leak", 0.9, flows(4, "orders-db", detect.Hung))},
			timeline(burst(conntrack, flows(4, "orders-db", ""))...), detect.ConntrackLoss, [2]float64{0.97, 1}, true,
			"conntrack (pid 29531) destroyed it", []string{"conntrack.burst"}, ""},
		{"a leak after rules went", []detect.Finding{finding(detect.NATRulesLoss, "leak", 0.7, flows(4, "orders-db", detect.Hung))}, timeline(rules(nft, -1, 0)),
			detect.NATRulesLoss, [2]float64{0.98, 1}, false, "nft (pid 99) removed 1 rule of address translation from ip nat at 02:14:07.318", []string{"ruleset.change"}, ""},
		{"rules that were replaced at once", []detect.Finding{finding(detect.NATRulesLoss, "leak", 0.7, flows(4, "orders-db", detect.Hung))}, timeline(rules(nft, 0, 0)),
			detect.None, [2]float64{0.5, 0.6}, false, "", nil, ""},
		{"a detour without a cause", []detect.Finding{finding(detect.RoutePolicyLoss, "other-uplink", 0.8, flows(4, "orders-db", detect.Hung))}, timeline(),
			detect.None, [2]float64{0.5, 0.6}, false, "", nil, ""},
		{"vanished SYNs with room in the table", []detect.Finding{finding(detect.ConntrackTableFull, "syn-vanished", 0.9, flows(4, "orders-db", detect.Hung))}, timeline(),
			detect.None, [2]float64{0.5, 0.6}, false, "", nil, ""},
		{"a client that was killed", []detect.Finding{finding(detect.ClientExit, "own-reset", 0.9, flows(4, "orders-db", detect.Reset))},
			timeline(hoststate.Event{Time: night, Kind: "kernel.log", Subject: "oom", Text: "Out of memory: Killed process 1"}), detect.ClientExit, [2]float64{0.9, 0.9}, false,
			"the kernel had killed a process for want of memory", []string{"kernel.log"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Judge(capture(c.found...), c.facts)
			v := r.Verdict
			if v.Class != c.class || v.Confidence < c.sure[0] || v.Confidence > c.sure[1] || v.StateLost != c.lost || v.Cause != c.cause {
				t.Errorf("%s %.2f, state lost %v, cause %q: %s", v.Class, v.Confidence, v.StateLost, v.Cause, v.Sentence)
			}
			var kinds []string
			for _, e := range v.Chain {
				kinds = append(kinds, e.Kind)
			}
			if !slices.Equal(kinds, c.kinds) {
				t.Errorf("the chain is %v", kinds)
			}
			made := ""
			for _, f := range r.Findings {
				if len(f.Rule) > 0 && !slices.ContainsFunc(c.found, func(g detect.Finding) bool { return g.Rule == f.Rule }) {
					made += f.Rule
				}
			}
			if made != c.adding {
				t.Errorf("the judge found %q", made)
			}
		})
	}
}

// dropped is a table that lacks n entries, of which no event tells.
func dropped(n int) hoststate.Event {
	return hoststate.Event{Time: after(1000), Kind: "conntrack.drop", Text: "gone", Data: data(map[string]any{"flows": n, "of": n, "silent": n, "sure": true,
		"services": map[string]int{"orders-db": n}, "from": after(-1000).UnixNano(), "to": after(1000).UnixNano()})}
}

// orphaned is what servers make of entries that a burst took, when they speak to the node's address.
func orphaned(n int) (events []hoststate.Event) {
	for i := range n {
		src, dst := "10.99.0.5:5432", fmt.Sprintf("10.20.0.10:%d", 1024+i)
		events = append(events, hoststate.Event{Time: after(100 + i), Kind: "conntrack.pickup", Text: "picked up", Data: data(map[string]any{"protocol": "tcp",
			"src": src, "dst": dst, "reply_src": dst, "reply_dst": src, "state": "ESTABLISHED", "left_seconds": 300})})
	}
	return events
}

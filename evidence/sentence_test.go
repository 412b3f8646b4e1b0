package evidence

import (
	"strings"
	"testing"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/hoststate"
)

// TestSentences is what a person reads first, of every class.
func TestSentences(t *testing.T) {
	type events = []hoststate.Event
	orders := flows(33, "orders-db", detect.Reset)
	lost := append(flows(33, "orders-db", ""), flows(8, "sessions-cache", "")...)
	for _, c := range []struct {
		name     string
		found    []detect.Finding
		facts    Facts
		class    detect.Class
		sentence string
	}{
		{"a restart of networkd", []detect.Finding{finding(detect.ConntrackLoss, "port-migration", 0.95, orders), finding(detect.ConntrackLoss, "node-reset", 0.9, flows(8, "sessions-cache", detect.Hung))},
			timeline(join(burst(kernel, lost), events{needrestart(), removed(networkd)})...), detect.ConntrackLoss,
			"conntrack state of 41 flows to orders-db and sessions-cache was lost at 02:14:07.318; the kernel destroyed it when systemd-networkd (pid 812) removed " +
				"10.0.3.17 from ens5, 1.2 s after needrestart restarted it; 33 flows were reset, 8 hung; impact ended at 02:14:07.480"},
		{"a flush", []detect.Finding{finding(detect.ConntrackLoss, "port-migration", 0.95, orders)},
			timeline(join(events{digest(33)}, burst(conntrack, orders))...), detect.ConntrackLoss,
			"conntrack state of 33 flows to orders-db was lost at 02:14:07.318; conntrack (pid 29531) flushed it; 33 flows were reset; impact ended at 02:14:07.480"},
		{"a flush of a table that held more", []detect.Finding{finding(detect.ConntrackLoss, "port-migration", 0.95, orders)},
			timeline(join(events{digest(900)}, burst(&hoststate.Process{PortID: 7}, orders))...), detect.ConntrackLoss,
			"conntrack state of 33 flows to orders-db was lost at 02:14:07.318; a process of unknown name (netlink port 7) destroyed it; 33 flows were reset; " +
				"impact ended at 02:14:07.480"},
		{"packets alone", []detect.Finding{finding(detect.ConntrackLoss, "port-migration", 0.95, outside(orders[:1], true))}, Facts{}, detect.ConntrackLoss,
			"conntrack state of 1 flow to orders-db was gone by 02:14:07.348; 1 flow was reset; impact ended at 02:14:07.448"},
		{"not sure", []detect.Finding{finding(detect.ConntrackLoss, "port-migration", 0.7, orders[:3])}, Facts{}, detect.ConntrackLoss,
			"it looks as if conntrack state of 3 flows to orders-db was gone by 02:14:07.348; 3 flows were reset; impact ended at 02:14:07.450"},
		{"rules of translation", []detect.Finding{finding(detect.NATRulesLoss, "leak", 0.9, flows(20, "orders-db", detect.Recovered))},
			timeline(rules(nft, -2, 0), rules(nft, 2, 3000)), detect.NATRulesLoss,
			"20 flows to orders-db left the node untranslated from 02:14:07.348 on; nft (pid 99) removed 2 rules of address translation from ip nat at 02:14:07.318, " +
				"and they were back at 02:14:10.318; 20 flows recovered; impact ended at 02:14:07.467"},
		{"a policy rule", []detect.Finding{finding(detect.RoutePolicyLoss, "other-uplink", 0.9, flows(4, "orders-db", detect.Recovered))},
			timeline(hoststate.Event{Time: night, Kind: "rule.remove", Subject: "1536", By: networkd, Before: "ip 1536: from 10.20.1.12 lookup 2", Text: "removed"}), detect.RoutePolicyLoss,
			"4 flows to orders-db left the node by another interface than before from 02:14:07.348 on; systemd-networkd (pid 812) removed the rule " +
				"ip 1536: from 10.20.1.12 lookup 2 at 02:14:07.318; 4 flows recovered; impact ended at 02:14:07.451"},
		{"a full table", []detect.Finding{finding(detect.ConnectDropped, "syn-unanswered", 0.9, flows(39, "orders-db", detect.Hung))},
			timeline(hoststate.Event{Time: after(500), Kind: "counters", Data: data(map[string]any{"conntrack.drop": 39})},
				hoststate.Event{Time: after(-9), Kind: "sysctl.change", Subject: "net.netfilter.nf_conntrack_max", Before: "262144", After: "21"}), detect.ConntrackTableFull,
			"39 new connections to orders-db were dropped by the node from 02:14:07.348 on, for its conntrack table was full; " +
				"net.netfilter.nf_conntrack_max was set from 262144 to 21; impact ended at 02:14:07.486"},
		{"a full table, as packets show it", []detect.Finding{finding(detect.ConntrackTableFull, "syn-vanished", 0.8, flows(1, "orders-db", ""))}, Facts{}, detect.ConntrackTableFull,
			"1 new connection to orders-db vanished inside the node from 02:14:07.348 on, as when its conntrack table is full; impact ended at 02:14:07.448"},
		{"expiry", []detect.Finding{finding(detect.ConntrackLoss, "port-migration", 0.9, flows(2, "orders-db", detect.Reset))},
			timeline(append(expiry(flows(2, "orders-db", "")), hoststate.Event{Time: after(-2500), Kind: "sysctl.change",
				Subject: "net.netfilter.nf_conntrack_tcp_timeout_established", Before: "432000", After: "1"})...), detect.ConntrackExpiry,
			"conntrack entries of 2 idle flows to orders-db had expired when they were used again from 02:14:07.348 on; " +
				"net.netfilter.nf_conntrack_tcp_timeout_established was set from 432000 to 1; 2 flows were reset; impact ended at 02:14:07.449"},
		{"a server restarts", []detect.Finding{finding(detect.ServerRestart, "known-reset", 0.9, flows(2, "orders-db", detect.Reset)),
			finding(detect.ConnectRejected, "syn-reset", 0.9, flows(2, "orders-db", detect.Refused))}, Facts{}, detect.ServerRestart,
			"the server of orders-db ended 2 flows from 02:14:07.348 on, as one that restarts does; 2 flows were reset; impact ended at 02:14:07.449"},
		{"two servers restart", []detect.Finding{finding(detect.ServerRestart, "known-reset", 0.9, flows(1, "orders-db", detect.Reset), flows(2, "sessions-cache", detect.Closed))}, Facts{}, detect.ServerRestart,
			"the servers of orders-db and sessions-cache ended 3 flows from 02:14:07.348 on, as servers that restart do; 1 flow was reset, 2 were closed; impact ended at 02:14:07.449"},
		{"an idle time-out", []detect.Finding{finding(detect.ServerIdleTimeout, "idle-fin", 0.9, flows(5, "sessions-cache", detect.Closed))}, Facts{}, detect.ServerIdleTimeout,
			"the server of sessions-cache closed 5 idle flows from 02:14:07.348 on; impact ended at 02:14:07.452"},
		{"a slow server", []detect.Finding{finding(detect.ServerSlow, "late", 0.9, flows(5, "orders-db", detect.Recovered))}, Facts{}, detect.ServerSlow,
			"the server of orders-db answered late on 5 flows from 02:14:07.348 on, and acknowledged requests at once; the slowest answer took 4.1 s; " +
				"5 flows recovered; impact ended at 02:14:07.452"},
		{"an overloaded server", []detect.Finding{finding(detect.ServerOverload, "queue", 0.9, flows(5, "sessions-cache", "")), finding(detect.ServerSlow, "late", 0.9, flows(5, "sessions-cache", ""))},
			Facts{}, detect.ServerOverload,
			"the server of sessions-cache had more work than it could do from 02:14:07.348 on: 5 flows waited; impact ended at 02:14:07.452"},
		{"loss", []detect.Finding{finding(detect.PathLoss, "both-ways", 0.9, flows(5, "orders-db", detect.Recovered))}, Facts{}, detect.PathLoss,
			"segments of 5 flows to orders-db were lost on the way from 02:14:07.348 on, and sent again; 5 flows recovered; impact ended at 02:14:07.452"},
		{"an outage", []detect.Finding{finding(detect.PathOutage, "silence", 0.9, flows(5, "orders-db", detect.Recovered)), finding(detect.PathLoss, "both-ways", 0.9, flows(5, "orders-db", detect.Recovered))},
			Facts{}, detect.PathOutage,
			"the path to orders-db was interrupted at 02:14:07.348: 5 flows stalled; 5 flows recovered; impact ended at 02:14:07.452"},
		{"new connections dropped", []detect.Finding{finding(detect.ConnectDropped, "syn-unanswered", 0.9, flows(5, "orders-db", detect.Hung))}, timeline(), detect.ConnectDropped,
			"5 new connections to orders-db were not answered from 02:14:07.348 on; impact ended at 02:14:07.452"},
		{"new connections refused", []detect.Finding{finding(detect.ConnectRejected, "icmp", 0.9, flows(1, "orders-db", detect.Refused))}, timeline(), detect.ConnectRejected,
			"1 new connection to orders-db was refused from 02:14:07.348 on; impact ended at 02:14:07.448"},
		{"names", []detect.Finding{finding(detect.DNSFailure, "unanswered", 0.9, flows(5, "dns", ""))}, Facts{}, detect.DNSFailure,
			"names were not resolved from 02:14:07.348 on: 5 flows to dns got no answer, or an error; impact ended at 02:14:07.452"},
		{"a client", []detect.Finding{finding(detect.ClientExit, "own-reset", 0.9, outside(flows(5, "orders-db", detect.Reset), true))}, Facts{}, detect.ClientExit,
			"client 10.20.1.11 ended 5 flows to orders-db at 02:14:07.348; 5 flows were reset; impact ended at 02:14:07.452"},
		{"a pod", []detect.Finding{finding(detect.PodGone, "orphans", 0.9, flows(5, "orders-db", detect.Hung))}, Facts{}, detect.PodGone,
			"pod 10.20.1.11 fell silent at 02:14:07.348 with 5 flows to orders-db open; impact ended at 02:14:07.452"},
		{"two faults", []detect.Finding{finding(detect.ServerSlow, "late", 0.95, flows(5, "sessions-cache", "")), finding(detect.DNSFailure, "unanswered", 0.9, flows(2, "dns", ""))}, Facts{}, detect.ServerSlow,
			"the server of sessions-cache answered late on 5 flows from 02:14:07.348 on, and acknowledged requests at once; impact ended at 02:14:07.452; " +
				"besides, there is dns-failure from 02:14:07.348 on"},
		{"nothing", nil, timeline(), detect.None,
			"no fault was seen in 12,345 packets of 2 services between 2026-11-22 02:13:37.318 and 2026-11-22 02:14:37.318"},
		{"state lost", nil, timeline(burst(conntrack, flows(3, "orders-db", ""))...), detect.None,
			"no fault was seen in 12,345 packets of 2 services between 2026-11-22 02:13:37.318 and 2026-11-22 02:14:37.318; " +
				"conntrack state of 3 flows was lost at 02:14:07.318, and none was seen to be hurt: conntrack (pid 29531) destroyed it"},
		{"suspect", []detect.Finding{finding(detect.Suspect, "mute", 0.4, flows(3, "orders-db", detect.Hung))}, Facts{}, detect.None,
			"no fault was seen in 12,345 packets of 2 services between 2026-11-22 02:13:37.318 and 2026-11-22 02:14:37.318; " +
				"something is suspect, and packets do not show what: something was seen"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := capture(c.found...)
			found.Series[0].Buckets[31].Max = 4.1e9
			r := Judge(found, c.facts)
			if r.Verdict.Class != c.class || r.Verdict.Sentence != c.sentence {
				t.Errorf("%s:\n got %s\nwant %s", r.Verdict.Class, r.Verdict.Sentence, c.sentence)
			}
			if strings.Contains(r.Verdict.Sentence, "%!") || strings.Contains(r.Verdict.Sentence, "  ") {
				t.Errorf("%q", r.Verdict.Sentence)
			}
		})
	}
}

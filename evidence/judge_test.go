package evidence

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/series"
	"github.com/ringside/ringside/hoststate"
)

// night is when the tests' faults happen.
var night = time.Date(2026, 11, 22, 2, 14, 7, 318e6, time.UTC)

// after is so many milliseconds after night.
func after(ms int) time.Time { return night.Add(time.Duration(ms) * time.Millisecond) }

// flows makes n flows of a pod to a service that were hit one after the other, each of which ends 100 ms after it was hit.
func flows(n int, service, fate string) (list []detect.Flow) {
	server := map[string]string{"orders-db": "10.99.0.5:5432", "sessions-cache": "10.99.0.6:6379", "dns": "10.99.0.7:53"}[service]
	for i := range n {
		list = append(list, detect.Flow{Src: fmt.Sprintf("10.20.1.11:%d", 40000+i), Dst: server, Service: service, Interface: "eni1", Fate: fate,
			First: after(30 + i), Last: after(130 + i)})
	}
	return list
}

// outside is the same flows as the uplink sees them, translated; inner says whether detection linked them.
func outside(list []detect.Flow, inner bool) (translated []detect.Flow) {
	for i, f := range list {
		if inner {
			f.Inner = f.Src
		}
		f.Src, f.Interface = fmt.Sprintf("10.20.0.10:%d", 1024+i), "eth0"
		translated = append(translated, f)
	}
	return translated
}

func finding(class detect.Class, rule string, sure float64, lists ...[]detect.Flow) detect.Finding {
	f := detect.Finding{Class: class, Rule: rule, Confidence: sure, First: after(30), Last: after(30), Text: "something was seen"}
	for _, list := range lists {
		f.Flows = append(f.Flows, list...)
	}
	for i := range f.Flows {
		f.Last = later(f.Last, f.Flows[i].Last)
	}
	f.Count = len(f.Flows)
	return f
}

// capture is a recording of a minute with findings, at an uplink and at a pod.
func capture(found ...detect.Finding) detect.Result {
	return detect.Result{
		Findings: found, First: night.Add(-30 * time.Second), Last: night.Add(30 * time.Second),
		Vantages: []detect.Vantage{{Name: "eth0", Uplink: true, Packets: 6000}, {Name: "eni1", Packets: 6345}},
		Stats:    detect.Stats{Packets: 12345, TCP: 12000},
		Series: []series.Series{{Service: "orders-db", From: night.Add(-30 * time.Second), StepNS: 1e9, Packets: 6000, Buckets: make([]series.Bucket, 60)},
			{Service: "sessions-cache", From: night.Add(-30 * time.Second), StepNS: 1e9, Packets: 6345}},
	}
}

// timeline is facts with events of a timeline that was kept in full.
func timeline(events ...hoststate.Event) Facts {
	status := &TimelineFacts{Complete: true, Events: uint64(len(events))}
	for _, name := range []string{"conntrack", "counters", "network", "ruleset", "sysctls", "units", "logs"} {
		status.Watchers = append(status.Watchers, hoststate.WatcherStatus{Name: name, State: hoststate.StateOn, Since: night.Add(-time.Hour)})
	}
	return Facts{Events: events, Coverage: Coverage{Known: true, Timeline: status}}
}

func data(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// burst is a burst that took the entries of flows at night, and the events of these.
func burst(by *hoststate.Process, lost []detect.Flow) []hoststate.Event {
	return burstAt(night, by, lost)
}

func burstAt(from time.Time, by *hoststate.Process, lost []detect.Flow) (events []hoststate.Event) {
	who := "userspace"
	if by.PortID == 0 {
		who = "kernel"
	}
	for i, f := range lost {
		events = append(events, hoststate.Event{Time: from.Add(time.Duration(i) * time.Microsecond), Kind: "conntrack.destroy", Subject: f.Service, By: by,
			Data: data(map[string]any{"protocol": "tcp", "src": f.Src, "dst": f.Dst, "reply_src": f.Dst,
				"reply_dst": fmt.Sprintf("10.20.0.10:%d", 1024+i), "state": "ESTABLISHED", "left_seconds": 431999, "service": f.Service})})
	}
	last, services := from.Add(time.Millisecond), map[string]int{}
	for _, f := range lost {
		services[f.Service]++
	}
	for _, phase := range []string{"begin", "end"} {
		at := from
		if phase == "end" {
			at = last
		}
		events = append(events, hoststate.Event{Time: at, Kind: "conntrack.burst", Subject: who, Text: "lost", By: by, Data: data(map[string]any{
			"phase": phase, "assured": len(lost), "services": services, "first": from.UnixNano(), "last": last.UnixNano()})})
	}
	return events
}

var (
	kernel    = &hoststate.Process{}
	networkd  = &hoststate.Process{PortID: 812, PID: 812, Name: "systemd-network"}
	nft       = &hoststate.Process{PortID: 99, PID: 99, Name: "nft"}
	conntrack = &hoststate.Process{PortID: 29531, PID: 29531, Name: "conntrack"}
)

// removed is the removal of the uplink's address, seen after the burst that it led to, as watchers do.
func removed(by *hoststate.Process) hoststate.Event {
	return hoststate.Event{Time: after(3), Kind: "address.remove", Subject: "ens5", By: by, Text: "address 10.0.3.17/24 dev ens5 was removed",
		Data: data(map[string]any{"address": "10.0.3.17/24", "dev": "ens5", "scope": "global"})}
}

func needrestart() hoststate.Event {
	return hoststate.Event{Time: after(3 - 1200), Kind: "log", Subject: "needrestart", Text: "needrestart restarts systemd-networkd.service ssh.service"}
}

func upgraded(name string) hoststate.Event {
	return hoststate.Event{Time: after(3 - 4000), Kind: "package", Subject: name, Text: "dpkg upgrades " + name, Data: data(map[string]any{"action": "upgrade"})}
}

func digest(flows int) hoststate.Event {
	return hoststate.Event{Time: after(-2000), Kind: "conntrack.digest", Data: data(map[string]any{"flows": flows, "entries": flows})}
}

func join(lists ...[]hoststate.Event) (all []hoststate.Event) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// rules is a change of rules that adds so many of translation, or removes them.
func rules(by *hoststate.Process, added, ms int) hoststate.Event {
	chain := map[string]any{"chain": "ip nat POSTROUTING", "plus": []string{}, "minus": []string{}}
	for range max(added, -added) {
		side := "plus"
		if added < 0 {
			side = "minus"
		}
		chain[side] = append(chain[side].([]string), "oifname == eth0 masquerade")
	}
	return hoststate.Event{Time: after(ms), Kind: "ruleset.change", Subject: "ip nat", By: by, Text: "the rule set went from one generation to the next",
		Data: data(map[string]any{"phase": "end", "chains": []any{chain}})}
}

// expiry is the expiry of the entries of flows, two seconds before night.
func expiry(gone []detect.Flow) (events []hoststate.Event) {
	for i, f := range gone {
		events = append(events, hoststate.Event{Time: after(-2000 + i), Kind: "conntrack.destroy", By: kernel, Text: "expired", Data: data(map[string]any{
			"protocol": "tcp", "src": f.Src, "dst": f.Dst, "reply_src": f.Dst, "reply_dst": f.Src, "state": "ESTABLISHED", "left_seconds": 0})})
	}
	return events
}

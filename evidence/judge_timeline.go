package evidence

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// history is what the timeline tells, in the order of time.
type history struct {
	there   bool // there is a timeline
	facts   *TimelineFacts
	events  []*hoststate.Event
	losses  []*loss
	entries []entry // that were lost, expired while they were established, or picked up in mid-stream
	expired uint64  // established entries that expired, as the counts have it
	full    []hoststate.Event
	nat     []hoststate.Event // changes of rules that took rules of address translation away
}

// loss is state of established connections that was lost at once.
type loss struct {
	from, to time.Time // of a table that was read twice: the times of it, else of the first and the last entry
	flows    int
	services []string
	told     bool // the kernel told of the entries as they went
	kernel   bool // told: it did that by itself
	by       *hoststate.Process
	event    hoststate.Event
	names    map[string]bool // of its flows
	entries  []entry         // that were translated
	client   string          // the address that all its flows come from; "" if there are several, or it is not known
}

// entry is an event about one entry of conntrack.
type entry struct {
	At       time.Time `json:"-"`
	Kind     string    `json:"-"`
	Protocol string    `json:"protocol"`
	Src      string    `json:"src"`
	Dst      string    `json:"dst"`
	ReplySrc string    `json:"reply_src"`
	ReplyDst string    `json:"reply_dst"`
	State    string    `json:"state"`
	Left     uint32    `json:"left_seconds"`
	Service  string    `json:"service"`
	Expired  bool      `json:"-"`
}

// left is how long an entry in use has to have left, in seconds, as package hoststate/conntrack has it.
const left = 30

func readHistory(events []hoststate.Event, facts *TimelineFacts) *history {
	h := &history{there: facts != nil || len(events) > 0, facts: facts}
	for i := range events {
		h.events = append(h.events, &events[i])
	}
	slices.SortStableFunc(h.events, func(a, b *hoststate.Event) int { return a.Time.Compare(b.Time) })
	bursts := map[int64]*loss{}
	for _, e := range h.events {
		switch e.Kind {
		case "conntrack.burst":
			h.burst(e, bursts)
		case "conntrack.drop":
			h.drop(e)
		case "conntrack.destroy", "conntrack.pickup":
			h.entry(e)
		case "conntrack.counts":
			var d struct {
				Expired uint64 `json:"expired_established"`
			}
			_ = json.Unmarshal(e.Data, &d)
			h.expired += d.Expired
		case "kernel.log":
			if strings.Contains(e.Text, "table full") {
				h.full = append(h.full, *e)
			}
		case "counters":
			if full(e) {
				h.full = append(h.full, *e)
			}
		case "ruleset.change":
			if natRulesLost(e) > 0 {
				h.nat = append(h.nat, *e)
			}
		}
	}
	h.snapshots()
	h.nameLosses()
	slices.SortStableFunc(h.losses, func(a, b *loss) int { return a.from.Compare(b.from) })
	return h
}

// burst takes a burst, of which the second event has the final numbers.
func (h *history) burst(e *hoststate.Event, known map[int64]*loss) {
	var d struct {
		Assured     int
		Services    map[string]uint64
		First, Last int64
	}
	if json.Unmarshal(e.Data, &d) != nil || d.Assured == 0 {
		return
	}
	l := known[d.First]
	if l == nil {
		l = &loss{names: map[string]bool{}}
		known[d.First] = l
		h.losses = append(h.losses, l)
	}
	if d.Assured < l.flows {
		return
	}
	*l = loss{from: time.Unix(0, d.First).UTC(), to: time.Unix(0, d.Last).UTC(), flows: d.Assured, services: named(d.Services), told: true,
		kernel: e.Subject == "kernel", by: e.By, event: *e, names: l.names}
}

// drop takes entries that are gone between two readings of the table. What events told of is in bursts; where a reset may
// have closed the connections it is no loss.
func (h *history) drop(e *hoststate.Event) {
	var d struct {
		Silent   int
		Services map[string]uint64
		From, To int64
		Sure     bool
	}
	if json.Unmarshal(e.Data, &d) != nil || d.Silent < 3 || !d.Sure {
		return
	}
	h.losses = append(h.losses, &loss{from: time.Unix(0, d.From).UTC(), to: time.Unix(0, d.To).UTC(), flows: d.Silent, services: named(d.Services),
		event: *e, names: map[string]bool{}})
}

func (h *history) entry(e *hoststate.Event) {
	v := entry{At: e.Time, Kind: e.Kind}
	if json.Unmarshal(e.Data, &v) != nil || v.Src == "" || v.State != "ESTABLISHED" {
		return
	}
	v.Expired = e.Kind == "conntrack.destroy" && v.Left == 0 && (e.By == nil || e.By.PortID == 0)
	h.entries = append(h.entries, v)
}

// snapshots takes the entries that a snapshot misses beside the one before: they name flows that were older than the
// recorder, of which the kernel tells nothing.
func (h *history) snapshots() {
	for _, e := range h.events {
		if e.Kind != "state.snapshot" {
			continue
		}
		var d struct {
			Sections []struct {
				Name    string
				Removed []string
			}
		}
		if json.Unmarshal(e.Data, &d) != nil {
			continue
		}
		for _, s := range d.Sections {
			for _, line := range s.Removed {
				if m := goneLine.FindStringSubmatch(line); s.Name == "conntrack" && m != nil {
					h.entries = append(h.entries, entry{At: e.Time, Kind: e.Kind, Service: m[1], Src: m[2], Dst: m[3], ReplySrc: m[4], ReplyDst: m[5]})
				}
			}
		}
	}
}

// nameLosses says which entries a loss is about.
func (h *history) nameLosses() {
	const slack = 10 * time.Millisecond
	for _, l := range h.losses {
		clients := map[string]bool{}
		for _, e := range h.entries {
			told := e.Kind == "conntrack.destroy" && e.Left > left && !e.At.Before(l.from.Add(-slack)) && !e.At.After(l.to.Add(slack))
			seen := e.Kind == "state.snapshot" && !e.At.Before(l.from) && e.At.Before(l.to.Add(2*time.Second))
			if l.told && told || !l.told && seen {
				l.names[pair(e.Src, e.Dst)], l.names[pair(e.ReplySrc, e.ReplyDst)] = true, true
				clients[host(e.Src)] = true
				if e.ReplyDst != e.Src {
					l.entries = append(l.entries, e)
				}
			}
		}
		if len(clients) == 1 {
			l.client = slices.Collect(maps.Keys(clients))[0]
		}
	}
}

// watched says whether a watcher saw everything from a time to another: then what is not on the timeline did not happen.
func (h *history) watched(watcher string, from, to time.Time) bool {
	if h.facts == nil || !h.facts.Complete {
		return false
	}
	i := slices.IndexFunc(h.facts.Watchers, func(w hoststate.WatcherStatus) bool { return w.Name == watcher })
	if i < 0 {
		return false
	}
	if w := h.facts.Watchers[i]; w.State != hoststate.StateOn || len(w.Blind) > 0 || w.Since.After(from) {
		return false
	}
	return !slices.ContainsFunc(h.events, func(e *hoststate.Event) bool {
		fails := e.Subject == watcher && (e.Kind == "watcher.off" || e.Kind == "watcher.fail") ||
			e.Kind == watcher+".gap" || e.Kind == "timeline.gap"
		return fails && e.Time.After(from.Add(-time.Second)) && e.Time.Before(to.Add(time.Second))
	})
}

// during returns the events of some kinds between two times.
func (h *history) during(from, to time.Time, kinds ...string) (list []hoststate.Event) {
	for _, e := range h.events {
		if !e.Time.Before(from) && !e.Time.After(to) && slices.Contains(kinds, e.Kind) {
			list = append(list, *e)
		}
	}
	return list
}

// full says whether the kernel counted packets that it dropped for want of an entry. One or two may be clashes of entries.
func full(e *hoststate.Event) bool {
	return number(e, "conntrack.drop") > 2
}

// natRulesLost is how many rules of address translation a change took away and did not put back.
func natRulesLost(e *hoststate.Event) (n int) {
	var d struct {
		Phase  string
		Chains []struct{ Plus, Minus []string }
	}
	if json.Unmarshal(e.Data, &d) != nil || d.Phase != "end" {
		return 0
	}
	for _, c := range d.Chains {
		for _, r := range c.Minus {
			n += translation(r)
		}
		for _, r := range c.Plus {
			n -= translation(r)
		}
	}
	return n
}

// translation is 1 for a rule that translates addresses, by the words of nftables and of iptables.
func translation(rule string) int {
	for _, word := range []string{"masquerade", "snat", "dnat", "MASQUERADE", "SNAT", "DNAT"} {
		if strings.Contains(rule, word) {
			return 1
		}
	}
	return 0
}

// named is the names of services, but for "", which is none.
func named(services map[string]uint64) []string {
	names := slices.Sorted(maps.Keys(services))
	return slices.DeleteFunc(names, func(n string) bool { return n == "" })
}

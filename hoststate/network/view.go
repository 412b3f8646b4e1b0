package network

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

// class is what an object is. It is the first part of its events' kinds.
type class string

const (
	addresses class = "address"
	routes    class = "route"
	rules     class = "rule"
)

// object is an address, route or rule.
type object struct {
	class   class
	family  uint8
	slot    string // what another one must differ in, to be there beside it
	ident   string // what the kernel tells it from others by; knows links by their indexes, so that a new name changes nothing
	text    string // for people, with names
	subject string
	links   []int
	own     bool // made by the kernel for its link: noise where the link is
	early   bool // it is not in use yet: nothing is told of it
	data    any  // *Address, *Route, *Rule
}

// origin is when a change was made, and how that became known.
type origin struct {
	at   time.Time
	from source
	msg  header // of fromMessage
}

type source int

const (
	fromMessage source = iota
	fromKernel         // found by reading again, and nobody but the kernel can have done it
	fromReading        // found by reading again
)

// maxRoutes bounds what is kept in memory, about 500 bytes a route. Beyond it routes are told as the kernel tells them.
const maxRoutes = 32 << 10

// view is what is known of the namespace. It has one user.
type view struct {
	cfg     Config
	tell    *teller
	by      *processes
	links   names
	objects map[class]map[string][]object // by slot
	routes  int                           // how many of them are routes
	using   map[int]int                   // IPv4 routes over a link
	uplinks map[int]bool                  // that have, or had while they were there, a default route
	gates   map[gate]int                  // routes over a gateway
	near    map[gate]Neighbour

	silent   bool            // it is being read for the first time
	catching bool            // something was read, but messages that waited meanwhile are taken first
	touched  map[string]bool // what messages spoke of while catching
	crowded  bool            // there are more than maxRoutes
	doubt    doubt
}

func newView(cfg Config, tell *teller, by *processes) *view {
	v := &view{cfg: cfg, tell: tell, by: by, links: names{}, using: map[int]int{}, uplinks: map[int]bool{}, gates: map[gate]int{},
		near: map[gate]Neighbour{}, objects: map[class]map[string][]object{}}
	for _, c := range []class{addresses, routes, rules} {
		v.objects[c] = map[string][]object{}
	}
	return v
}

// apply takes one message.
func (v *view) apply(h header, body []byte, a origin) {
	switch h.kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if l, ok := parseLink(body, v.links); ok {
			v.applyLink(l, h.kind == unix.RTM_DELLINK, a)
		}
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		if n, g, ok := parseNeighbour(body, v.links); ok && h.kind == unix.RTM_NEWNEIGH {
			v.applyNeighbour(n, g, a)
		}
	case unix.RTM_NEWADDR, unix.RTM_NEWROUTE, unix.RTM_NEWRULE:
		if o, ok := parse(h.kind, body, v.links); ok {
			v.add(o, h.flags&unix.NLM_F_REPLACE != 0, a)
		}
	case unix.RTM_DELADDR, unix.RTM_DELROUTE, unix.RTM_DELRULE:
		if o, ok := parse(h.kind, body, v.links); ok {
			v.remove(o, a)
		}
	}
}

func parse(kind uint16, body []byte, names names) (object, bool) {
	switch kind {
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return parseAddress(body, names)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return parseRoute(body, names)
	}
	return parseRule(body, names)
}

// who made a change, nil if that is not known. Of links and neighbours 0 does not stand for the kernel.
func (v *view) who(a origin, zeroIsKernel bool) *hoststate.Process {
	switch {
	case a.from == fromKernel:
		return &hoststate.Process{}
	case a.from == fromReading, a.msg.portid == 0 && !zeroIsKernel:
		return nil
	}
	return v.by.of(a.msg.portid)
}

// raw is what the kernel said, for Event.Raw.
func (a origin) raw() string {
	if a.from != fromMessage {
		return "no message: found by reading again"
	}
	return fmt.Sprintf("%s flags %#x portid %d", messageNames[a.msg.kind], a.msg.flags, a.msg.portid)
}

var messageNames = map[uint16]string{
	unix.RTM_NEWLINK: "RTM_NEWLINK", unix.RTM_DELLINK: "RTM_DELLINK", unix.RTM_NEWADDR: "RTM_NEWADDR", unix.RTM_DELADDR: "RTM_DELADDR",
	unix.RTM_NEWROUTE: "RTM_NEWROUTE", unix.RTM_DELROUTE: "RTM_DELROUTE", unix.RTM_NEWRULE: "RTM_NEWRULE", unix.RTM_DELRULE: "RTM_DELRULE",
	unix.RTM_NEWNEIGH: "RTM_NEWNEIGH",
}

// add takes an object that is there now.
func (v *view) add(o object, replace bool, a origin) {
	there := v.objects[o.class][o.slot]
	same := slices.IndexFunc(there, func(p object) bool { return p.ident == o.ident })
	switch {
	case o.early:
	case v.crowded && o.class == routes:
		v.tellObject("add", o, "", a)
	case same >= 0 && o.class == routes && o.family == unix.AF_INET:
		// The kernel has no IPv4 route twice: it had removed this one without a word.
		v.touch(o)
		v.tellObject("remove", there[same], "", v.doubt.cause(a))
		v.tellObject("add", o, "", a)
	case same >= 0:
		v.touch(o)
		there[same] = o
	case len(there) > 0 && (replace || o.class == addresses):
		before := there[0]
		v.touch(before)
		v.touch(o)
		v.forget(before)
		v.keep(o)
		v.tellObject("add", o, before.text, a)
	case len(there) > 0 && o.family == unix.AF_INET6 && o.class == routes:
		v.doubt.add(unix.AF_INET6, a) // one more way of a route, or one more route
	default:
		v.touch(o)
		v.keep(o)
		v.tellObject("add", o, "", a)
	}
}

// remove takes an object that is gone. One that is not known was told to be gone before.
func (v *view) remove(o object, a origin) {
	there := v.objects[o.class][o.slot]
	same := slices.IndexFunc(there, func(p object) bool { return p.ident == o.ident || o.class == addresses })
	v.touch(o)
	switch {
	case v.crowded && o.class == routes:
		v.tellObject("remove", o, "", a)
	case same >= 0:
		v.touch(there[same])
		v.forget(there[same])
		v.tellObject("remove", o, "", a)
	case len(there) > 0 && o.class == routes:
		v.doubt.add(o.family, a) // one of several ways of a route
	}
	if o.class == addresses && o.family == unix.AF_INET && v.using[o.links[0]] > 0 {
		v.doubt.add(unix.AF_INET, a)
	}
}

// touch notes that messages tell of an object later than what was read.
func (v *view) touch(o object) {
	if v.catching {
		v.touched[objectKey(o)] = true
	}
}

func objectKey(o object) string { return string(o.class) + o.slot + "\x00" + o.ident }

func (v *view) keep(o object) {
	v.objects[o.class][o.slot] = append(v.objects[o.class][o.slot], o)
	if o.class != routes {
		return
	}
	if v.count(o, 1); v.routes > maxRoutes {
		v.crowd()
	}
}

// crowd gives up to know the routes.
func (v *view) crowd() {
	v.crowded, v.routes = true, 0
	clear(v.objects[routes])
	clear(v.using)
	clear(v.gates)
}

func (v *view) forget(o object) {
	left := slices.DeleteFunc(v.objects[o.class][o.slot], func(p object) bool { return p.ident == o.ident })
	if v.objects[o.class][o.slot] = left; len(left) == 0 {
		delete(v.objects[o.class], o.slot)
	}
	if o.class == routes {
		v.count(o, -1)
	}
}

// count adds a route to what is known of its links and gateways, or takes it away.
func (v *view) count(o object, n int) {
	v.routes += n
	r := o.data.(*Route)
	for _, hop := range r.Hops {
		if o.family == unix.AF_INET {
			if v.using[hop.Index] += n; v.using[hop.Index] == 0 {
				delete(v.using, hop.Index)
			}
		}
		if r.isDefault() && n > 0 && hop.Index != 0 {
			v.uplinks[hop.Index] = true
		}
		if g := (gate{hop.Index, hop.Via}); hop.Via != "" {
			if v.gates[g] += n; v.gates[g] == 0 {
				delete(v.gates, g)
			}
		}
	}
}

func (v *view) tellObject(what string, o object, before string, a origin) {
	if v.silent {
		return
	}
	if o.own && len(o.links) > 0 && v.allQuiet(o.links) {
		v.tell.quiet(o.class)
		return
	}
	e := hoststate.Event{Time: a.at, Kind: string(o.class) + "." + what, Subject: o.subject, By: v.who(a, true), Raw: a.raw()}
	if what == "add" {
		e.Before, e.After = before, o.text
	} else {
		e.Before = o.text
	}
	verb := map[string]string{"add": "added", "remove": "removed"}[what]
	if before != "" {
		verb = "put in the place of another"
	}
	e.Text = fmt.Sprintf("%s %s was %s", o.class, o.text, verb)
	if e.By != nil {
		e.Text += " by " + e.By.String()
	}
	e.Data, _ = json.Marshal(o.data)
	v.tell.event(e)
}

func (v *view) allQuiet(links []int) bool {
	return !slices.ContainsFunc(links, func(i int) bool { l := v.links[i]; return l != nil && !v.isQuiet(*l) })
}

func (v *view) isQuiet(l Link) bool { return !v.uplinks[l.Index] && v.cfg.quiet(l.Name) }

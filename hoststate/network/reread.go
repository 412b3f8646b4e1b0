package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// doubt is what has to be read again, and why.
type doubt struct {
	ip, ip6  bool      // the routes of a family
	all      bool      // everything: messages were lost
	first    origin    // of the oldest reason
	earliest time.Time // when it may be read: rereading takes at most a tenth of the time

	// The kernel sends the message of an interface or address that goes before it removes the routes, and reading does not wait for it:
	// so the routes are read once more.
	second time.Time
	why    origin
}

const (
	settle    = 5 * time.Millisecond // messages may follow a reason for doubt before it is looked at
	lookAgain = time.Second
)

// due is when there is something to be read, zero if there is nothing.
func (d *doubt) due() time.Time {
	var at time.Time
	switch {
	case d.any():
		at = d.first.at.Add(settle)
	case !d.second.IsZero():
		at = d.second
	default:
		return at
	}
	if at.Before(d.earliest) {
		return d.earliest
	}
	return at
}

func (d *doubt) any() bool { return d.ip || d.ip6 || d.all }

func (d *doubt) add(family uint8, a origin) {
	if !d.any() {
		d.first = a
	}
	d.ip = d.ip || family == unix.AF_INET
	d.ip6 = d.ip6 || family == unix.AF_INET6
}

// cause is the author of IPv4 routes that are gone without a message: the kernel, when the interface or its address went.
func (d *doubt) cause(a origin) origin {
	if d.any() {
		a.at = d.first.at
	}
	return origin{at: a.at, from: fromKernel}
}

// question is one dump.
type question struct {
	get, answer uint16
	family      uint8
}

var everything = []question{
	{unix.RTM_GETLINK, unix.RTM_NEWLINK, unix.AF_UNSPEC},
	{unix.RTM_GETADDR, unix.RTM_NEWADDR, unix.AF_UNSPEC},
	{unix.RTM_GETROUTE, unix.RTM_NEWROUTE, unix.AF_INET},
	{unix.RTM_GETROUTE, unix.RTM_NEWROUTE, unix.AF_INET6},
	{unix.RTM_GETRULE, unix.RTM_NEWRULE, unix.AF_INET},
	{unix.RTM_GETRULE, unix.RTM_NEWRULE, unix.AF_INET6},
	{unix.RTM_GETNEIGH, unix.RTM_NEWNEIGH, unix.AF_INET},
	{unix.RTM_GETNEIGH, unix.RTM_NEWNEIGH, unix.AF_INET6},
}

// ask dumps what the questions are for, each on a socket of its own. A dump that changes interrupt is repeated; what the
// last one lacks, messages tell.
func ask(ctx context.Context, questions []question, begin func(question), take func(question, header, []byte)) error {
	for _, q := range questions {
		err := errInterrupted
		for try := 0; try < 5 && errors.Is(err, errInterrupted); try++ {
			begin(q)
			err = askOnce(ctx, q, take)
		}
		// A kernel without IPv6 or policy rules has none.
		if err != nil && !errors.Is(err, errInterrupted) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EAFNOSUPPORT) {
			return err
		}
	}
	return nil
}

func askOnce(ctx context.Context, q question, take func(question, header, []byte)) error {
	s, err := open(unix.NETLINK_ROUTE, 1<<20)
	if err != nil {
		return err
	}
	defer s.close()
	request := make([]byte, 16) // struct ifinfomsg is the largest of their headers, and all begin with the family
	request[0] = q.family
	switch q.get {
	case unix.RTM_GETADDR:
		request = request[:unix.SizeofIfAddrmsg]
	case unix.RTM_GETROUTE, unix.RTM_GETRULE, unix.RTM_GETNEIGH:
		request = request[:unix.SizeofRtMsg]
	}
	return s.dump(ctx, q.get, request, func(h header, body []byte) {
		if h.kind == q.answer {
			take(q, h, body)
		}
	})
}

// fresh is what a dump has.
type fresh struct {
	links   []Link
	objects map[class][]object
	near    []Neighbour
	gates   []gate
}

// read dumps into memory. It stops taking routes at maxRoutes, and says so.
func (v *view) read(ctx context.Context, questions []question) (f fresh, crowded bool, err error) {
	f.objects = map[class][]object{}
	of := map[uint16]class{unix.RTM_NEWADDR: addresses, unix.RTM_NEWROUTE: routes, unix.RTM_NEWRULE: rules}
	known := names{}
	for i, l := range v.links {
		known[i] = l
	}
	begin := func(q question) { // drop what an interrupted dump gave
		switch c := of[q.answer]; {
		case q.answer == unix.RTM_NEWLINK:
			f.links = nil
		case q.answer == unix.RTM_NEWNEIGH:
		case q.family == unix.AF_UNSPEC:
			f.objects[c] = nil
		default:
			f.objects[c] = slices.DeleteFunc(f.objects[c], func(o object) bool { return o.family == q.family })
		}
	}
	err = ask(ctx, questions, begin, func(q question, h header, body []byte) {
		switch h.kind {
		case unix.RTM_NEWLINK:
			if l, ok := parseLink(body, known); ok {
				known[l.Index] = &l
				f.links = append(f.links, l)
			}
		case unix.RTM_NEWNEIGH:
			if n, g, ok := parseNeighbour(body, known); ok {
				f.near, f.gates = append(f.near, n), append(f.gates, g)
			}
		default:
			if o, ok := parse(h.kind, body, known); ok {
				if o.class == routes && len(f.objects[routes]) >= maxRoutes {
					crowded = true
				} else {
					f.objects[o.class] = append(f.objects[o.class], o)
				}
			}
		}
	})
	for i := range f.links { // a master may have come after its slave
		if m := f.links[i].master; m != 0 {
			f.links[i].Master = known.of(m)
		}
	}
	return f, crowded, err
}

// start reads everything, silently.
func (v *view) start(ctx context.Context, catchUp func()) error {
	f, crowded, err := v.read(ctx, everything)
	if err != nil {
		return fmt.Errorf("read the network configuration: %w", err)
	}
	v.silent = true
	v.merge(f, everything, crowded, origin{}, catchUp)
	if v.doubt.any() {
		err = v.again(ctx, catchUp)
	}
	v.silent = false
	return err
}

// again reads what is in doubt and tells the differences.
func (v *view) again(ctx context.Context, catchUp func()) error {
	d := v.doubt
	v.doubt = doubt{second: d.second, why: d.why}
	switch {
	case !d.any():
		d.ip, d.first, v.doubt = true, d.why, doubt{}
	case d.ip || d.all:
		v.doubt = doubt{second: time.Now().Add(lookAgain), why: d.first}
	}
	if d.all { // what waits is older than the loss, and what undid it may be lost
		catchUp()
	}
	questions := everything
	a := origin{at: d.first.at, from: fromReading}
	if !d.all {
		questions = nil
		if d.ip {
			questions = append(questions, question{unix.RTM_GETROUTE, unix.RTM_NEWROUTE, unix.AF_INET})
		}
		if d.ip6 {
			questions = append(questions, question{unix.RTM_GETROUTE, unix.RTM_NEWROUTE, unix.AF_INET6})
		}
		if !d.ip6 {
			a = d.cause(a)
		}
	}
	began := time.Now()
	f, crowded, err := v.read(ctx, questions)
	if err != nil {
		return fmt.Errorf("read the network configuration again: %w", err)
	}
	cost := time.Since(began)
	v.merge(f, questions, crowded || v.crowded && !d.all, a, catchUp)
	v.doubt.earliest = time.Now().Add(10 * cost)
	return nil
}

// merge makes the view what was read, and tells the differences. The messages that came meanwhile are taken by catchUp first: of
// what they speak of, nothing is taken from what was read. Afterwards no message is older than the view.
func (v *view) merge(f fresh, questions []question, crowded bool, a origin, catchUp func()) {
	v.catching, v.touched = true, map[string]bool{}
	catchUp()
	v.catching, v.crowded = false, false
	if crowded {
		for _, o := range f.objects[routes] { // among them, likely, those that make uplinks
			v.count(o, 1)
		}
		v.crowd()
	}
	for _, q := range questions {
		switch q.answer {
		case unix.RTM_NEWLINK:
			v.mergeLinks(f.links, a)
		case unix.RTM_NEWADDR:
			v.mergeObjects(addresses, 0, f.objects[addresses], a)
		case unix.RTM_NEWROUTE:
			if !crowded {
				v.mergeObjects(routes, q.family, f.objects[routes], a)
			}
		case unix.RTM_NEWRULE:
			v.mergeObjects(rules, q.family, f.objects[rules], a)
		}
	}
	for i, n := range f.near {
		v.applyNeighbour(n, f.gates[i], a)
	}
}

func (v *view) mergeLinks(now []Link, a origin) {
	there := map[int]bool{}
	for _, l := range now {
		there[l.Index] = true
		if !v.touched[linkKey(l.Index)] {
			v.applyLink(l, false, a)
		}
	}
	for index, l := range v.links {
		if !there[index] && !v.touched[linkKey(index)] {
			v.applyLink(*l, true, a)
		}
	}
}

// mergeObjects compares what is known of a class and family (0: any) with what was read.
func (v *view) mergeObjects(c class, family uint8, now []object, a origin) {
	now = slices.DeleteFunc(now, func(o object) bool { return o.early })
	there := map[string]bool{}
	for _, o := range now {
		there[objectKey(o)] = true
	}
	var gone []object
	for _, list := range v.objects[c] {
		for _, o := range list {
			if (family == 0 || o.family == family) && !v.touched[objectKey(o)] && !there[objectKey(o)] {
				gone = append(gone, o)
			}
		}
	}
	slices.SortFunc(gone, func(a, b object) int { return strings.Compare(a.text, b.text) })
	for _, o := range gone {
		v.forget(o)
		v.tellObject("remove", o, "", a)
	}
	for _, o := range now {
		known := slices.ContainsFunc(v.objects[c][o.slot], func(p object) bool { return p.ident == o.ident })
		if (family == 0 || o.family == family) && !v.touched[objectKey(o)] && !known {
			v.keep(o)
			v.tellObject("add", o, "", a)
		}
	}
}

package capture

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// link is what the policy needs to know of an interface.
type link struct {
	name     string
	index    int
	hatype   uint16
	up       bool
	loopback bool
	uplink   bool // has, or had while it was there, a default route
}

// links follows the interfaces and default routes of the network namespace it was opened in. It has one user.
type links struct {
	handle  *netlink.Handle
	done    chan struct{}
	updates chan netlink.LinkUpdate
	routes  chan netlink.RouteUpdate
	list    map[int]link
	gone    map[int]bool // interfaces deleted since forgetGone
	changed map[int]bool // interfaces to be placed
	uplinks map[int]bool // that have, or had while they were there, a default route
	stale   bool         // uplinks may lack one
	deaf    bool         // there is no subscription, or it has ended
	renewed time.Time    // when it was last begun anew
	heard   bool         // the channels have readers, which close them
}

// watchLinks subscribes first and lists then, so that no change falls between.
func watchLinks() (*links, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink route socket: %w", err)
	}
	w := &links{handle: h, gone: map[int]bool{}, changed: map[int]bool{}, uplinks: map[int]bool{}}
	if err := w.subscribe(); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *links) subscribe() error {
	w.done = make(chan struct{})
	w.updates = make(chan netlink.LinkUpdate, 1024)
	w.routes = make(chan netlink.RouteUpdate, 1024)
	if err := w.listen(true); err != nil { // CAP_NET_ADMIN is needed to go beyond net.core.rmem_max
		w.silence()
		w.done = make(chan struct{})
		w.updates = make(chan netlink.LinkUpdate, 1024)
		w.routes = make(chan netlink.RouteUpdate, 1024)
		if err := w.listen(false); err != nil {
			return err
		}
	}
	return w.dump()
}

func (w *links) listen(force bool) error {
	const buffer = 4 << 20
	err := netlink.LinkSubscribeWithOptions(w.updates, w.done, netlink.LinkSubscribeOptions{
		ReceiveBufferSize: buffer, ReceiveBufferForceSize: force})
	if err != nil {
		return fmt.Errorf("subscribe to interface changes: %w", err)
	}
	err = netlink.RouteSubscribeWithOptions(w.routes, w.done, netlink.RouteSubscribeOptions{
		ReceiveBufferSize: buffer, ReceiveBufferForceSize: force})
	if err != nil {
		return fmt.Errorf("subscribe to route changes: %w", err)
	}
	w.heard = true
	return nil
}

// silence ends the subscriptions. Their readers may wait for room in a channel that nobody reads any more.
func (w *links) silence() {
	close(w.done)
	if !w.heard {
		return
	}
	w.heard = false
	drain := func(read func() bool) {
		for read() {
		}
	}
	updates, routes := w.updates, w.routes
	go drain(func() bool { _, ok := <-updates; return ok })
	go drain(func() bool { _, ok := <-routes; return ok })
}

// again subscribes anew after a subscription has ended: the kernel had more to tell than its buffer holds.
func (w *links) again() error {
	w.silence()
	w.renewed = time.Now()
	err := w.subscribe()
	w.deaf = err != nil
	return err
}

func (w *links) close() {
	if w.done != nil {
		w.silence()
	}
	w.handle.Close()
}

func (w *links) dump() error {
	var all []netlink.Link
	err := uninterrupted(func() (err error) { all, err = w.handle.LinkList(); return err })
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	before := w.list
	w.list = make(map[int]link, len(all))
	for _, l := range all {
		w.put(l)
	}
	for index := range before {
		if _, there := w.list[index]; !there {
			w.remove(index)
		}
	}
	return w.dumpUplinks()
}

func (w *links) remove(index int) {
	delete(w.list, index)
	delete(w.uplinks, index)
	delete(w.changed, index)
	w.gone[index] = true
}

func (w *links) put(l netlink.Link) {
	a := l.Attrs()
	w.changed[a.Index] = true
	w.list[a.Index] = link{
		name: a.Name, index: a.Index, hatype: hatypeOf(a.EncapType),
		up:       a.RawFlags&unix.IFF_UP != 0,
		loopback: a.Flags&net.FlagLoopback != 0,
	}
}

// hatypeOf undoes the library's naming of hardware types as far as it matters here.
func hatypeOf(encap string) uint16 {
	switch encap {
	case "ether":
		return hatypeEther
	case "loopback":
		return hatypeLoopback
	}
	return unix.ARPHRD_NONE
}

// apply takes one change of an interface. Messages of the bridge family tell of a port's membership, not of its life.
func (w *links) apply(u netlink.LinkUpdate) {
	switch {
	case u.IfInfomsg.Family == unix.AF_BRIDGE:
	case u.Header.Type == unix.RTM_DELLINK:
		w.remove(int(u.Index))
	default:
		w.put(u.Link)
	}
}

// applyRoute takes one change of a route.
func (w *links) applyRoute(u netlink.RouteUpdate) { w.stale = w.stale || isDefault(u.Route) }

// link is what is known of an interface that is there.
func (w *links) link(index int) link {
	l := w.list[index]
	l.uplink = w.uplinks[index]
	return l
}

// uninterrupted repeats a dump that changes have interrupted, a few times: what the last one has is good, and what it
// lacks the subscription tells.
func uninterrupted(dump func() error) error {
	var err error
	for range 5 {
		if err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return err
		}
	}
	return nil
}

// changeAll has every interface placed anew.
func (w *links) changeAll() {
	for index := range w.list {
		w.changed[index] = true
	}
}

// isDefault reports whether a change of a route may change the uplinks.
func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}

// dumpUplinks finds the interfaces of the default routes of all tables: on AWS, the second network interface's default
// route is in a table of its own. An uplink stays one as long as it exists: a route that is gone for 100 ms is what this
// program is there to record.
func (w *links) dumpUplinks() error {
	w.stale = false
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		var all []netlink.Route
		err := uninterrupted(func() (err error) {
			all, err = w.handle.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
			return err
		})
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, r := range all {
			if isDefault(r) && r.Type == unix.RTN_UNICAST {
				w.addUplinks(r)
			}
		}
	}
	return nil
}

func (w *links) addUplinks(r netlink.Route) {
	indexes := []int{r.LinkIndex}
	for _, hop := range r.MultiPath {
		indexes = append(indexes, hop.LinkIndex)
	}
	for _, index := range indexes {
		l, known := w.list[index]
		switch {
		case index == 0:
		case !known: // the news of it is still on its way
			w.stale = true
		case !l.loopback && !w.uplinks[index]:
			w.uplinks[index] = true
			w.changed[index] = true
		}
	}
}

package host

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Route is a way to somewhere.
type Route struct {
	To    netip.Prefix
	Via   netip.Addr // the gateway; zero where To is on the link
	Link  string
	Table int // 0 is the main table
}

// Route adds a route, in place of any other to the same destination in the same table.
func (h *Host) Route(r Route) error {
	return h.route(r, "route to", h.handle.RouteReplace)
}

// RemoveRoute removes a route.
func (h *Host) RemoveRoute(r Route) error {
	return h.route(r, "remove route to", h.handle.RouteDel)
}

func (h *Host) route(r Route, what string, f func(*netlink.Route) error) error {
	route := &netlink.Route{Dst: network(r.To), Table: r.Table}
	if r.Table == 0 {
		route.Table = unix.RT_TABLE_MAIN
	}
	if r.Via.IsValid() {
		route.Gw = r.Via.AsSlice()
	} else {
		route.Scope = netlink.SCOPE_LINK
	}
	return h.change(r.Link, fmt.Sprintf("%s %s through", what, r.To), func(l netlink.Link) error {
		route.LinkIndex = l.Attrs().Index
		return f(route)
	})
}

// Default makes the route to everywhere lead through a link, in place of any other.
func (h *Host) Default(name string, gateway netip.Addr) error {
	return h.Route(Route{To: netip.PrefixFrom(unspecified(gateway), 0), Via: gateway, Link: name})
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// Rule sends what comes from somewhere to a table of its own.
type Rule struct {
	From     netip.Prefix
	Table    int
	Priority int
}

// Rule adds a routing policy rule.
func (h *Host) Rule(r Rule) error {
	if err := h.handle.RuleAdd(r.rule()); err != nil {
		return fmt.Errorf("add rule from %s to table %d on %s: %w", r.From, r.Table, h.name, err)
	}
	return nil
}

// RemoveRule removes a routing policy rule.
func (h *Host) RemoveRule(r Rule) error {
	if err := h.handle.RuleDel(r.rule()); err != nil {
		return fmt.Errorf("remove rule from %s to table %d on %s: %w", r.From, r.Table, h.name, err)
	}
	return nil
}

func (r Rule) rule() *netlink.Rule {
	rule := netlink.NewRule()
	rule.Src, rule.Table, rule.Priority = network(r.From), r.Table, r.Priority
	rule.Family = unix.AF_INET
	if r.From.Addr().Is6() {
		rule.Family = unix.AF_INET6
	}
	return rule
}

func network(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/lab/host"
	"github.com/ringside/ringside/lab/netfilter"
	"github.com/ringside/ringside/lab/path"
)

// World is the hosts of a laboratory and what connects them:
//
//	pod 0 ─ eni0 ┐      ┌ eth0 ─ up0 ┐        ┌ wan-db    ═ db
//	             ├ node ┤            ├ router ┤
//	pod 1 ─ eni1 ┘      └ eth1 ─ up1 ┘        └ wan-cache ═ cache
//
// A single line is a veth, a double one a path, which takes time. eth1 is there with two uplinks.
type World struct {
	Node    *host.Host
	Router  *host.Host
	Pods    []*Pod
	Uplinks []Uplink
	Servers map[string]*Server

	setup       *Setup
	nodeRules   netfilter.Rules
	routerRules netfilter.Rules
	closers     []func() error
}

// Pod is a host behind the node.
type Pod struct {
	*host.Host
	Addr   netip.Addr
	Veth   string // its end on the node
	Uplink int    // the one its traffic leaves by
}

// Uplink is a way out of the node.
type Uplink struct {
	Link    string
	Addr    netip.Prefix // with the length of its network
	Gateway netip.Addr   // the router's address
	Port    string       // the router's link
}

// Server is a host behind the router.
type Server struct {
	*host.Host
	Addr netip.Addr
	Link string // its only one
	Path *path.Path
}

// PodTable is the routing table of the second pod where there are two uplinks, and PodRule leads there.
const PodTable = 2

// PodRule is the rule that sends the second pod's traffic to the second uplink.
func (w *World) PodRule() host.Rule {
	return host.Rule{From: single(w.Pods[1].Addr), Table: PodTable, Priority: 1536}
}

// mtu is that of every link, in bytes: the paths' own.
const mtu = 1500

// addr is an address of the laboratory: a network, and a host in it.
func (u *Setup) addr(network, host byte) netip.Addr {
	if u.IPv6 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x00, 2: 0x10, 7: network, 15: host})
	}
	return netip.AddrFrom4([4]byte{10, 20, network, host})
}

// Networks of the laboratory.
const (
	podNetwork    = 1
	uplinkNetwork = 10 // and 11
	serverNetwork = 99 // and 100
	linkNetwork   = 200
)

func (u *Setup) net(network byte) netip.Prefix { return u.in(u.addr(network, 0)) }

// in is the address with the length of its network.
func (u *Setup) in(a netip.Addr) netip.Prefix {
	if u.IPv6 {
		return netip.PrefixFrom(a, 64)
	}
	return netip.PrefixFrom(a, 24)
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// build makes the world. The caller closes it, also after an error.
func (w *World) build() error {
	for _, step := range []func() error{w.hosts, w.uplinks, w.pods, w.servers, w.rules} {
		if err := step(); err != nil {
			return fmt.Errorf("build the laboratory: %w", err)
		}
	}
	return nil
}

// Close removes everything.
func (w *World) Close() error {
	var errs []error
	for i := len(w.closers) - 1; i >= 0; i-- {
		errs = append(errs, w.closers[i]())
	}
	w.closers = nil
	return errors.Join(errs...)
}

func (w *World) onClose(f func() error) { w.closers = append(w.closers, f) }

func (w *World) host(name string) (*host.Host, error) {
	h, err := host.New(name, host.Options{IPv6: w.setup.IPv6})
	if err != nil {
		return nil, err
	}
	w.onClose(h.Close)
	return h, errors.Join(h.Sysctl("net/ipv4/conf/all/rp_filter", "0"), h.Sysctl("net/ipv4/conf/default/rp_filter", "0"))
}

func (w *World) hosts() (err error) {
	if w.Node, err = w.host("node"); err != nil {
		return err
	}
	if w.Router, err = w.host("router"); err != nil {
		return err
	}
	for _, h := range []*host.Host{w.Node, w.Router} {
		if err := h.Sysctl("net/ipv4/ip_forward", "1"); err != nil {
			return err
		}
		if w.setup.IPv6 {
			if err := h.Sysctl("net/ipv6/conf/all/forwarding", "1"); err != nil {
				return err
			}
		}
	}
	return w.Node.Do(func() error {
		return unix.Mount("ringside", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=512m,mode=755")
	})
}

// veth makes a veth of the laboratory's MTU.
func veth(a *host.Host, name string, b *host.Host, peer string) error {
	if err := a.Veth(name, b, peer); err != nil {
		return err
	}
	return errors.Join(a.MTU(name, mtu), b.MTU(peer, mtu))
}

func (w *World) uplinks() error {
	for i := range w.setup.Uplinks {
		network := byte(uplinkNetwork + i)
		u := Uplink{Link: fmt.Sprint("eth", i), Port: fmt.Sprint("up", i), Addr: w.setup.in(w.setup.addr(network, 10)), Gateway: w.setup.addr(network, 1)}
		err := errors.Join(veth(w.Node, u.Link, w.Router, u.Port),
			w.Router.Address(u.Port, w.setup.in(u.Gateway).String()))
		if err != nil {
			return err
		}
		w.Uplinks = append(w.Uplinks, u)
		if i == 0 && w.setup.DHCP != "" {
			continue
		}
		if err := w.ConfigureUplink(i); err != nil {
			return err
		}
	}
	return nil
}

// ConfigureUplink gives an uplink its address, and the route that leads through it.
func (w *World) ConfigureUplink(i int) error {
	u := w.Uplinks[i]
	return errors.Join(w.Node.Address(u.Link, u.Addr.String()), w.Node.Route(w.wayOut(i)))
}

// UnconfigureUplink takes them away, as whoever gives up a lease does.
func (w *World) UnconfigureUplink(i int) error {
	u := w.Uplinks[i]
	return errors.Join(w.Node.RemoveRoute(w.wayOut(i)), w.Node.RemoveAddress(u.Link, u.Addr.String()))
}

// wayOut is the route to everywhere through an uplink; that of the second one is in a table of its own.
func (w *World) wayOut(i int) host.Route {
	r := host.Route{To: netip.PrefixFrom(w.setup.addr(0, 0), 0).Masked(), Via: w.Uplinks[i].Gateway, Link: w.Uplinks[i].Link}
	if i > 0 {
		r.Table = PodTable
	}
	return r
}

func (w *World) pods() error {
	gateway := w.setup.addr(linkNetwork, 1) // the node's address on each pod's link, as CNIs do it
	for i := range 2 {
		h, err := w.host(fmt.Sprint("pod", i))
		if err != nil {
			return err
		}
		p := &Pod{Host: h, Addr: w.setup.addr(podNetwork, byte(11+i)), Veth: fmt.Sprint("eni", i)}
		if w.setup.Uplinks == 2 {
			p.Uplink = i
		}
		w.Pods = append(w.Pods, p)
		err = errors.Join(veth(w.Node, p.Veth, h, "eth0"),
			w.Node.Address(p.Veth, single(gateway).String()),
			w.Node.Route(host.Route{To: single(p.Addr), Link: p.Veth}),
			h.Address("eth0", single(p.Addr).String()),
			h.Route(host.Route{To: single(gateway), Link: "eth0"}),
			h.Default("eth0", gateway))
		if err != nil {
			return err
		}
	}
	if w.setup.Uplinks == 2 {
		return w.Node.Rule(w.PodRule())
	}
	return nil
}

func (w *World) servers() error {
	w.Servers = map[string]*Server{}
	for i, name := range []string{DB, Cache} {
		h, err := w.host(name)
		if err != nil {
			return err
		}
		network, port := byte(serverNetwork+i), "wan-"+name
		p, err := path.Connect(path.End{Host: w.Router, Link: port}, path.End{Host: h, Link: "eth0"},
			path.Conditions{Delay: w.setup.RTT / 2}, w.setup.Seed+uint64(i))
		if err != nil {
			return err
		}
		w.onClose(p.Close)
		s := &Server{Host: h, Addr: w.setup.addr(network, byte(5+i)), Link: "eth0", Path: p}
		gateway := w.setup.addr(network, 1)
		err = errors.Join(w.Router.Address(port, w.setup.in(gateway).String()),
			h.Address(s.Link, w.setup.in(s.Addr).String()), h.Default(s.Link, gateway))
		if err != nil {
			return err
		}
		w.Servers[name] = s
	}
	return w.routeToPods()
}

// routeToPods lets the router know the pods where their addresses are not translated.
func (w *World) routeToPods() error {
	if w.setup.NAT != NoNAT {
		return nil
	}
	for _, p := range w.Pods {
		u := w.Uplinks[p.Uplink]
		if err := w.Router.Route(host.Route{To: single(p.Addr), Via: u.Addr.Addr(), Link: u.Port}); err != nil {
			return err
		}
	}
	return nil
}

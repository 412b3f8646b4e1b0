package netlab

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// MaxMTU is what every veth of the lab is given, in bytes: frames of up to 9000 bytes and two tags pass.
const MaxMTU = 9100

// Veth makes a veth pair, name here and peer in other, sets both up, and waits until both carry packets. An existing
// name is an error.
func (n *Namespace) Veth(name string, other *Namespace, peer string) error {
	if err := n.NewVeth(name, other, peer); err != nil {
		return err
	}
	return other.Running(peer)
}

// NewVeth is Veth without waiting: name carries packets when it returns, peer does so a moment later.
func (n *Namespace) NewVeth(name string, other *Namespace, peer string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, MaxMTU
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: peer, PeerMTU: MaxMTU, PeerNamespace: netlink.NsFd(other.net)}
	if err := n.handle.LinkAdd(veth); err != nil {
		return fmt.Errorf("make veth %s with peer %s: %w", name, peer, err)
	}
	if err := other.Up(peer); err != nil {
		return err
	}
	return n.Up(name)
}

// Running waits until a link carries packets: the kernel drops what is sent before.
func (n *Namespace) Running(name string) error {
	for range 300 {
		l, err := n.handle.LinkByName(name)
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
		if l.Attrs().OperState == netlink.OperUp {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("link %s has no carrier after 3 s", name)
}

// Up sets a link up.
func (n *Namespace) Up(name string) error {
	return n.change(name, "set up", n.handle.LinkSetUp)
}

// Down sets a link down.
func (n *Namespace) Down(name string) error {
	return n.change(name, "set down", n.handle.LinkSetDown)
}

// Remove deletes a link, and with it the other end of a veth.
func (n *Namespace) Remove(name string) error {
	return n.change(name, "remove", n.handle.LinkDel)
}

// Rename gives a link another name, also while it is up.
func (n *Namespace) Rename(name, to string) error {
	return n.change(name, "rename", func(l netlink.Link) error { return n.handle.LinkSetName(l, to) })
}

// Big lets a link carry GSO and GRO frames of up to size bytes (BIG TCP above 65536) in both families.
func (n *Namespace) Big(name string, size int) error {
	return n.change(name, "set GSO and GRO sizes", func(l netlink.Link) error {
		for _, set := range []func(netlink.Link, int) error{
			n.handle.LinkSetGSOMaxSize, n.handle.LinkSetGROMaxSize,
			n.handle.LinkSetGSOIPv4MaxSize, n.handle.LinkSetGROIPv4MaxSize,
		} {
			if err := set(l, size); err != nil {
				return err
			}
		}
		return nil
	})
}

// Address gives a link an address with its prefix, such as 10.9.0.1/24.
func (n *Namespace) Address(name, prefix string) error {
	addr, err := netlink.ParseAddr(prefix)
	if err != nil {
		return fmt.Errorf("address %q: %w", prefix, err)
	}
	return n.change(name, "give address "+prefix, func(l netlink.Link) error { return n.handle.AddrAdd(l, addr) })
}

// Default makes the route to everywhere lead through a link, in place of any other.
func (n *Namespace) Default(name string, gateway netip.Addr) error {
	everywhere := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	return n.change(name, "route to everywhere", func(l netlink.Link) error {
		return n.handle.RouteReplace(&netlink.Route{
			LinkIndex: l.Attrs().Index, Dst: everywhere, Gw: gateway.AsSlice(), Table: unix.RT_TABLE_MAIN,
		})
	})
}

// Link is what the kernel says of an interface.
type Link struct {
	Index          int
	Received, Sent uint64 // packets
}

// Link returns the interface of that name.
func (n *Namespace) Link(name string) (Link, error) {
	l, err := n.handle.LinkByName(name)
	if err != nil {
		return Link{}, fmt.Errorf("link %s: %w", name, err)
	}
	a := l.Attrs()
	return Link{Index: a.Index, Received: a.Statistics.RxPackets, Sent: a.Statistics.TxPackets}, nil
}

func (n *Namespace) change(name, what string, f func(netlink.Link) error) error {
	l, err := n.handle.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, name, err)
	}
	if err := f(l); err != nil {
		return fmt.Errorf("%s %s: %w", what, name, err)
	}
	return nil
}

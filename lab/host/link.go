package host

import (
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// MaxMTU is what every veth is given, in bytes: frames of up to 9000 bytes and two tags pass.
const MaxMTU = 9100

// Veth makes a veth pair, name here and peer in other, sets both up, and waits until both carry packets. An existing
// name is an error.
func (h *Host) Veth(name string, other *Host, peer string) error {
	if err := h.NewVeth(name, other, peer); err != nil {
		return err
	}
	return other.Running(peer)
}

// NewVeth is Veth without waiting: name carries packets when it returns, peer does so a moment later.
func (h *Host) NewVeth(name string, other *Host, peer string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, MaxMTU
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: peer, PeerMTU: MaxMTU, PeerNamespace: netlink.NsFd(other.net)}
	if err := h.handle.LinkAdd(veth); err != nil {
		return fmt.Errorf("make veth %s with peer %s: %w", name, peer, err)
	}
	if err := other.Up(peer); err != nil {
		return err
	}
	return h.Up(name)
}

// Running waits until a link carries packets: the kernel drops what is sent before.
func (h *Host) Running(name string) error {
	for range 3000 {
		l, err := h.handle.LinkByName(name)
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
		if l.Attrs().OperState == netlink.OperUp {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("link %s has no carrier after 30 s", name)
}

// Up sets a link up.
func (h *Host) Up(name string) error {
	return h.change(name, "set up", h.handle.LinkSetUp)
}

// Down sets a link down.
func (h *Host) Down(name string) error {
	return h.change(name, "set down", h.handle.LinkSetDown)
}

// Remove deletes a link, and with it the other end of a veth.
func (h *Host) Remove(name string) error {
	return h.change(name, "remove", h.handle.LinkDel)
}

// Rename gives a link another name, also while it is up.
func (h *Host) Rename(name, to string) error {
	return h.change(name, "rename", func(l netlink.Link) error { return h.handle.LinkSetName(l, to) })
}

// MTU sets how many bytes a packet on a link may have.
func (h *Host) MTU(name string, size int) error {
	return h.change(name, "set MTU", func(l netlink.Link) error { return h.handle.LinkSetMTU(l, size) })
}

// Big lets a link carry GSO and GRO frames of up to size bytes (BIG TCP above 65536) in both families.
func (h *Host) Big(name string, size int) error {
	return h.change(name, "set GSO and GRO sizes", func(l netlink.Link) error {
		for _, set := range []func(netlink.Link, int) error{
			h.handle.LinkSetGSOMaxSize, h.handle.LinkSetGROMaxSize,
			h.handle.LinkSetGSOIPv4MaxSize, h.handle.LinkSetGROIPv4MaxSize,
		} {
			if err := set(l, size); err != nil {
				return err
			}
		}
		return nil
	})
}

// Address gives a link an address with its prefix, such as 10.9.0.1/24.
func (h *Host) Address(name, prefix string) error {
	return h.address(name, prefix, "give address", h.handle.AddrAdd)
}

// RemoveAddress takes an address from a link, and with it the routes that need it.
func (h *Host) RemoveAddress(name, prefix string) error {
	return h.address(name, prefix, "take address", h.handle.AddrDel)
}

func (h *Host) address(name, prefix, what string, f func(netlink.Link, *netlink.Addr) error) error {
	addr, err := netlink.ParseAddr(prefix)
	if err != nil {
		return fmt.Errorf("address %q: %w", prefix, err)
	}
	if addr.IP.To4() == nil {
		addr.Flags = unix.IFA_F_NODAD // it is usable at once
	}
	return h.change(name, what+" "+prefix, func(l netlink.Link) error { return f(l, addr) })
}

// Link is what the kernel says of an interface.
type Link struct {
	Index          int
	Received, Sent uint64 // packets
}

// Link returns the interface of that name.
func (h *Host) Link(name string) (Link, error) {
	l, err := h.handle.LinkByName(name)
	if err != nil {
		return Link{}, fmt.Errorf("link %s: %w", name, err)
	}
	a := l.Attrs()
	return Link{Index: a.Index, Received: a.Statistics.RxPackets, Sent: a.Statistics.TxPackets}, nil
}

func (h *Host) change(name, what string, f func(netlink.Link) error) error {
	l, err := h.handle.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s %s on %s: %w", what, name, h.name, err)
	}
	if err := f(l); err != nil {
		return fmt.Errorf("%s %s on %s: %w", what, name, h.name, err)
	}
	return nil
}

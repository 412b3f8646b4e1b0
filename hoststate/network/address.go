package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Address is an address of an interface, and the data of address.add and address.remove.
type Address struct {
	Address string `json:"address"` // with the length of its prefix
	Dev     string `json:"dev"`
	Index   int    `json:"index"` // of Dev
	Peer    string `json:"peer,omitempty"`
	Scope   string `json:"scope"`
	Failed  bool   `json:"failed,omitempty"` // another host has it too (IPv6 duplicate address detection)

	tentative bool // that detection goes on: it is not used yet, and the kernel tells of it afterwards
}

// parseAddress reads RTM_NEWADDR and RTM_DELADDR (linux/if_addr.h).
func parseAddress(b []byte, names names) (o object, ok bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return o, false
	}
	a := &Address{Scope: scopeName(b[3]), Index: int(binary.NativeEndian.Uint32(b[4:]))}
	flags := uint32(b[2])
	a.Dev = names.of(a.Index)
	var local, peer netip.Addr
	for kind, v := range attributes(b[unix.SizeofIfAddrmsg:]) {
		switch kind {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(v)
		case unix.IFA_ADDRESS:
			peer, _ = netip.AddrFromSlice(v)
		case unix.IFA_FLAGS:
			flags = u32(v)
		}
	}
	if !local.IsValid() { // IPv6 has a local one only beside a peer
		local, peer = peer, netip.Addr{}
	}
	if !local.IsValid() {
		return o, false
	}
	a.Address = netip.PrefixFrom(local, int(b[1])).String()
	a.Failed = flags&unix.IFA_F_DADFAILED != 0
	a.tentative = flags&unix.IFA_F_TENTATIVE != 0 && !a.Failed
	if peer.IsValid() && peer != local {
		a.Address, a.Peer = local.String(), netip.PrefixFrom(peer, int(b[1])).String()
	}
	return object{
		class: addresses, family: b[0], subject: a.Dev, data: a, links: []int{a.Index},
		slot:  fmt.Sprintf("%s %s #%d", a.Address, a.Peer, a.Index),
		ident: fmt.Sprintf("%s %s #%d %s %v", a.Address, a.Peer, a.Index, a.Scope, a.Failed),
		text:  a.String(),
		own:   local.Is6() && local.IsLinkLocalUnicast(),
		early: a.tentative,
	}, true
}

// String is the address as a line: "10.0.0.5/24 dev eth0 scope global".
func (a *Address) String() string {
	s := a.Address
	if a.Peer != "" {
		s += " peer " + a.Peer
	}
	s += " dev " + a.Dev + " scope " + a.Scope
	if a.Failed {
		s += " dadfailed"
	}
	if a.tentative {
		s += " tentative"
	}
	return s
}

func scopeName(scope uint8) string {
	switch scope {
	case unix.RT_SCOPE_UNIVERSE:
		return "global"
	case unix.RT_SCOPE_SITE:
		return "site"
	case unix.RT_SCOPE_LINK:
		return "link"
	case unix.RT_SCOPE_HOST:
		return "host"
	}
	return fmt.Sprint(scope)
}

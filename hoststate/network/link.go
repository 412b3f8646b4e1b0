package network

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

// Link is an interface, and the data of link.change.
type Link struct {
	Index  int    `json:"index"`
	Name   string `json:"name"`
	Kind   string `json:"kind,omitempty"`   // such as veth; "" is hardware, and lo
	State  string `json:"state"`            // up; down; no-carrier: up, but nothing passes
	MTU    int    `json:"mtu"`              // bytes
	Master string `json:"master,omitempty"` // the bridge, bond or VRF it belongs to
	MAC    string `json:"mac,omitempty"`

	master int // its index
}

// States of a link.
const (
	linkUp        = "up"
	linkDown      = "down"
	linkNoCarrier = "no-carrier"
)

// parseLink reads RTM_NEWLINK and RTM_DELLINK (linux/if_link.h). Messages of the bridge family tell of a port's membership,
// not of an interface.
func parseLink(b []byte, names names) (l Link, ok bool) {
	if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC {
		return l, false
	}
	l.Index = int(int32(binary.NativeEndian.Uint32(b[4:])))
	flags := binary.NativeEndian.Uint32(b[8:])
	switch {
	case flags&unix.IFF_UP == 0:
		l.State = linkDown
	case flags&unix.IFF_RUNNING == 0:
		l.State = linkNoCarrier
	default:
		l.State = linkUp
	}
	for kind, a := range attributes(b[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_IFNAME:
			l.Name = text(a)
		case unix.IFLA_MTU:
			l.MTU = int(u32(a))
		case unix.IFLA_MASTER:
			l.master = int(u32(a))
			l.Master = names.of(l.master)
		case unix.IFLA_ADDRESS:
			l.MAC = net.HardwareAddr(a).String()
		case unix.IFLA_LINKINFO:
			for kind, a := range attributes(a) {
				if kind == unix.IFLA_INFO_KIND {
					l.Kind = text(a)
				}
			}
		}
	}
	return l, l.Index > 0 && l.Name != ""
}

// String is the link as a line: "eth0: up mtu 9001 kind veth master br0 mac 02:00:00:00:00:01".
func (l Link) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s: %s mtu %d", l.Name, l.State, l.MTU)
	for _, more := range [][2]string{{"kind", l.Kind}, {"master", l.Master}, {"mac", l.MAC}} {
		if more[1] != "" {
			fmt.Fprintf(&s, " %s %s", more[0], more[1])
		}
	}
	return s.String()
}

// changes says what became of a link, as parts of a sentence. There are none if nothing did that matters here.
func (l Link) changes(now Link) (parts []string) {
	if l.Name != now.Name {
		parts = append(parts, "was renamed to "+now.Name)
	}
	if l.State != now.State {
		parts = append(parts, map[string]string{
			linkUp: "is up", linkDown: "was set down", linkNoCarrier: "has no carrier"}[now.State])
	}
	if l.MTU != now.MTU {
		parts = append(parts, fmt.Sprintf("has an MTU of %d instead of %d", now.MTU, l.MTU))
	}
	switch {
	case l.master == now.master:
	case now.master == 0:
		parts = append(parts, "left "+l.Master)
	default:
		parts = append(parts, "joined "+now.Master)
	}
	if l.MAC != now.MAC {
		parts = append(parts, "has the address "+now.MAC+" instead of "+l.MAC)
	}
	return parts
}

// names knows the links' names by their indexes.
type names map[int]*Link

func (n names) of(index int) string {
	if l := n[index]; l != nil {
		return l.Name
	}
	return fmt.Sprintf("#%d", index)
}

// applyLink takes an interface as it is now.
func (v *view) applyLink(l Link, gone bool, a origin) {
	old := v.links[l.Index]
	if v.catching {
		v.touched[linkKey(l.Index)] = true
	}
	e := hoststate.Event{Time: a.at, Kind: "link.change", Subject: l.Name, Raw: a.raw()}
	quiet := v.isQuiet(l) && (old == nil || v.isQuiet(*old))
	switch {
	case gone && old == nil:
		return
	case gone:
		delete(v.links, l.Index)
		delete(v.uplinks, l.Index)
		e.Before, e.Text = old.String(), l.Name+" is gone"
	case old == nil:
		e.After, e.Text = l.String(), l.Name+" came, "+map[string]string{linkUp: "up", linkDown: "down", linkNoCarrier: "without carrier"}[l.State]
	default:
		changes := old.changes(l)
		if len(changes) == 0 {
			return
		}
		e.Before, e.After, e.Text = old.String(), l.String(), old.Name+" "+and(changes)
	}
	if !gone {
		v.links[l.Index] = &l
	}
	if old != nil && v.using[l.Index] > 0 && (gone || l.State == linkDown && old.State != linkDown) {
		v.doubt.add(unix.AF_INET, a)
	}
	if v.silent {
		return
	}
	if quiet {
		v.tell.quietLink(old != nil, gone)
		return
	}
	if e.By = v.who(a, false); e.By != nil {
		e.Text += ", by " + e.By.String()
	}
	e.Data, _ = json.Marshal(l)
	v.tell.event(e)
}

func linkKey(index int) string { return fmt.Sprint("link", index) }

// and joins the parts of a sentence.
func and(parts []string) string {
	s := parts[0]
	for i, p := range parts[1:] {
		if i == len(parts)-2 {
			s += " and " + p
		} else {
			s += ", " + p
		}
	}
	return s
}

package network

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

// Neighbour is a gateway's entry in the neighbour table, and the data of neighbour.change.
type Neighbour struct {
	Address string `json:"address"`
	Dev     string `json:"dev"`
	MAC     string `json:"mac,omitempty"`
	Failed  bool   `json:"failed,omitempty"` // it did not answer
}

// gate is a gateway: a link's index, and an address.
type gate struct {
	link int
	via  string
}

// maxNear bounds how many neighbours are remembered. Those of gateways that come back are worth keeping: a router that
// answers from another address after an outage is another router.
const maxNear = 1024

// parseNeighbour reads RTM_NEWNEIGH and RTM_DELNEIGH (linux/neighbour.h). An entry that is being resolved says nothing yet.
func parseNeighbour(b []byte, names names) (n Neighbour, g gate, ok bool) {
	if len(b) < unix.SizeofNdMsg || (b[0] != unix.AF_INET && b[0] != unix.AF_INET6) {
		return n, g, false
	}
	g.link = int(binary.NativeEndian.Uint32(b[4:]))
	state := binary.NativeEndian.Uint16(b[8:])
	n.Failed = state&unix.NUD_FAILED != 0
	for kind, v := range attributes(b[unix.SizeofNdMsg:]) {
		switch kind {
		case unix.NDA_DST:
			g.via = address(v)
		case unix.NDA_LLADDR:
			n.MAC = net.HardwareAddr(v).String()
		}
	}
	if n.Failed {
		n.MAC = ""
	}
	n.Address, n.Dev = g.via, names.of(g.link)
	return n, g, g.via != "" && state&unix.NUD_INCOMPLETE == 0 && state != unix.NUD_NONE
}

// applyNeighbour takes a neighbour as it is now. Only those of gateways are kept, so that the others cost nothing.
func (v *view) applyNeighbour(n Neighbour, g gate, a origin) {
	if v.gates[g] == 0 {
		return
	}
	old, known := v.near[g]
	if len(v.near) >= maxNear && !known {
		clear(v.near)
	}
	v.near[g] = n
	if v.silent || old == n || !known && !n.Failed {
		return
	}
	e := hoststate.Event{Time: a.at, Kind: "neighbour.change", Subject: g.via, After: n.String(), By: v.who(a, false), Raw: a.raw()}
	if known {
		e.Before = old.String()
	}
	switch {
	case n.Failed:
		e.Text = fmt.Sprintf("gateway %s does not answer on %s", g.via, n.Dev)
	case old.Failed:
		e.Text = fmt.Sprintf("gateway %s answers again on %s, as %s", g.via, n.Dev, n.MAC)
	default:
		e.Text = fmt.Sprintf("gateway %s is %s instead of %s on %s", g.via, n.MAC, old.MAC, n.Dev)
	}
	e.Data, _ = json.Marshal(n)
	v.tell.event(e)
}

// String is the neighbour as a line: "10.0.0.1 dev eth0 mac 02:00:00:00:00:01".
func (n Neighbour) String() string {
	if n.Failed {
		return n.Address + " dev " + n.Dev + " failed"
	}
	return n.Address + " dev " + n.Dev + " mac " + n.MAC
}

package lab

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/lab/wire"
)

// enough is how many different connections a signature must show in: fewer may be chance.
const enough = 3

// migrated is the connections that go on in their middle from a port that was not seen before, at an uplink.
func (s *Seen) migrated() (list []*wire.Conversation) {
	for _, c := range s.AtUplinks().Conversations(s.servers()...) {
		if !c.Opened && c.FromClient.Data > 0 && !c.FromClient.First.Before(s.Fault.At) && !s.knownBefore(c) && !s.isPod(c.Client.Addr()) {
			list = append(list, c)
		}
	}
	return list
}

// knownBefore says whether an interface saw the connection before the fault.
func (s *Seen) knownBefore(c *wire.Conversation) bool {
	before := func(d wire.Direction) bool { return d.Packets > 0 && d.First.Before(s.Fault.At) }
	return before(c.FromClient) || before(c.FromServer)
}

func (s *Seen) isPod(a netip.Addr) bool {
	return slices.ContainsFunc(s.World.Pods, func(p *Pod) bool { return p.Addr == a })
}

func (s *Seen) expectMigration() Expectation {
	n := len(s.migrated())
	return Expect("connections go on in their middle from another source port", n >= enough, "%d connections", n)
}

func (s *Seen) expectNoMigration() Expectation {
	n := len(s.migrated())
	return Expect("no connection changes its source port", n == 0, "%d connections", n)
}

func (s *Seen) expectServerResets() Expectation {
	n := 0
	for _, c := range s.migrated() {
		if !c.FromServer.RST.IsZero() {
			n++
		}
	}
	return Expect("the server answers them with RST", n >= enough, "%d connections", n)
}

// expectNodeResets: a host's own packets have not lost a hop, those of a pod have.
func (s *Seen) expectNodeResets() Expectation {
	const initial = 64
	flows := map[[2]netip.AddrPort]bool{}
	for _, p := range s.AtUplinks() {
		if p.Has(wire.RST) && p.TTL == initial && s.AfterFault(&p) && s.ToServer(&p) && p.Payload == 0 && p.Window == 0 {
			flows[[2]netip.AddrPort{p.Src, p.Dst}] = true
		}
	}
	return Expect("the node itself resets connections whose server spoke first", len(flows) >= 1, "%d connections", len(flows))
}

// expectLeak: packets leave with a pod's address. With openings, new connections do, too.
func (s *Seen) expectLeak(openings bool) Expectation {
	packets, opening, flows := 0, 0, map[netip.AddrPort]bool{}
	for _, p := range s.AtUplinks() {
		if p.Protocol == unix.IPPROTO_TCP && s.FromPod(&p) && s.AfterFault(&p) {
			packets++
			flows[p.Src] = true
			if p.Is(wire.SYN) {
				opening++
			}
		}
	}
	what, held := "segments of open connections leave with the pod's own address", len(flows) >= enough && opening == 0
	if openings {
		what, held = "segments leave with the pod's own address, of new connections as well", len(flows) >= enough && opening > 0
	}
	return Expect(what, held, "%d packets of %d connections, %d of them SYN", packets, len(flows), opening)
}

// sides pairs what a pod's link and the uplinks saw of connections that were open when the fault began.
func (s *Seen) inside() (list []*wire.Conversation) {
	for _, c := range s.AtPods().Conversations(s.servers()...) {
		if s.knownBefore(c) {
			list = append(list, c)
		}
	}
	return list
}

// expectVanished: what pods send on open connections enters the node and does not leave it.
func (s *Seen) expectVanished() Expectation {
	entered, left := 0, 0
	old := map[netip.AddrPort]bool{}
	for _, c := range s.inside() {
		old[c.Client] = true
	}
	outside := map[netip.AddrPort]bool{}
	for _, f := range s.Live() {
		outside[f.Outside] = true
	}
	late := func(p *wire.Packet) bool {
		return p.Payload > 0 && p.Time.After(s.Fault.Until) && s.ToServer(p)
	}
	for _, p := range s.AtPods() {
		if late(&p) && old[p.Src] {
			entered++
		}
	}
	for _, p := range s.AtUplinks() {
		if late(&p) && (outside[p.Src] || s.isPod(p.Src.Addr())) {
			left++
		}
	}
	return Expect("segments of open connections enter the node and never leave it", entered >= enough && left == 0,
		"%d entered, %d left", entered, left)
}

// expectLocalResets: pods get resets on open connections that no uplink saw.
func (s *Seen) expectLocalResets() Expectation {
	pods, uplinks := map[netip.AddrPort]bool{}, 0
	for _, c := range s.inside() {
		if c.FromServer.RST.After(s.Fault.At) {
			pods[c.Client] = true
		}
	}
	for _, p := range s.AtUplinks() {
		if p.Has(wire.RST) && s.AfterFault(&p) && slices.Contains(s.Ports(), p.Src.Port()) {
			uplinks++
		}
	}
	return Expect("pods get RST that no server sent", len(pods) >= enough && uplinks == 0,
		"%d connections reset at the pods, %d RST of servers at the uplinks", len(pods), uplinks)
}

package lab

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/lab/traffic"
	"github.com/ringside/ringside/lab/wire"
)

// aftermath is what the clients of some services saw from the fault on.
type aftermath struct {
	There       []traffic.Flow // kept open, and connected when the fault came
	Hit         []traffic.Flow // of those, the ones that then ended badly
	Broken      traffic.Failures
	Unconnected traffic.Failures
	Longest     time.Duration // wait for an answer
	Median      time.Duration // wait for an answer while the fault lasted, in the pod where it was longer
	Connect     time.Duration // the longest handshake
	Answers     int           // when the fault was over
}

// aftermath sums up the services of those names.
func (s *Seen) aftermath(services ...string) (a aftermath) {
	for _, o := range s.Outcomes {
		if !slices.Contains(services, o.Service) {
			continue
		}
		for _, part := range []traffic.Summary{o.During, o.After} {
			a.Broken = a.Broken.Add(part.Broken)
			a.Unconnected = a.Unconnected.Add(part.Unconnected)
			a.Longest = max(a.Longest, part.Max.Round(time.Millisecond))
			a.Connect = max(a.Connect, part.ConnectMax.Round(time.Millisecond))
		}
		a.Median = max(a.Median, o.During.P50.Round(time.Millisecond))
		a.Answers += o.After.Answers
		for _, f := range o.Flows {
			if f.Pooled && f.There(s.Fault.At) {
				a.There = append(a.There, f)
				if f.Bad() {
					a.Hit = append(a.Hit, f)
				}
			}
		}
	}
	return a
}

// recovers states that there are answers again when the fault is over.
func (a *aftermath) recovers() Expectation {
	return Expect("there are answers again when it is over", a.Answers > 0, "%d answers", a.Answers)
}

// unharmed states that clients of the other services saw nothing of the fault.
func (s *Seen) unharmed(services ...string) Expectation {
	var others []string
	for _, v := range s.Services {
		if !slices.Contains(services, v.Name) {
			others = append(others, v.Name)
		}
	}
	a := s.aftermath(others...)
	return Expect("other services are not affected", a.Broken.Total()+a.Unconnected.Total() == 0 && a.Answers > 0,
		"%d answers, broken %v, unconnected %v", a.Answers, a.Broken, a.Unconnected)
}

// underWay is how long what was sent before a fault may still arrive: a path is carried by this process, which a busy machine
// may keep waiting.
const underWay = time.Second

// spared states what tells a look-alike from a fault of the node: it kept its state and did its work.
func (s *Seen) spared() []Expectation {
	return []Expectation{s.expectKept(), s.expectNoMigration(), s.expectNoLeak(), s.expectSilentNode(), s.expectPassage()}
}

// expectKept is expectNoBurst, and that the recorder would have seen one.
func (s *Seen) expectKept() Expectation {
	e := s.expectNoBurst()
	watched := slices.ContainsFunc(s.Manifest.Recorder.Watchers, func(w hoststate.WatcherStatus) bool {
		return w.Name == "conntrack" && w.State == hoststate.StateOn
	})
	if !watched {
		e.Held, e.Saw = false, "the recorder did not watch connection tracking"
	}
	return e
}

func (s *Seen) expectNoLeak() Expectation {
	n := s.AtUplinks().Count(s.FromPod)
	return Expect("no packet leaves with a pod's address", n == 0 || s.NAT == NoNAT, "%d packets", n)
}

// expectSilentNode: what the node sends by itself was not forwarded, so its TTL is still that of its birth.
func (s *Seen) expectSilentNode() Expectation {
	const birth = 64 // net.ipv4.ip_default_ttl
	n := s.AtUplinks().Count(func(p *wire.Packet) bool {
		return !s.fromServer(p) && p.Has(wire.RST) && p.TTL == birth
	})
	return Expect("the node itself resets nothing", n == 0, "%d RSTs of the node", n)
}

// expectPassage: what came to the node left it on the other side.
func (s *Seen) expectPassage() Expectation {
	type segment struct {
		server   netip.AddrPort
		seq, ack uint32
		flags    uint8
		payload  int
	}
	arrived, left := map[segment]int{}, map[segment]int{}
	for i := range s.Packets {
		p := &s.Packets[i]
		if p.Protocol != unix.IPPROTO_TCP {
			continue
		}
		g, in := segment{p.Dst, p.Seq, p.Ack, p.Flags, p.Payload}, s.fromServer(p)
		if in {
			g.server = p.Src
		}
		if in != s.atUplink(p.Interface) {
			left[g]++
		} else if s.clear(p.Time) {
			arrived[g]++
		}
	}
	lost := 0
	for g, n := range arrived {
		lost += max(n-left[g], 0)
	}
	return Expect("nothing vanishes inside the node", lost == 0 && len(arrived) > 0,
		"%d of %d segments came in and never went out", lost, len(arrived))
}

// clear says whether a time is so far from the ends of the capture that both sides of the node are in it.
func (s *Seen) clear(t time.Time) bool {
	const edge = 100 * time.Millisecond
	first, last := s.Packets[0].Time, s.Packets[len(s.Packets)-1].Time
	return t.Sub(first) > edge && last.Sub(t) > edge
}

// atUplink says whether an interface is an uplink of the node.
func (s *Seen) atUplink(name string) bool {
	return slices.ContainsFunc(s.World.Uplinks, func(u Uplink) bool { return u.Link == name })
}

// servers are where the services of those names are; all, if none is given.
func (s *Seen) servers(services ...string) (list []netip.AddrPort) {
	for _, v := range s.Services {
		if len(services) == 0 || slices.Contains(services, v.Name) {
			list = append(list, netip.AddrPortFrom(s.World.Servers[v.Server].Addr, v.Port))
		}
	}
	return list
}

// conversations is all connections to those services that uplinks saw.
func (s *Seen) conversations(services ...string) map[wire.Key]*wire.Conversation {
	return s.AtUplinks().Conversations(s.servers(services...)...)
}

// fromServer says whether a packet comes from one of those services; from any, if none is given.
func (s *Seen) fromServer(p *wire.Packet, services ...string) bool {
	return slices.Contains(s.servers(services...), p.Src)
}

// outside returns those connections of flows that an uplink saw, as it saw them.
func (s *Seen) outside(flows []traffic.Flow) (found []*wire.Conversation) {
	type ends struct{ client, server netip.AddrPort }
	there := map[ends]*wire.Conversation{}
	for key, v := range s.conversations() {
		there[ends{key.Client, key.Server}] = v
	}
	for _, f := range flows {
		if v := there[ends{f.Outside, f.Remote}]; v != nil {
			found = append(found, v)
		}
	}
	return found
}

// tally is for how many conversations a condition holds.
func tally(list []*wire.Conversation, holds func(*wire.Conversation) bool) (n int) {
	for _, v := range list {
		if holds(v) {
			n++
		}
	}
	return n
}

// service is the service of that name.
func (u *Setup) service(name string) *Service {
	i := slices.IndexFunc(u.Services, func(v Service) bool { return v.Name == name })
	return &u.Services[i]
}

// behaviour is how the servers of a service usually treat their clients.
func (u *Setup) behaviour(service string) traffic.Behaviour { return u.service(service).Behaviour }

// until waits for at least so long, and then until ok: a busy machine may take longer than it should.
func (l *Lab) until(ctx context.Context, least time.Duration, ok func() bool) error {
	const poll, most = 50 * time.Millisecond, 30 * time.Second
	err := l.Wait(ctx, least)
	for waited := least; err == nil && !ok() && waited < most; waited += poll {
		err = l.Wait(ctx, poll)
	}
	return err
}

// since is what the clients of a service have seen since the fault began.
func (l *Lab) since(service string) (all traffic.Summary) {
	for _, p := range l.Of(service) {
		s := p.Summary(l.fault.At, now())
		all.Answers += s.Answers
		all.Connects += s.Connects
		all.Max, all.ConnectMax = max(all.Max, s.Max), max(all.ConnectMax, s.ConnectMax)
		all.Broken, all.Unconnected = all.Broken.Add(s.Broken), all.Unconnected.Add(s.Unconnected)
	}
	return all
}

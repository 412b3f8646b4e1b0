package lab

import (
	"slices"
	"time"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/lab/traffic"
	"github.com/ringside/ringside/lab/wire"
)

// Seen is everything that a run is judged by.
type Seen struct {
	*Setup
	*Bundle
	Fault    Fault
	Outcomes []Outcome
	World    *World // its addresses; the hosts are gone
}

// Outcome is what the clients of a service in one pod saw.
type Outcome struct {
	Pod int `json:"pod"`
	traffic.Outcome
}

// Ports is the servers' ports.
func (s *Seen) Ports() (ports []uint16) {
	for _, v := range s.Services {
		ports = append(ports, v.Port)
	}
	return ports
}

// At returns the packets of some interfaces.
func (s *Seen) At(interfaces ...string) wire.Capture {
	return s.only(func(p *wire.Packet) bool { return slices.Contains(interfaces, p.Interface) })
}

// AtUplinks returns the packets of all uplinks.
func (s *Seen) AtUplinks() wire.Capture {
	var names []string
	for _, u := range s.World.Uplinks {
		names = append(names, u.Link)
	}
	return s.At(names...)
}

// AtPods returns the packets on the pods' side of the node.
func (s *Seen) AtPods() wire.Capture {
	var names []string
	for _, p := range s.World.Pods {
		names = append(names, p.Veth)
	}
	return s.At(names...)
}

func (s *Seen) only(keep func(*wire.Packet) bool) (c wire.Capture) {
	for i := range s.Packets {
		if keep(&s.Packets[i]) {
			c = append(c, s.Packets[i])
		}
	}
	return c
}

// FromPod says whether a packet bears a pod's address as its source.
func (s *Seen) FromPod(p *wire.Packet) bool {
	return slices.ContainsFunc(s.World.Pods, func(pod *Pod) bool { return pod.Addr == p.Src.Addr() })
}

// FromNode says whether a packet bears an address of the node's uplinks as its source.
func (s *Seen) FromNode(p *wire.Packet) bool {
	return slices.ContainsFunc(s.World.Uplinks, func(u Uplink) bool { return u.Addr.Addr() == p.Src.Addr() })
}

// ToServer says whether a packet is for a server.
func (s *Seen) ToServer(p *wire.Packet) bool { return slices.Contains(s.servers(), p.Dst) }

// AfterFault says whether a packet came after the fault had begun.
func (s *Seen) AfterFault(p *wire.Packet) bool { return !p.Time.Before(s.Fault.At) }

// Timeline returns the events of a kind that happened from the beginning of the fault on, and a moment before: the
// clocks of the kernel's sources tick in milliseconds.
func (s *Seen) Timeline(kind string, match ...func(*hoststate.Event) bool) (list []hoststate.Event) {
	const slack = 100 * time.Millisecond
	for i := range s.Events {
		e := &s.Events[i]
		if e.Kind != kind || e.Time.Before(s.Fault.At.Add(-slack)) {
			continue
		}
		if !slices.ContainsFunc(match, func(f func(*hoststate.Event) bool) bool { return !f(e) }) {
			list = append(list, *e)
		}
	}
	return list
}

// Failed is how connections ended that were there when the fault began, or were tried since; all clients together.
func (s *Seen) Failed() (broken, unconnected traffic.Failures) {
	for _, o := range s.Outcomes {
		for _, part := range []traffic.Summary{o.During, o.After} {
			broken, unconnected = broken.Add(part.Broken), unconnected.Add(part.Unconnected)
		}
	}
	return broken, unconnected
}

// Hit returns the connections that the fault broke.
func (s *Seen) Hit() (hit []traffic.Flow) {
	for _, o := range s.Outcomes {
		hit = append(hit, o.Hit(s.Fault.At)...)
	}
	return hit
}

// Live returns the connections that were open when the fault began.
func (s *Seen) Live() (live []traffic.Flow) {
	for _, o := range s.Outcomes {
		for _, f := range o.Flows {
			if f.Connect >= 0 && f.Opened.Add(f.Connect).Before(s.Fault.At) && (f.Ended.IsZero() || f.Ended.After(s.Fault.At)) {
				live = append(live, f)
			}
		}
	}
	return live
}

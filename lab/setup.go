package lab

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/lab/netfilter"
	"github.com/ringside/ringside/lab/traffic"
)

// Setup is what the laboratory of one run is built of.
type Setup struct {
	Scenario string
	Variant  string
	Class    detect.Class // of the verdict that is due
	Seed     uint64
	Rand     *rand.Rand // for what the scenario draws itself

	IPv6    bool
	Uplinks int           // 1, or 2: then the second pod's way leads through the second one, by a rule of its own
	RTT     time.Duration // between the router and the servers
	NAT     NAT           // at each uplink
	Loose   bool          // nf_conntrack_tcp_loose: connections are picked up in the middle
	Forward []netfilter.Match
	Input   []netfilter.Match

	Services []Service
	Timeout  time.Duration // of the clients
	Older    bool          // the connections are older than the recorder
	DHCP     string        // a line of systemd-networkd's [Network] section: it has the first uplink's address by DHCP; "" for none

	Rules []string      // what the recorder triggers on by itself (trigger.rules)
	Await []string      // kinds of events that must come: on a busy machine it may take longer than After
	After time.Duration // for how long the laboratory is watched when the fault is over
}

// NAT is how pods' addresses are translated.
type NAT int

const (
	MasqueradeKeep   NAT = iota // to the uplink's address, ports kept if free
	MasqueradeRandom            // to the uplink's address, from random ports
	SNATRandom                  // to a fixed address, from random ports: as the AWS VPC CNI does
	NoNAT                       // pods are known outside
)

func (n NAT) String() string {
	return [...]string{"masquerade", "masquerade random-fully", "SNAT random-fully", "none"}[n]
}

// Random says whether a connection gets another port when its state is lost.
func (n NAT) Random() bool { return n == MasqueradeRandom || n == SNATRandom }

// Service is what runs on a server, and its clients.
type Service struct {
	Name      string
	Server    string // DB or Cache
	Port      uint16
	Pods      []int // whose clients there are, from 0
	Resolve   bool  // clients ask the name server before each connection
	Behaviour traffic.Behaviour
	Load      traffic.Load // Service, Server, Timeout and Seed are filled in
}

// Servers.
const (
	DB    = "db"
	Cache = "cache"
)

// Services that every laboratory has unless its scenario says otherwise. The clients of the first and third speak first,
// the servers of the others do.
const (
	Orders   = "orders-db"
	Events   = "orders-events"
	Sessions = "sessions"
	Pubsub   = "sessions-pubsub"
)

// draw makes a setup from a seed: the same for the same seed, scenario and variant.
func draw(s Scenario, v Variant, ipv6 *bool, seed uint64) *Setup {
	name := fnv.New64a()
	name.Write([]byte(s.Name + "/" + v.Name)) // never fails
	r := rand.New(rand.NewPCG(seed, name.Sum64()))
	u := &Setup{
		Scenario: s.Name, Variant: v.Name, Class: s.ClassOf(v), Seed: seed, Rand: r,
		IPv6: r.IntN(2) == 1, Uplinks: 1 + r.IntN(2), Loose: true,
		RTT: between(r, 500*time.Microsecond, 30*time.Millisecond), NAT: NAT(r.IntN(3)),
		Timeout: 3 * time.Second, After: 5 * time.Second,
	}
	both := []int{0, 1}
	request := func(name, server string, port uint16) Service {
		return Service{Name: name, Server: server, Port: port, Pods: both,
			Behaviour: traffic.Behaviour{Latency: between(r, 0, 3*time.Millisecond), Jitter: 2 * time.Millisecond},
			Load: traffic.Load{Flows: 2 + r.IntN(4), Every: between(r, 60*time.Millisecond, 200*time.Millisecond), New: 0.5 + r.Float64(),
				Request: 50 + r.IntN(500), Answer: 100 + r.IntN(4000)}}
	}
	push := func(name, server string, port uint16) Service {
		return Service{Name: name, Server: server, Port: port, Pods: both,
			Behaviour: traffic.Behaviour{Push: between(r, 100*time.Millisecond, 300*time.Millisecond)},
			Load:      traffic.Load{Flows: 1 + r.IntN(3), Push: true}}
	}
	u.Services = []Service{request(Orders, DB, 5432), push(Events, DB, 5433), request(Sessions, Cache, 6379), push(Pubsub, Cache, 6380)}
	if ipv6 != nil {
		u.IPv6 = *ipv6
	}
	if s.Setup != nil {
		s.Setup(u)
	}
	u.lookForFaults()
	return u
}

// lookForFaults has the recorder trigger on every fault of the node that it finds in the packets, whichever is due.
func (u *Setup) lookForFaults() {
	u.Rules = slices.Clone(u.Rules)
	for _, c := range detect.Classes {
		if c.Node() {
			u.Rules = append(u.Rules, findingRule(c))
		}
	}
	if u.Class.Node() {
		u.Await = append(u.Await, "finding")
	}
}

// findingRule is the rule that triggers on findings of a class.
func findingRule(c detect.Class) string { return "finding " + string(c) }

func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

// notices has the recorder trigger on a kind of events, which must come.
func (u *Setup) notices(kind string) { u.Rules, u.Await = []string{kind}, []string{kind} }

// String is the setup in a line.
func (u *Setup) String() string {
	family := 4
	if u.IPv6 {
		family = 6
	}
	flows := 0
	for _, v := range u.Services {
		flows += v.Load.Flows * len(v.Pods)
	}
	return fmt.Sprintf("2 pods, 1 node, 2 servers over IPv%d; NAT: %v; %s; round trip %v; %d connections; seed %d",
		family, u.NAT, uplinks(u.Uplinks), u.RTT.Round(100*time.Microsecond), flows, u.Seed)
}

package filter

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// catalogue returns the services that the sets are made of.
func catalogue() []Service {
	cidrs := func(texts ...string) (all []netip.Prefix) {
		for _, t := range texts {
			all = append(all, netip.MustParsePrefix(t))
		}
		return all
	}
	one := func(port uint16) []PortRange { return []PortRange{{port, port}} }
	services := []Service{
		{Name: "low", Protocol: "udp", Ports: []PortRange{{1, 1023}}, Payload: 1},
		{Name: "high", Protocol: "tcp", Ports: []PortRange{{32768, 65535}}, Payload: 7},
		{Name: "all-tcp", Protocol: "tcp", Ports: []PortRange{{1, 65535}}, Payload: 64},
		{Name: "mixed", Ports: []PortRange{{9000, 9010}, {3306, 3306}, {65535, 65535}, {1, 1}}, Payload: 500},
		{Name: "ten", Protocol: "tcp", Ports: ports(11, 22, 33, 44, 55, 66, 77, 88, 99, 111)},
		{Name: "rds", Protocol: "tcp", Ports: one(5432), CIDRs: cidrs("10.1.2.0/24")},
		{Name: "rds-host", Protocol: "tcp", Ports: one(5432), CIDRs: cidrs("10.1.2.3/32"), Payload: 100},
		{Name: "net8", Ports: one(6379), CIDRs: cidrs("172.0.0.0/8"), Payload: Full},
		{Name: "net1", Ports: one(6380), CIDRs: cidrs("128.0.0.0/1")},
		{Name: "net0", Ports: one(6381), CIDRs: cidrs("0.0.0.0/0")},
		{Name: "five", Protocol: "tcp", Ports: one(3306), CIDRs: cidrs("10.0.0.0/16", "10.2.0.0/16", "192.168.7.0/24", "192.168.9.0/25", "203.0.113.9/32")},
		{Name: "nested", Protocol: "udp", Ports: one(514), CIDRs: cidrs("10.0.0.0/8", "10.3.0.0/16")},
		{Name: "v6-128", Ports: one(443), CIDRs: cidrs("2001:db8::42/128"), Payload: 16},
		{Name: "v6-64", Ports: one(443), CIDRs: cidrs("2001:db8:0:7::/64"), Payload: 16},
		{Name: "v6-33", Protocol: "tcp", Ports: one(444), CIDRs: cidrs("2001:db8:8000::/33"), Payload: 65535},
		{Name: "v6-7", Protocol: "udp", Ports: one(444), CIDRs: cidrs("fc00::/7")},
		{Name: "v6-0", Protocol: "tcp", Ports: one(445), CIDRs: cidrs("::/0")},
		{Name: "both", Ports: one(8443), CIDRs: cidrs("10.9.0.0/16", "fd00:9::/32", "fd00:10::/48"), Payload: 32},
		{Name: "anything", CIDRs: cidrs("10.77.0.0/16", "fd77::/16"), Payload: 4},
		{Name: "arp", Expression: "arp"},
		{Name: "icmp", Expression: "icmp or icmp6", Payload: 8},
		{Name: "syn", Expression: "tcp[tcpflags] & tcp-syn != 0", Payload: 3},
		{Name: "tagged", Expression: "vlan and tcp port 5432", Payload: 20},
		{Name: "qinq", Expression: "vlan and vlan", Payload: 2},
		{Name: "deep", Expression: "tcp[100:2] < 0x8000 or udp[50:4] > 0x10000000", Payload: Full},
		{Name: "ttl", Expression: "ip[8] < 100 and ip[4]*ip[5]+ip[7] > 1000"},
		{Name: "big", Expression: "greater 600"},
		{Name: "inbound", Expression: "inbound and udp"},
		{Name: "tos", Expression: "(ip and ip[1] & 0xfc >> 2 = 3) or (ip6[0:2] & 0xff0 = 0x10) or len / ip[8] > 9", Payload: 11},
	}
	return append(services, Presets()...)
}

// sets returns every service alone, and mixtures in which order and payload matter.
func sets(r *rand.Rand) [][]Service {
	all := catalogue()
	var sets [][]Service
	for _, s := range all {
		sets = append(sets, []Service{s})
	}
	for _, n := range []int{2, 2, 2, 3, 3, 4, 5, 6, 8, 10, 12, 16, 20} {
		var set []Service
		for _, i := range r.Perm(len(all))[:n] {
			set = append(set, all[i])
		}
		sets = append(sets, set)
	}
	return append(sets, Presets(), all[:19])
}

// filtered is one service set on one interface.
type filtered struct {
	name     string
	services []Service
	program  *Program
	tap      tap
	got      map[uint32]int // by packet number: bytes kept
	coarse   tap
	rough    map[uint32]int // by packet number: bytes that the coarse program keeps
	exact    *Program       // that finishes it
	left     []Connection   // out
}

// referenced is one service on one interface: the sockets any of which keeps what the service does.
type referenced struct {
	service  Service
	programs []*Program
	taps     []tap
	keeps    map[uint32]bool
}

// hasExpression says whether a service may decide on bytes beyond what the coarse program leaves of another's packet.
func (f *filtered) hasExpression() bool {
	return slices.ContainsFunc(f.services, func(s Service) bool { return s.Expression != "" })
}

// vantage is everything that listens on one interface.
type vantage struct {
	name       string
	all        tap // opened first, so it receives last: what it has, the others have
	sets       []*filtered
	references map[string]*referenced
	seen       []sample
	buf        []byte
}

// sample is a packet as a socket without a filter sees it.
type sample struct {
	number uint32
	frame  []byte
	meta   Meta
}

const packets = 12_000

// leftOut are connections of the services' ports; two share a port, and one is to itself.
func leftOut() []Connection {
	var all []Connection
	for _, ends := range [][2]string{
		{"10.1.2.3:5432", "10.0.0.9:40000"},
		{"10.1.2.4:5432", "10.0.0.9:40000"},
		{"172.16.0.1:6379", "10.0.0.9:40001"},
		{"10.2.0.1:3306", "192.168.7.3:3306"},
		{"127.0.0.1:9000", "127.0.0.1:9000"},
		{"[2001:db8::42]:443", "[fd00::1]:40000"},
		{"[2001:db8:0:7::1]:443", "[fd00::1]:40000"},
		{"[fd77::1]:9001", "[fd77::2]:55555"},
	} {
		all = append(all, Connection{netip.MustParseAddrPort(ends[0]), netip.MustParseAddrPort(ends[1])})
	}
	return all
}

// leaves says whether a packet belongs to a connection that the set leaves out.
func (f *filtered) leaves(fact facts) bool {
	return fact.protocol == protoTCP && !fact.later && slices.ContainsFunc(f.left, func(c Connection) bool {
		return c.A == fact.src && c.B == fact.dst || c.A == fact.dst && c.B == fact.src
	})
}

// Every packet is sent once over a veth; on its way out (tags in the data) and in (outer tag stripped by the kernel),
// sockets with the programs of all sets and with references compiled by libpcap listen side by side.
func TestKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a network namespace and packet sockets need CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW: run as root")
	}
	compiled := compileReferences(t) // before the thread is in the namespace, on several
	inNamespace(t)
	setSysctl(t, "net/core/optmem_max", fmt.Sprint(16<<20)) // of this namespace; the references are large
	a, b := newVeth(t, "fa", "fb")
	r := rand.New(rand.NewPCG(2, 4))
	all := sets(r)
	views := []*vantage{newVantage(t, "egress", a, all, compiled), newVantage(t, "ingress", b, all, compiled)}
	g := &generator{Rand: r, services: catalogue(), connections: leftOut()}
	sender := newTap(t, a, []bpf.RawInstruction{{Op: opRet}})
	const batch = 200
	for first := 0; first < packets; first += batch {
		for i := range batch {
			send(t, sender, a, g.frame(first+i))
		}
		send(t, sender, a, marker())
		for _, v := range views {
			v.drain(t)
		}
	}
	for _, v := range views {
		t.Run(v.name, v.check)
	}
}

func send(t *testing.T, s tap, index int, frame []byte) {
	t.Helper()
	if err := unix.Sendto(s.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
		t.Fatalf("send %d bytes %x: %v", len(frame), frame[:min(64, len(frame))], err)
	}
}

// marker is a packet that no service keeps, of IEEE's experimental EtherType.
func marker() []byte {
	return []byte{0x02, 0, 0, 0, 0, 0xff, 0x02, 0, 0xff, 0xff, 0xff, 0xff, 0x88, 0xb5}
}

const markerNumber = 0xffffffff

// compileReferences runs tcpdump many times; each run mostly waits for its socket to close.
func compileReferences(t *testing.T) map[string][]*Program {
	iface, err := anyEthernet()
	if err != nil {
		t.Skipf("references are compiled for a live interface: %v", err)
	}
	compiled := map[string][]*Program{}
	var mu sync.Mutex
	var group sync.WaitGroup
	tickets := make(chan struct{}, 8)
	for _, s := range catalogue() {
		terms := reference(s)
		for _, depth := range tagged(s, "%s") {
			group.Go(func() {
				tickets <- struct{}{}
				defer func() { <-tickets }()
				programs, err := compileTerms(iface, depth, terms)
				if err != nil {
					t.Errorf("reference of %s: %v", s.Name, err)
				}
				mu.Lock()
				defer mu.Unlock()
				compiled[s.Name] = append(compiled[s.Name], programs...)
			})
		}
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return compiled
}

// compileTerms returns one program for all terms or, if the kernel does not take one that long, several.
func compileTerms(iface, format string, terms []string) ([]*Program, error) {
	text := terms[0]
	if strings.Contains(format, "%s") {
		text = fmt.Sprintf(format, "("+strings.Join(terms, ") or (")+")")
	}
	code, err := tcpdump(context.Background(), text, "-i", iface)
	if err != nil {
		return nil, err
	}
	if len(code) <= maxInstructions || len(terms) == 1 {
		return []*Program{{raw: code}}, nil
	}
	half := len(terms) / 2
	first, err := compileTerms(iface, format, terms[:half])
	if err != nil {
		return nil, err
	}
	second, err := compileTerms(iface, format, terms[half:])
	return append(first, second...), err
}

func newVantage(t *testing.T, name string, index int, all [][]Service, compiled map[string][]*Program) *vantage {
	v := &vantage{name: name, all: newTap(t, index, nil), references: map[string]*referenced{}, buf: make([]byte, 1<<16)}
	for i, services := range all {
		f := &filtered{name: fmt.Sprintf("set %d", i), services: services, got: map[uint32]int{}, rough: map[uint32]int{}}
		for _, s := range services {
			f.name += " " + s.Name
		}
		c := mustCompile(t, services)
		if i%3 == 0 {
			f.left = leftOut()
			f.name += " without connections"
			var err error
			if c, err = c.LeaveOut(f.left); err != nil {
				t.Fatal(err)
			}
		}
		f.program = mustProgram(t, c, []int{1, 4242}, false)
		f.tap = newTap(t, index, f.program.Instructions())
		f.coarse = newTap(t, index, mustProgram(t, c, []int{1, 4242}, true).Instructions())
		f.exact = mustProgram(t, c, nil, false)
		v.sets = append(v.sets, f)
	}
	for _, s := range catalogue() {
		ref := &referenced{service: s, programs: compiled[s.Name], keeps: map[uint32]bool{}}
		for _, p := range ref.programs {
			ref.taps = append(ref.taps, newTap(t, index, p.raw))
		}
		v.references[s.Name] = ref
	}
	return v
}

// drain receives up to the marker, after which all sockets have what they will get of the batch.
func (v *vantage) drain(t *testing.T) {
	for marked := false; !marked; {
		n, meta := v.all.receiveMeta(t, v.buf)
		if n == 0 {
			v.all.wait(t)
			continue
		}
		number := binary.BigEndian.Uint32(v.buf[8:])
		if marked = number == markerNumber; !marked {
			v.seen = append(v.seen, sample{number, append([]byte(nil), v.buf[:n]...), meta})
		}
	}
	for _, f := range v.sets {
		v.each(t, f.tap, func(number uint32, n int) { f.got[number] = n })
		v.each(t, f.coarse, func(number uint32, n int) { f.rough[number] = n })
	}
	for _, ref := range v.references {
		for _, s := range ref.taps {
			v.each(t, s, func(number uint32, _ int) { ref.keeps[number] = true })
		}
	}
}

// each calls fn with the number and length of every packet that s has received.
func (v *vantage) each(t *testing.T, s tap, fn func(number uint32, n int)) {
	for n := s.receive(t, v.buf); n > 0; n = s.receive(t, v.buf) {
		fn(binary.BigEndian.Uint32(v.buf[8:]), n)
	}
}

// check compares, for every packet and set, the kernel with the references, the length with the dissector's, and the
// process with the kernel, also where the process finishes what the coarse program kept.
func (v *vantage) check(t *testing.T) {
	if len(v.seen) < packets*98/100 { // the kernel drops what is cut within a tag before any socket sees it
		t.Errorf("%d of %d packets arrived", len(v.seen), packets)
	}
	var group sync.WaitGroup
	defer group.Wait()
	for _, f := range v.sets {
		if n := f.tap.drops(t) + f.coarse.drops(t); n > 0 {
			t.Errorf("%s: %d packets dropped", f.name, n)
		}
		group.Go(func() { v.checkSet(t, f) })
	}
	for _, ref := range v.references {
		group.Go(func() { v.checkReference(t, ref) })
	}
}

func (v *vantage) checkSet(t *testing.T, f *filtered) {
	failures, kept, undecided, left := 0, 0, 0, 0
	fail := func(s sample, format string, args ...any) {
		if failures++; failures <= 3 {
			t.Errorf("%s: packet %d, %d bytes, %+v: %s\n%x", f.name, s.number, len(s.frame), s.meta,
				fmt.Sprintf(format, args...), s.frame[:min(len(s.frame), 150)])
		}
	}
	for _, s := range v.seen {
		fact, known := dissect(s.frame)
		want := 0
		for _, service := range f.services {
			if v.references[service.Name].keeps[s.number] {
				want = fact.kept(known, service.Payload, len(s.frame))
				break
			}
		}
		for _, service := range f.services {
			if service.Expression == "" && (known && fact.of(service)) != v.references[service.Name].keeps[s.number] {
				fail(s, "the dissector and the reference do not agree on %s", service.Name)
			}
		}
		if known && f.leaves(fact) {
			left, want = left+1, 0
		}
		got := f.got[s.number]
		if got != want {
			fail(s, "the kernel keeps %d bytes, want %d", got, want)
		}
		if n := int(min(f.program.Run(s.frame, s.meta), uint32(len(s.frame)))); n != got {
			fail(s, "the process keeps %d bytes, the kernel %d", n, got)
		}
		rough, meta := f.rough[s.number], s.meta
		meta.Length = len(s.frame)
		finished := min(int(f.exact.Run(s.frame[:rough], meta)), rough)
		if f.hasExpression() && finished == rough && rough > got {
			undecided++
		} else if finished != got {
			fail(s, "the coarse program keeps %d bytes, finished they are %d, the exact one keeps %d", rough, finished, got)
		}
		if got > 0 {
			kept++
		}
	}
	if undecided > len(v.seen)/100 {
		t.Errorf("%s: the process cannot finish %d of %d packets", f.name, undecided, len(v.seen))
	}
	if f.left != nil && left < len(v.seen)/100 {
		t.Errorf("%s: leaves %d of %d packets out: shows nothing", f.name, left, len(v.seen))
	}
	if inboundOnly := f.services[0].Name == "inbound" && v.name == "egress"; (kept == 0 || kept == len(v.seen)) && !inboundOnly {
		t.Errorf("%s: keeps %d of %d packets: shows nothing", f.name, kept, len(v.seen))
	}
}

// checkReference holds the interpreter against the kernel once more, on what libpcap makes.
func (v *vantage) checkReference(t *testing.T, ref *referenced) {
	failures := 0
	for _, s := range v.seen {
		run := false
		for _, p := range ref.programs {
			run = run || p.Run(s.frame, s.meta) > 0
		}
		if run != ref.keeps[s.number] && failures < 3 {
			failures++
			t.Errorf("reference %s, packet %d %+v: the process says %v, the kernel %v\n%x", ref.service.Name, s.number, s.meta,
				run, ref.keeps[s.number], s.frame[:min(len(s.frame), 150)])
		}
	}
}

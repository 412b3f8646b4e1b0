package capture

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/pcapng"
	"golang.org/x/sys/unix"
)

func service(name string, port uint16) filter.Service {
	return filter.Service{Name: name, Protocol: "tcp", Ports: []filter.PortRange{{First: port, Last: port}}, Payload: filter.Full}
}

func named(names ...string) (rules []InterfaceRule) {
	for _, n := range names {
		rules = append(rules, InterfaceRule{Name: n})
	}
	return rules
}

// filterNotes returns the texts of the notes about filters.
func (m *memory) filterNotes() (texts []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.notes {
		if n.Kind == pcapng.NoteFilter {
			texts = append(texts, n.Text)
		}
	}
	return texts
}

// byPort counts packets by destination port.
func (m *memory) byPort() map[uint16]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := map[uint16]int{}
	for _, p := range m.packets {
		n[uint16(p.Data[36])<<8|uint16(p.Data[37])]++
	}
	return n
}

// Services come and go while others, in own and shared rings, lose nothing.
func TestReconfigureServices(t *testing.T) {
	needNamespace(t)
	wire(t, "up0")
	wire(t, "va0")
	m := newMemory(16)
	c, stop := start(t, m, nil, "up0", "va*")
	await(t, c, "up0", StateRecording)
	await(t, c, "va0", StateRecording)
	cfg := Config{Interfaces: named("up0", "va*"), Services: postgres}
	with := cfg
	with.Services = append(slices.Clone(postgres), service("redis", 6379))
	postgresOn := map[string]*sender{"up0": newSender(t, "xup0"), "va0": newSender(t, "xva0")}
	redis := newSender(t, "xup0")
	redis.port = 6379
	const rounds, each = 20, 100
	want := 0
	for i := range rounds {
		next := cfg
		if i%2 == 0 {
			next = with
			want += each
		}
		// Packets are on their way while the filter is replaced.
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for _, s := range postgresOn {
				s.send(2*i*each, each, 100)
			}
		}()
		if err := c.Reconfigure(next); err != nil {
			t.Fatal(err)
		}
		<-sent
		for _, s := range postgresOn {
			s.send((2*i+1)*each, each, 100)
		}
		redis.send(i*each, each, 0)
	}
	stop()
	if got := m.byPort(); got[5432] != 2*2*rounds*each || got[6379] != want || len(got) != 2 {
		t.Errorf("packets by port %v, want %d of 5432 and %d of 6379", got, 4*rounds*each, want)
	}
	m.mu.Lock()
	m.packets = slices.DeleteFunc(m.packets, func(p kept) bool { return p.Data[36] == 6379>>8 })
	m.mu.Unlock()
	for _, n := range []string{"up0", "va0"} {
		m.exactly(t, n, 0, 2*rounds*each)
	}
	m.contiguous(t)
	if notes := m.filterNotes(); len(notes) != 2*rounds || !strings.HasPrefix(notes[0], "filter replaced: program ") {
		t.Errorf("%d notes of filters, want %d; the first %q", len(notes), 2*rounds, notes[:1])
	}
}

// What was in the ring when its service was removed is kept, whether the kernel's filter was exact before and after or not.
func TestReconfigureKeepsWhatIsInTheRing(t *testing.T) {
	needNamespace(t)
	for name, limit := range map[string]int{"exact": 131072, "coarse": 20480} {
		t.Run(name, func(t *testing.T) {
			limitFilters(t, limit)
			wire(t, "va0")
			m := newMemory(1)
			services := manyServices(60, 3)
			c, stop := start(t, m, func(cfg *Config) { cfg.Services = services }, "va*")
			await(t, c, "va0", StateRecording)
			if coarse := c.Status().Rings[0].Coarse != ""; coarse != (name == "coarse") {
				t.Fatalf("coarse %v", coarse)
			}
			s := newSender(t, "xva0")
			s.send(0, 1, 0)
			m.mu.Lock() // the reader's next chunk is not taken
			s.send(1, 4000, 1400)
			next := Config{Interfaces: named("va*"), Services: services[1:]}
			done := make(chan error, 1)
			go func() { done <- c.Reconfigure(next) }()
			for _, text := "", ""; text == ""; { // the note of the new filter waits for the lock: the swap is done
				if r := c.readers[0].program.Load(); r.Len() > 0 && len(*c.readers[0].policy.Load()) > 1 {
					policy := *c.readers[0].policy.Load()
					if policy[len(policy)-1].also == nil {
						break
					}
				}
				time.Sleep(time.Millisecond)
			}
			s.send(5000, 1000, 0) // of no service any more
			m.mu.Unlock()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			s.send(5000, 1000, 0)
			stop()
			m.exactly(t, "va0", 0, 4001)
		})
	}
}

// Interfaces come, go and change rings by their rules; those that stay lose nothing.
func TestReconfigureInterfaces(t *testing.T) {
	needNamespace(t)
	for _, n := range []string{"up0", "up1", "va0", "no0"} {
		wire(t, n)
	}
	m := newMemory(16)
	c, stop := start(t, m, nil, "up0", "va*")
	await(t, c, "up0", StateRecording)
	await(t, c, "va0", StateRecording)
	send := map[string]*sender{}
	for _, n := range []string{"up0", "up1", "va0", "no0"} {
		send[n] = newSender(t, "x"+n)
	}
	all := func(from int) {
		for _, s := range send {
			s.send(from, 1000, 0)
		}
	}
	reconfigure := func(rules ...InterfaceRule) {
		t.Helper()
		if err := c.Reconfigure(Config{Interfaces: rules, Services: postgres}); err != nil {
			t.Fatal(err)
		}
	}
	all(0)
	reconfigure(named("up0", "up1", "no0", "va*")...) // beyond the plan of the start, so in the shared ring
	for _, n := range []string{"up1", "no0"} {
		if i := await(t, c, n, StateRecording); i.Ring != sharedRing {
			t.Errorf("%s is in ring %s, want the shared one", n, i.Ring)
		}
	}
	all(1000)
	reconfigure(named("up0", "va*", "up1")...)
	await(t, c, "no0", StateExcluded)
	all(2000)
	reconfigure(InterfaceRule{Name: "up0", Ring: RingShared}, InterfaceRule{Name: "va*"}, InterfaceRule{Name: "up1"})
	for await(t, c, "up0", StateRecording).Ring != sharedRing {
		time.Sleep(time.Millisecond)
	}
	all(3000)
	stop()
	m.exactly(t, "up0", 0, 4000)
	m.exactly(t, "va0", 0, 4000)
	m.exactly(t, "up1", 1000, 3000)
	m.exactly(t, "no0", 1000, 1000)
}

// An interface that is taken out and back in at once is in the recording but for the time between, and only once: its old
// ring still has packets to be read when the shared one takes it in.
func TestReconfigureOutAndIn(t *testing.T) {
	needNamespace(t)
	wire(t, "up0")
	m := newMemory(16)
	c, stop := start(t, m, nil, "up0", "va*")
	await(t, c, "up0", StateRecording)
	s := newSender(t, "xup0")
	for i, rules := range [][]InterfaceRule{named("up0", "va*"), named("va*"), named("up0", "va*")} {
		if err := c.Reconfigure(Config{Interfaces: rules, Services: postgres}); err != nil {
			t.Fatal(err)
		}
		s.send(1000*i, 1000, 0)
	}
	stop()
	var got [3]int
	for _, p := range m.packets {
		got[number(p)/1000]++
	}
	if got != [3]int{1000, 0, 1000} {
		t.Errorf("packets before, between and after %v, want 1000, none and 1000", got)
	}
}

// An interface that is down when its rule moves it to the shared ring is in that alone when it is up again.
func TestReconfigureMovesWhatIsDown(t *testing.T) {
	needNamespace(t)
	wire(t, "up0")
	m := newMemory(16)
	c, stop := start(t, m, nil, "up0", "va*")
	await(t, c, "up0", StateRecording)
	setUp(t, "up0", false)
	await(t, c, "up0", StateDown)
	rules := []InterfaceRule{{Name: "up0", Ring: RingShared}, {Name: "va*"}}
	if err := c.Reconfigure(Config{Interfaces: rules, Services: postgres}); err != nil {
		t.Fatal(err)
	}
	setUp(t, "up0", true)
	await(t, c, "up0", StateRecording)
	newSender(t, "xup0").send(0, 1000, 0)
	stop()
	m.exactly(t, "up0", 0, 1000)
}

// What is wrong changes nothing: bad services, an interface that is required and not there, and a filter that the kernel
// refuses in one ring after another took it.
func TestReconfigureRefused(t *testing.T) {
	needNamespace(t)
	wire(t, "up0")
	wire(t, "va0")
	m := newMemory(16)
	c, stop := start(t, m, nil, "up0", "va*")
	await(t, c, "up0", StateRecording)
	await(t, c, "va0", StateRecording)
	hash := c.Program().Hash()
	for name, cfg := range map[string]Config{
		"a bad service":              {Interfaces: named("up0", "va*"), Services: []filter.Service{service("", 0)}},
		"a bad expression":           {Interfaces: named("up0"), Services: []filter.Service{{Name: "x", Expression: "tcp port"}}},
		"a bad glob":                 {Interfaces: named("up["), Services: postgres},
		"a missing interface":        {Interfaces: []InterfaceRule{{Name: "up7", Require: true}}, Services: postgres},
		"more than a program can be": {Interfaces: named("up0"), Services: tooMany()},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.Reconfigure(cfg); !errors.As(err, new(*ConfigError)) {
				t.Errorf("%v, want a *ConfigError", err)
			}
		})
	}
	t.Run("the kernel refuses", func(t *testing.T) {
		limitFilters(t, 64)
		err := c.Reconfigure(Config{Interfaces: named("up0", "va*"), Services: []filter.Service{service("redis", 6379)}})
		if err == nil || !strings.Contains(err.Error(), "ring ") {
			t.Errorf("%v, want an error that names the ring", err)
		}
	})
	if c.Program().Hash() != hash {
		t.Error("the program has changed")
	}
	for _, n := range []string{"up0", "va0"} {
		newSender(t, "x"+n).send(0, 1000, 0)
	}
	stop()
	for _, n := range []string{"up0", "va0"} {
		m.exactly(t, n, 0, 1000)
	}
	if err := c.Reconfigure(Config{Interfaces: named("up0"), Services: postgres}); !errors.Is(err, errOver) {
		t.Errorf("after the end: %v", err)
	}
}

// tooMany are services for which even the coarse program is longer than the kernel takes.
func tooMany() (list []filter.Service) {
	for i := range 1400 {
		s := service("s", uint16(1000+3*i))
		s.Payload = i % 1000 // so that no two share a rule
		list = append(list, s)
	}
	return list
}

// A ring that refuses its filter after another took the new one gives that its old one back.
func TestReconfigureRollsBack(t *testing.T) {
	needNamespace(t)
	wire(t, "up0")
	wire(t, "va0")
	m := newMemory(16)
	c, stop := start(t, m, nil, "up0", "va*")
	await(t, c, "up0", StateRecording)
	await(t, c, "va0", StateRecording)
	err := c.control(func() error {
		p, err := newPolicy(mustServices(t, service("redis", 6379)), nil)
		if err != nil {
			return err
		}
		last := c.readers[lastIndex(c)]
		if err := unix.SetsockoptInt(last.ring.fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1); err != nil {
			return err
		}
		return c.refilter(p)
	})
	if err == nil || !strings.Contains(err.Error(), "ring up0") {
		t.Errorf("%v, want an error that names ring up0", err)
	}
	for _, n := range []string{"up0", "va0"} {
		newSender(t, "x"+n).send(0, 1000, 0)
	}
	stop()
	for _, n := range []string{"up0", "va0"} {
		m.exactly(t, n, 0, 1000)
	}
}

func mustServices(t *testing.T, services ...filter.Service) *filter.Compiler {
	t.Helper()
	c, err := filter.NewCompiler(t.Context(), services)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func lastIndex(c *Capture) (last int) {
	for index := range c.readers {
		last = max(last, index)
	}
	return last
}

// A packet is judged by what was in force at its time; after a step of the clock, by what is in force.
func TestEras(t *testing.T) {
	programs := map[string]*filter.Program{}
	for name, port := range map[string]uint16{"a": 1, "b": 2} {
		p, err := mustServices(t, service(name, port)).Program(nil, false)
		if err != nil {
			t.Fatal(err)
		}
		programs[name] = p
	}
	a, b := programs["a"], programs["b"]
	e := eras{{exact: a}}
	if e.needed(0) != nil {
		t.Error("a policy that never changed is judged in the process")
	}
	e = e.then(era{from: 1000, exact: a, also: b, judged: true}, 500).then(era{from: 2000, exact: b}, 500)
	for _, test := range []struct {
		ns   int64
		a, b bool
	}{{1, true, false}, {999, true, false}, {1000, true, true}, {2000, false, true}, {1 << 60, false, true}} {
		at := e.at(test.ns)
		keeps := func(port uint16) bool { return at.keeps(segment(1, port, 0), filter.Meta{}) > 0 }
		if keeps(1) != test.a || keeps(2) != test.b {
			t.Errorf("at %d: keeps %v and %v, want %v and %v", test.ns, keeps(1), keeps(2), test.a, test.b)
		}
	}
	if e.needed(2000+settle-1) == nil || e.needed(2000+settle) != nil {
		t.Error("packets are judged too short or too long after a change")
	}
	if got := e.then(era{from: 3000, exact: a}, 2500); len(got) != 2 || got[0].exact != b {
		t.Errorf("%d eras, want the two of which packets may still come", len(got))
	}
	if got := e.forget(); len(got) != 1 || got[0].exact != b || got.needed(5) != nil {
		t.Errorf("after a step of the clock: %+v", got)
	}
	for i := range int64(10 * mostEras) {
		e = e.then(era{from: 3000 + i, exact: a}, 0)
	}
	if len(e) > mostEras {
		t.Errorf("%d eras are remembered", len(e))
	}
}

package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/pcapng"
	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"
)

// wire makes a veth pair of the given name, whose other end is named x and the name, both up.
func wire(t *testing.T, name string) {
	t.Helper()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "x" + name}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netlink.LinkDel(veth) })
	for _, end := range []string{name, "x" + name} {
		setUp(t, end, true)
	}
}

func setUp(t *testing.T, name string, up bool) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	change := netlink.LinkSetDown
	if up {
		change = netlink.LinkSetUp
	}
	if err := change(l); err != nil {
		t.Fatal(err)
	}
}

// segment is a frame with a TCP segment to port; number is its sequence number.
func segment(number uint32, port uint16, payload int) []byte {
	b := make([]byte, 14+20+20+payload)
	copy(b, []byte{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0})
	ip, tcp := b[14:], b[34:]
	ip[0], ip[8], ip[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], []byte{10, 9, 0, 1, 10, 9, 0, 2})
	binary.BigEndian.PutUint16(tcp[0:], 40000)
	binary.BigEndian.PutUint16(tcp[2:], port)
	binary.BigEndian.PutUint32(tcp[4:], number)
	tcp[12], tcp[13] = 5<<4, 0x10
	return b
}

func number(p kept) uint32 { return binary.BigEndian.Uint32(p.Data[38:]) }

// sender sends frames out of one interface.
type sender struct {
	t    *testing.T
	fd   int
	port uint16
}

func newSender(t *testing.T, name string) *sender {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}); err != nil {
		t.Fatal(err)
	}
	return &sender{t, fd, 5432}
}

// send sends count segments of consecutive numbers.
func (s *sender) send(from, count, payload int) {
	s.t.Helper()
	for i := range count {
		for {
			_, err := unix.Write(s.fd, segment(uint32(from+i), s.port, payload))
			if err == nil {
				break
			}
			if !errors.Is(err, unix.ENOBUFS) {
				s.t.Fatal(err)
			}
		}
	}
}

var postgres = []filter.Service{{Name: "postgres", Protocol: "tcp", Ports: []filter.PortRange{{First: 5432, Last: 5432}}, Payload: filter.Full}}

// start runs a capture until the test stops it or ends.
func start(t *testing.T, sink Sink, change func(*Config), names ...string) (c *Capture, stop func()) {
	t.Helper()
	var cfg Config
	cfg.Services = postgres
	for _, n := range names {
		cfg.Interfaces = append(cfg.Interfaces, InterfaceRule{Name: n})
	}
	if change != nil {
		change(&cfg)
	}
	c, err := Open(cfg, sink, zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return c, stop
}

// await waits for an interface's state.
func await(t *testing.T, c *Capture, name, state string) InterfaceStatus {
	t.Helper()
	var last Status
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		last = c.Status()
		for _, i := range last.Interfaces {
			if i.Name == name && i.State == state {
				return i
			}
		}
		if state == "" && !listed(last, name) {
			return InterfaceStatus{}
		}
	}
	t.Fatalf("%s is not %q after 10 s: %+v", name, state, last.Interfaces)
	return InterfaceStatus{}
}

func listed(s Status, name string) bool {
	for _, i := range s.Interfaces {
		if i.Name == name {
			return true
		}
	}
	return false
}

// exactly fails unless the numbers recorded on iface are from … from+count-1, each once.
func (m *memory) exactly(t *testing.T, iface string, from, count int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := map[uint32]int{}
	for _, p := range m.packets {
		if p.iface == iface {
			seen[number(p)]++
		}
	}
	missing, double := 0, 0
	for n := from; n < from+count; n++ {
		switch seen[uint32(n)] {
		case 0:
			missing++
		case 1:
		default:
			double++
		}
		delete(seen, uint32(n))
	}
	if missing+double+len(seen) > 0 {
		t.Errorf("%s: of %d packets %d are missing, %d double, and %d are foreign", iface, count, missing, double, len(seen))
	}
}

func TestOwnAndSharedRings(t *testing.T) {
	needNamespace(t)
	const count = 20000
	for _, n := range []string{"up0", "va0", "va1", "no0"} {
		wire(t, n)
	}
	m := newMemory(16)
	c, stop := start(t, m, nil, "up0", "va*")
	for _, n := range []string{"up0", "va0", "va1"} {
		await(t, c, n, StateRecording)
	}
	for i, n := range []string{"up0", "va0", "va1", "no0"} {
		newSender(t, "x"+n).send(i*count, count, i*300)
	}
	s := c.Status()
	if len(s.Rings) != 2 || s.Rings[0].Name != sharedRing || s.Rings[1].Name != "up0" || !s.Ready {
		t.Errorf("status %+v, want a shared ring and one of up0, and to be ready", s)
	}
	if got := s.Rings[0].Bytes + s.Rings[1].Bytes; got != DefaultRing {
		t.Errorf("rings of %d bytes, want %d", got, DefaultRing)
	}
	stop()
	for i, n := range []string{"up0", "va0", "va1"} {
		m.exactly(t, n, i*count, count)
	}
	if len(m.packets) != 3*count {
		t.Errorf("%d packets in all, want %d", len(m.packets), 3*count)
	}
	m.contiguous(t)
}

// contiguous fails unless the chunks of each ring cover time without a gap, and hold what their summaries say.
func (m *memory) contiguous(t *testing.T) {
	t.Helper()
	last := map[string]int64{}
	for _, s := range m.summaries {
		if l, ok := last[s.Ring]; ok && s.From != l {
			t.Errorf("ring %s: a chunk from %d follows one to %d", s.Ring, s.From, l)
		}
		if s.To < s.From {
			t.Errorf("ring %s: chunk from %d to %d", s.Ring, s.From, s.To)
		}
		last[s.Ring] = s.To
	}
}

func TestNewbornInterfaceIsRecordedFromItsFirstPacket(t *testing.T) {
	needNamespace(t)
	wire(t, "up0")
	m := newMemory(16)
	c, stop := start(t, m, nil, "up0", "va*")
	await(t, c, "up0", StateRecording)
	const count, packets = 50, 20
	for i := range count {
		name := fmt.Sprintf("va%d", i)
		wire(t, name)
		newSender(t, "x"+name).send(0, packets, 0)
	}
	stop()
	for i := range count {
		m.exactly(t, fmt.Sprintf("va%d", i), 0, packets)
	}
}

func TestInterfacesComeAndGo(t *testing.T) {
	needNamespace(t)
	wire(t, "va0")
	m := newMemory(16)
	c, stop := start(t, m, nil, "up0", "va*")
	await(t, c, "up0", StateWaiting)
	await(t, c, "va0", StateRecording)
	keep := newSender(t, "xva0")
	keep.send(0, 1000, 0)

	wire(t, "up0")
	await(t, c, "up0", StateRecording)
	newSender(t, "xup0").send(0, 1000, 0)
	setUp(t, "up0", false)
	await(t, c, "up0", StateDown)
	keep.send(1000, 1000, 0)
	setUp(t, "up0", true)
	await(t, c, "up0", StateRecording)
	newSender(t, "xup0").send(1000, 1000, 0)

	l, err := netlink.LinkByName("up0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(l); err != nil {
		t.Fatal(err)
	}
	await(t, c, "up0", StateWaiting)
	keep.send(2000, 1000, 0)
	for c.Status().Rings[len(c.Status().Rings)-1].Name == "up0" { // its last packets are being handed over
		time.Sleep(5 * time.Millisecond)
	}
	wire(t, "up0")
	if got := await(t, c, "up0", StateRecording); got.Received != 2000 {
		t.Errorf("up0 has %d packets after it returned, want the 2000 from before", got.Received)
	}
	newSender(t, "xup0").send(2000, 1000, 0)
	stop()
	m.exactly(t, "up0", 0, 3000)
	m.exactly(t, "va0", 0, 3000)
}

// An interface whose new name belongs to the shared ring leaves its own: each packet is kept once, before and after.
func TestRenameFromOwnToSharedRing(t *testing.T) {
	needNamespace(t)
	wire(t, "up0")
	m := newMemory(16)
	c, stop := start(t, m, nil, "up0", "va*")
	await(t, c, "up0", StateRecording)
	s := newSender(t, "xup0")
	s.send(0, 1000, 0)
	rename(t, "up0", "va0")
	for await(t, c, "va0", StateRecording).Ring != sharedRing {
	}
	s.send(1000, 1000, 0)
	stop()
	seen := map[uint32]int{}
	for _, p := range m.packets {
		seen[number(p)]++
	}
	if len(seen) != 2000 || len(m.packets) != 2000 {
		t.Errorf("%d packets of %d numbers, want 2000 of 2000", len(m.packets), len(seen))
	}
}

// What an interface had received before its new name left it out is kept.
func TestRenameToUnnamedKeepsWhatWasBefore(t *testing.T) {
	needNamespace(t)
	wire(t, "up0")
	m := newMemory(16)
	c, stop := start(t, m, nil, "up0")
	await(t, c, "up0", StateRecording)
	s := newSender(t, "xup0")
	s.send(0, 1000, 0)
	rename(t, "up0", "no0")
	await(t, c, "no0", StateExcluded)
	stop()
	m.exactly(t, "up0", 0, 1000)
}

// Stopping takes all that the ring holds, however slowly the sink takes it.
func TestStopTakesTheBacklog(t *testing.T) {
	needNamespace(t)
	wire(t, "up0")
	m := newMemory(2)
	slow := slowSink{m, 100 * time.Millisecond}
	c, stop := start(t, slow, nil, "up0")
	await(t, c, "up0", StateRecording)
	const count = 20000
	newSender(t, "xup0").send(0, count, 1300) // 26 MB: 2.7 s of the sink's time
	stop()
	m.exactly(t, "up0", 0, count)
}

// slowSink takes time for each full chunk.
type slowSink struct {
	*memory
	time.Duration
}

func (s slowSink) Put(c *pcapng.Chunk) {
	if c.Summary.Packets > 0 {
		time.Sleep(s.Duration)
	}
	s.memory.Put(c)
}

// A sink that gives no chunks is a stalled disk: the ring fills, and every packet is either stored or counted as dropped.
func TestStalledSinkIsCountedLoss(t *testing.T) {
	needNamespace(t)
	wire(t, "up0")
	m := newMemory(4)
	var held []*pcapng.Chunk
	c, stop := start(t, m, nil, "up0")
	await(t, c, "up0", StateRecording)
	for range 3 {
		held = append(held, <-m.free)
	}
	s := newSender(t, "xup0")
	const count, payload = 60000, 1300 // 78 MB into 32 MiB and one chunk
	begin := time.Now()
	s.send(0, 1, payload)
	release := make(chan struct{})
	go func() { // the reader returns its only chunk as soon as it is full: keep it from being used again
		defer close(release)
		held = append(held, <-m.free)
	}()
	s.send(1, count-1, payload)
	end := time.Now()
	<-release
	for _, h := range held {
		m.free <- h
	}
	stop()
	var st uint64
	for _, sum := range m.summaries {
		st += sum.Dropped
	}
	if len(m.packets)+int(st) != count || st == 0 {
		t.Errorf("%d stored and %d counted as dropped of %d", len(m.packets), st, count)
	}
	var noted uint64
	for _, n := range m.notes {
		if n.Kind != pcapng.NoteDropped {
			continue
		}
		noted += n.Packets
		if n.From > end.UnixNano() || n.To < begin.UnixNano() || n.From > n.To {
			t.Errorf("a loss is dated %d to %d, the packets were sent from %d to %d", n.From, n.To, begin.UnixNano(), end.UnixNano())
		}
	}
	if noted != st {
		t.Errorf("notes tell of %d dropped packets, the chunks of %d", noted, st)
	}
	m.contiguous(t)
}

func TestRequiredInterfaceMissing(t *testing.T) {
	needNamespace(t)
	_, err := Open(Config{Services: postgres, Interfaces: []InterfaceRule{{Name: "up0", Require: true}}}, newMemory(4), zap.NewNop())
	if !errors.As(err, new(*ConfigError)) {
		t.Errorf("error %v, want a *ConfigError", err)
	}
}

func TestTooManyRings(t *testing.T) {
	needNamespace(t)
	cfg := Config{Services: postgres, Ring: 16 << 20}
	for i := range 4 {
		cfg.Interfaces = append(cfg.Interfaces, InterfaceRule{Name: fmt.Sprintf("up%d", i)})
	}
	if _, err := Open(cfg, newMemory(4), zap.NewNop()); !errors.As(err, new(*ConfigError)) {
		t.Errorf("error %v, want a *ConfigError", err)
	}
}

// An interface that comes later than the ring memory was shared out goes to the shared ring, and is recording when it
// says so.
func TestLateInterfaceIsRecordingWhenItSaysSo(t *testing.T) {
	needNamespace(t)
	wire(t, "up0")
	wire(t, "no0")
	m := newMemory(16)
	c, stop := start(t, m, func(cfg *Config) { cfg.Interfaces[0].Ring = RingOwn }, "up*")
	await(t, c, "up0", StateRecording)
	wire(t, "up1")
	if got := await(t, c, "up1", StateRecording); got.Ring != sharedRing {
		t.Errorf("up1 is in ring %s, want the shared one", got.Ring)
	}
	newSender(t, "xup1").send(0, 1000, 0)
	rename(t, "no0", "up2")
	await(t, c, "up2", StateRecording)
	newSender(t, "xno0").send(0, 1000, 0)
	newSender(t, "xup0").send(0, 1000, 0)
	stop()
	for _, n := range []string{"up0", "up1", "up2"} {
		m.exactly(t, n, 0, 1000)
	}
	if len(m.packets) != 3000 {
		t.Errorf("%d packets in all, want 3000", len(m.packets))
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	l, err := netlink.LinkByName(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetName(l, to); err != nil {
		t.Fatal(err)
	}
}

// When the kernel has more to tell than its buffer holds, the subscription ends; interfaces are then listed anew.
func TestSubscriptionIsRenewed(t *testing.T) {
	needNamespace(t)
	wire(t, "va0")
	m := newMemory(16)
	c, stop := start(t, m, nil, "va*")
	await(t, c, "va0", StateRecording)
	c.links.done <- struct{}{} // as its reader sees the end of the subscription
	wire(t, "va1")
	await(t, c, "va1", StateRecording)
	stop()
}

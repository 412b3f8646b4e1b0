package conntrack

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/hoststate"
)

// patience is how long tests wait for what must come.
const patience = 30 * time.Second

// table changes the kernel's connection tracking, over a socket of its own.
type table struct {
	t    testing.TB
	conn *netlink.Conn
}

func newTable(t testing.TB) *table {
	t.Helper()
	needNamespace(t)
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		t.Fatal(err)
	}
	table := &table{t, conn}
	t.Cleanup(func() {
		table.flush()
		conn.Close()
	})
	return table
}

// connection is one entry that tests make.
type connection struct {
	n       int // makes the client's address and port
	server  netip.AddrPort
	udp     bool
	state   State
	status  Status
	timeout uint32 // seconds
}

var (
	database  = netip.MustParseAddrPort("10.99.0.5:5432")
	cache     = netip.MustParseAddrPort("10.99.0.6:6379")
	other     = netip.MustParseAddrPort("10.99.0.7:8080")
	database6 = netip.MustParseAddrPort("[fd00::5]:5432")
	watched   = []Service{
		{Name: "postgres", Protocol: "tcp", Ports: []PortRange{{5432, 5432}}},
		{Name: "redis", Ports: []PortRange{{6379, 6380}}, CIDRs: []netip.Prefix{netip.MustParsePrefix("10.99.0.0/16")}},
	}
)

// flowTo is the n-th established, assured connection to a server, with five days left.
func flowTo(server netip.AddrPort, n int) connection {
	return connection{n: n, server: server, state: StateEstablished, status: StatusAssured, timeout: 432000}
}

// flowsTo are so many.
func flowsTo(server netip.AddrPort, n int) (list []connection) {
	for i := range n {
		list = append(list, flowTo(server, i))
	}
	return list
}

func (c connection) client() netip.AddrPort {
	if c.server.Addr().Is6() {
		return netip.AddrPortFrom(netip.MustParseAddr("fd00::2:1"), uint16(20000+c.n))
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(20 + c.n>>24), byte(c.n >> 16 & 0xff), byte(c.n >> 8)}), uint16(20000+c.n&0xff))
}

// body is the message that makes or deletes the entry.
func (c connection) body(t testing.TB) []byte {
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	tuple := func(kind uint16, src, dst netip.AddrPort) {
		e.Nested(kind, func(e *netlink.AttributeEncoder) error {
			e.Nested(ctaTupleIP, func(e *netlink.AttributeEncoder) error {
				if src.Addr().Is4() {
					e.Bytes(ctaIPv4Src, src.Addr().AsSlice())
					e.Bytes(ctaIPv4Dst, dst.Addr().AsSlice())
				} else {
					e.Bytes(ctaIPv6Src, src.Addr().AsSlice())
					e.Bytes(ctaIPv6Dst, dst.Addr().AsSlice())
				}
				return nil
			})
			e.Nested(ctaTupleProto, func(e *netlink.AttributeEncoder) error {
				e.Uint8(ctaProtoNum, c.protocol())
				e.Uint16(ctaProtoSrcPort, src.Port())
				e.Uint16(ctaProtoDstPort, dst.Port())
				return nil
			})
			return nil
		})
	}
	tuple(ctaTupleOrig, c.client(), c.server)
	tuple(ctaTupleReply, c.server, c.client())
	e.Uint32(ctaStatus, uint32(c.status|1<<1|1<<3)) // seen reply, confirmed
	e.Uint32(ctaTimeout, c.timeout)
	if !c.udp {
		e.Nested(ctaProtoInfo, func(e *netlink.AttributeEncoder) error {
			e.Nested(ctaProtoInfoTCP, func(e *netlink.AttributeEncoder) error {
				e.Uint8(ctaProtoInfoTCPState, uint8(c.state))
				return nil
			})
			return nil
		})
	}
	b, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	family := byte(unix.AF_INET)
	if c.server.Addr().Is6() {
		family = unix.AF_INET6
	}
	return append([]byte{family, 0, 0, 0}, b...)
}

func (c connection) protocol() uint8 {
	if c.udp {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

func (b *table) message(kind uint16, flags netlink.HeaderFlags, body []byte) netlink.Message {
	return netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | kind), Flags: netlink.Request | flags}, Data: body}
}

// add makes entries, many in one datagram.
func (b *table) add(list ...connection) {
	b.t.Helper()
	for part := range slices.Chunk(list, 64) {
		var messages []netlink.Message
		for i, c := range part {
			flags := netlink.Create | netlink.Excl
			if i == len(part)-1 {
				flags |= netlink.Acknowledge
			}
			messages = append(messages, b.message(ctNew, flags, c.body(b.t)))
		}
		sent, err := b.conn.SendMessages(messages)
		if err != nil {
			b.t.Fatal(err)
		}
		if got, err := b.conn.Receive(); err != nil {
			b.t.Fatalf("making %d entries: %v, %v (%d sent)", len(part), err, got, len(sent))
		}
	}
}

// update changes the state, status and time-out of an entry.
func (b *table) update(c connection) {
	b.t.Helper()
	if _, err := b.conn.Execute(b.message(ctNew, netlink.Acknowledge, c.body(b.t))); err != nil {
		b.t.Fatalf("changing an entry: %v", err)
	}
}

// remove deletes one entry.
func (b *table) remove(c connection) {
	b.t.Helper()
	if _, err := b.conn.Execute(b.message(ctDelete, netlink.Acknowledge, c.body(b.t))); err != nil {
		b.t.Fatalf("deleting an entry: %v", err)
	}
}

// flush deletes all entries.
func (b *table) flush() {
	b.t.Helper()
	if _, err := b.conn.Execute(b.message(ctDelete, netlink.Acknowledge, make([]byte, nfgenLen))); err != nil {
		b.t.Fatalf("flushing: %v", err)
	}
}

// sysctl sets one of the namespace's, and puts it back at the end.
func sysctl(t testing.TB, name, value string) {
	t.Helper()
	path := "/proc/sys/net/netfilter/" + name
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	set := func(v []byte) {
		if err := os.WriteFile(path, v, 0); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	set([]byte(value))
	t.Cleanup(func() { set(before) })
}

// memory is a Sink that keeps everything.
type memory struct {
	mu     sync.Mutex
	events []hoststate.Event
	seen   []time.Time
	spots  []string
	blind  bool // Blind was called
	more   chan struct{}
}

func newMemory() *memory { return &memory{more: make(chan struct{}, 1)} }

func (m *memory) Emit(e hoststate.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, e)
	m.seen = append(m.seen, time.Now())
	m.signal()
}

func (m *memory) Blind(spots ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spots, m.blind = slices.Clone(spots), true
	m.signal()
}

// hidden is what Blind was told last, and whether it was called.
func (m *memory) hidden() (spots string, called bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.spots, "\n"), m.blind
}

func (m *memory) signal() {
	select {
	case m.more <- struct{}{}:
	default:
	}
}

// of returns the events of a kind.
func (m *memory) of(kind string) (list []hoststate.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if e.Kind == kind {
			list = append(list, e)
		}
	}
	return list
}

// seenAt is when the first event of the kind and time of e was emitted.
func (m *memory) seenAt(e hoststate.Event) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.events, func(one hoststate.Event) bool { return one.Kind == e.Kind && one.Time.Equal(e.Time) })
	return m.seen[i]
}

// total sums the counts so far.
func (m *memory) total(t testing.TB) (sum Counts) {
	for _, e := range m.of("conntrack.counts") {
		c := decode[Counts](t, e)
		sum.New += c.New
		sum.Update += c.Update
		sum.Destroy += c.Destroy
		sum.Kernel += c.Kernel
		sum.Userspace += c.Userspace
		sum.Expired += c.Expired
		sum.Lost += c.Lost
		sum.ExpiredEstablished += c.ExpiredEstablished
		sum.Pickups += c.Pickups
		sum.LeftOut += c.LeftOut
	}
	return sum
}

// await waits until the condition holds, and fails if it does not within patience.
func (m *memory) await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for late := time.After(patience); !holds(); {
		select {
		case <-m.more:
		case <-look.C:
		case <-late:
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, e := range m.events[max(0, len(m.events)-20):] {
				t.Logf("%v %s %s: %s %s", e.Time, e.Kind, e.Subject, e.Text, e.Data)
			}
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// awaitOne waits for the n-th event of a kind.
func (m *memory) awaitOne(t testing.TB, kind string, n int) hoststate.Event {
	t.Helper()
	m.await(t, fmt.Sprintf("%d × %s", n, kind), func() bool { return len(m.of(kind)) >= n })
	return m.of(kind)[n-1]
}

func decode[T any](t testing.TB, e hoststate.Event) (v T) {
	t.Helper()
	if err := json.Unmarshal(e.Data, &v); err != nil {
		t.Fatalf("%s: %v: %s", e.Kind, err, e.Data)
	}
	return v
}

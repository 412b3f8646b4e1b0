package conntrack

import (
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// attribute encodes one, with what is nested in it.
func attribute(kind uint16, value ...[]byte) []byte {
	b := make([]byte, 4)
	for _, v := range value {
		b = append(b, v...)
	}
	binary.NativeEndian.PutUint16(b, uint16(len(b)))
	binary.NativeEndian.PutUint16(b[2:], kind)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func tupleOf(kind uint16, src, dst string, protocol byte) []byte {
	a, b := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	from, to := uint16(ctaIPv4Src), uint16(ctaIPv4Dst)
	if a.Addr().Is6() {
		from, to = ctaIPv6Src, ctaIPv6Dst
	}
	port := func(kind, p uint16) []byte { return attribute(kind, binary.BigEndian.AppendUint16(nil, p)) }
	return attribute(kind|unix.NLA_F_NESTED,
		attribute(ctaTupleIP|unix.NLA_F_NESTED, attribute(from, a.Addr().AsSlice()), attribute(to, b.Addr().AsSlice())),
		attribute(ctaTupleProto|unix.NLA_F_NESTED, attribute(ctaProtoNum, []byte{protocol}), port(ctaProtoSrcPort, a.Port()), port(ctaProtoDstPort, b.Port())))
}

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func message(kind, flags uint16, portID uint32, attributes ...[]byte) []byte {
	b := make([]byte, unix.NLMSG_HDRLEN+nfgenLen)
	for _, a := range attributes {
		b = append(b, a...)
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.NFNL_SUBSYS_CTNETLINK<<8|kind)
	binary.NativeEndian.PutUint16(b[6:], flags)
	binary.NativeEndian.PutUint32(b[12:], portID)
	return b
}

var (
	orig        = tupleOf(ctaTupleOrig, "10.1.2.3:41822", "10.99.0.5:5432", 6)
	reply       = tupleOf(ctaTupleReply, "10.99.0.5:5432", "10.20.0.10:41822", 6)
	established = attribute(ctaProtoInfo|unix.NLA_F_NESTED, attribute(ctaProtoInfoTCP|unix.NLA_F_NESTED, attribute(ctaProtoInfoTCPState, []byte{3})))
	assured     = attribute(ctaStatus, be32(0x0e))
	longLeft    = attribute(ctaTimeout, be32(431999))
	create      = uint16(unix.NLM_F_CREATE | unix.NLM_F_EXCL)
)

func TestParse(t *testing.T) {
	now := time.Now()
	stamp := binary.BigEndian.AppendUint64(nil, uint64(now.Add(-time.Second).UnixNano()))
	for _, c := range []struct {
		name    string
		message []byte
		check   func(*event) bool // nil: it is no event
	}{
		{"flushed", message(ctDelete, 0, 4711, orig, reply, assured, longLeft, established), func(e *event) bool {
			return e.Gone && e.lost() && !e.expired() && e.PortID == 4711 && e.Left == 431999 && e.At.Equal(now) &&
				e.ReplyDst == netip.MustParseAddrPort("10.20.0.10:41822")
		}},
		{"expired", message(ctDelete, 0, 0, orig, reply, assured, established), func(e *event) bool { return e.expired() && !e.lost() }},
		{"new", message(ctNew, create, 0, orig, reply), func(e *event) bool { return e.Made && !e.Gone && !e.pickedUp() }},
		{"picked up", message(ctNew, create, 0, orig, reply, attribute(ctaStatus, be32(8)), attribute(ctaTimeout, be32(300)), established),
			func(e *event) bool { return e.pickedUp() }},
		{"made by a process", message(ctNew, create, 7, orig, reply, established), func(e *event) bool { return e.Made && !e.pickedUp() }},
		{"updated", message(ctNew, 0, 0, orig, reply, assured), func(e *event) bool { return !e.Made && !e.Gone }},
		{"IPv6", message(ctNew, 0, 0, tupleOf(ctaTupleOrig, "[fd00::1]:1", "[fd00::2]:53", 17)), func(e *event) bool {
			return e.Protocol == 17 && e.Dst == netip.MustParseAddrPort("[fd00::2]:53") && e.State == 0
		}},
		{"mark, zone, id", message(ctNew, 0, 0, orig, attribute(ctaMark, be32(0x80)), attribute(ctaZone, []byte{0, 9}), attribute(ctaID, be32(77))),
			func(e *event) bool { return e.Mark == 0x80 && e.Zone == 9 && e.ID == 77 }},
		{"stamped", message(ctDelete, 0, 0, orig, attribute(ctaTimestamp, attribute(1, stamp), attribute(ctaTimestampStop, stamp))),
			func(e *event) bool { return now.Sub(e.At).Round(time.Millisecond) == time.Second }},
		{"stamped anew", message(ctNew, 0, 0, orig, attribute(ctaTimestampEvent, stamp)), func(e *event) bool { return e.At.Before(now) }},
		{"stamped absurdly", message(ctNew, 0, 0, orig, attribute(ctaTimestampEvent, make([]byte, 8))), func(e *event) bool { return e.At.Equal(now) }},
		{"unknown attributes", message(ctNew, 0, 0, attribute(999, []byte{1, 2, 3}), orig, attribute(500)), func(e *event) bool { return e.Protocol == 6 }},
		{"values of another size", message(ctDelete, 0, 0, orig, attribute(ctaStatus, []byte{1, 2, 3}), attribute(ctaTimeout)),
			func(e *event) bool { return e.Status == 0 && e.Left == 0 }},
		{"an attribute cut off", message(ctNew, 0, 0, orig, longLeft[:6]), func(e *event) bool { return e.Left == 0 }},
		{"no tuple", message(ctNew, 0, 0, longLeft), nil},
		{"another message", message(ctStats, 0, 0, orig), nil},
		{"too short", message(ctNew, 0, 0)[:unix.NLMSG_HDRLEN+2], nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			binary.NativeEndian.PutUint32(c.message, uint32(len(c.message)))
			m := messages(c.message)
			h, body, ok := m.next()
			if !ok {
				t.Fatal("no message")
			}
			var e event
			if got := e.parse(h, body, now); got != (c.check != nil) {
				t.Fatalf("parsed: %v: %+v", got, e)
			}
			if c.check != nil && !c.check(&e) {
				t.Errorf("%+v", e)
			}
		})
	}
	t.Run("two in a datagram, and a torn one", func(t *testing.T) {
		m := messages(append(append(message(ctNew, 0, 1, orig), message(ctNew, 0, 2, orig)...), message(ctNew, 0, 3, orig)[:40]...))
		var ports []uint32
		for {
			h, _, ok := m.next()
			if !ok {
				break
			}
			ports = append(ports, h.PortID)
		}
		if len(ports) != 2 || ports[0] != 1 || ports[1] != 2 {
			t.Errorf("messages of %v", ports)
		}
	})
}

func TestEntryText(t *testing.T) {
	var e event
	b := messages(message(ctDelete, 0, 0, orig, reply, assured, longLeft, established))
	h, body, _ := b.next()
	e.parse(h, body, time.Now())
	e.Service = "postgres"
	if want := "tcp 10.1.2.3:41822 → 10.99.0.5:5432 (ESTABLISHED)"; e.Entry.String() != want {
		t.Errorf("%s, want %s", &e.Entry, want)
	}
	const want = `{"protocol":"tcp","src":"10.1.2.3:41822","dst":"10.99.0.5:5432","reply_src":"10.99.0.5:5432","reply_dst":"10.20.0.10:41822",` +
		`"state":"ESTABLISHED","status":"seen-reply,assured,confirmed","left_seconds":431999,"id":0,"service":"postgres"}`
	got, err := json.Marshal(e.Entry)
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s, want\n%s", err, got, want)
	}
}

func TestServiceMatches(t *testing.T) {
	cidrs := []netip.Prefix{netip.MustParsePrefix("10.99.0.0/24"), netip.MustParsePrefix("fd00::/8")}
	entry := func(protocol Protocol, src, dst string) *Entry {
		a, b := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
		return &Entry{Protocol: protocol, Src: a, Dst: b, ReplySrc: b, ReplyDst: a}
	}
	nat := entry(6, "10.1.2.3:40000", "172.20.0.1:80")
	nat.ReplySrc = netip.MustParseAddrPort("10.99.0.5:5432")
	for _, c := range []struct {
		name    string
		service Service
		entry   *Entry
		want    bool
	}{
		{"port", Service{Ports: []PortRange{{5432, 5432}}}, entry(6, "10.1.2.3:40000", "10.99.0.5:5432"), true},
		{"range", Service{Ports: []PortRange{{80, 80}, {5000, 6000}}}, entry(17, "10.1.2.3:40000", "10.99.0.5:6000"), true},
		{"beyond the range", Service{Ports: []PortRange{{5000, 6000}}}, entry(6, "10.1.2.3:40000", "10.99.0.5:6001"), false},
		{"server first", Service{Ports: []PortRange{{5432, 5432}}}, entry(6, "10.99.0.5:5432", "10.1.2.3:40000"), true},
		{"behind a service address", Service{Ports: []PortRange{{5432, 5432}}, CIDRs: cidrs}, nat, true},
		{"protocol", Service{Protocol: "tcp", Ports: []PortRange{{53, 53}}}, entry(17, "10.1.2.3:40000", "10.99.0.5:53"), false},
		{"the other protocol", Service{Protocol: "udp", Ports: []PortRange{{53, 53}}}, entry(17, "10.1.2.3:40000", "10.99.0.5:53"), true},
		{"neither", Service{CIDRs: cidrs}, entry(1, "10.1.2.3:0", "10.99.0.5:0"), false},
		{"port and address at different ends", Service{Ports: []PortRange{{40000, 40000}}, CIDRs: cidrs}, entry(6, "10.1.2.3:40000", "10.99.0.5:5432"), false},
		{"address", Service{CIDRs: cidrs}, entry(6, "[fd00::1]:1", "[2001:db8::1]:2"), true},
		{"nothing said", Service{}, entry(6, "10.1.2.3:40000", "10.99.0.5:5432"), false},
	} {
		if got := c.service.has(c.entry); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// FuzzEvent reads datagrams as the reader does. Whatever they hold, reading ends, and what is told fits its bounds.
func FuzzEvent(f *testing.F) {
	f.Add(message(ctDelete, 0, 4711, orig, reply, assured, longLeft, established))
	f.Add(message(ctNew, create, 0, tupleOf(ctaTupleOrig, "[fd00::1]:1", "[fd00::2]:53", 17), attribute(ctaTimestamp, attribute(ctaTimestampStop, make([]byte, 8)))))
	f.Add(append(message(ctNew, 0, 0, orig), 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		sink := newMemory()
		r := readerOf(sink)
		r.take(b)
		r.now = r.now.Add(time.Hour)
		r.tick()
		sum := sink.total(t)
		if all := sum.New + sum.Update + sum.Destroy; all > uint64(len(b)/unix.NLMSG_HDRLEN) || sum.Destroy != sum.Kernel+sum.Userspace+sum.Expired {
			t.Errorf("%d bytes are %+v", len(b), sum)
		}
	})
}

// readerOf returns one without a socket.
func readerOf(m *memory) *reader {
	r := newReader(nil, m, nil, newNames("/proc"), &flows{}, &survey{})
	r.services = watched
	return r
}

func BenchmarkEvent(b *testing.B) {
	r := readerOf(newMemory())
	one := message(ctNew, 0, 0, orig, reply, assured, longLeft, established)
	for range 1000 { // what may be told one by one is used up
		r.take(one)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.take(one)
	}
}

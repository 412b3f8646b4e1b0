package filter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// tcpPacket returns an IPv4 packet with a TCP header of 20 bytes and size bytes of payload.
func tcpPacket(src, dst string, sport, dport uint16, size int) []byte {
	p := make([]byte, 40+size)
	p[0], p[9], p[32] = 0x45, protoTCP, 5<<4
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], netip.MustParseAddr(src).AsSlice())
	copy(p[16:], netip.MustParseAddr(dst).AsSlice())
	binary.BigEndian.PutUint16(p[20:], sport)
	binary.BigEndian.PutUint16(p[22:], dport)
	return p
}

func ethernet(kind uint16, p []byte) []byte {
	f := []byte{0x02, 0, 0, 0, 0, 0xff, 0x02, 0, 0, 0, 0, 1}
	return append(binary.BigEndian.AppendUint16(f, kind), p...)
}

// Devices without a link header: what is written to the tun device comes in through it.
func TestTun(t *testing.T) {
	inNamespace(t)
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("a device without a link header needs /dev/net/tun: %v", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("tun0")
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName("tun0")
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		t.Fatal(err)
	}
	services := []Service{
		{Name: "syn", Expression: "tcp[tcpflags] & tcp-syn != 0", Payload: 1},
		{Name: "macs", Expression: "ether src 0a:00:00:00:00:01"},
		tcp("postgres", 5432),
	}
	p := mustProgram(t, mustCompile(t, services), nil, false)
	all, kept := newTap(t, link.Attrs().Index, nil), newTap(t, link.Attrs().Index, p.Instructions())
	syn := tcpPacket("10.0.0.1", "10.0.0.2", 9, 9, 100)
	syn[33] = 2
	v6 := make([]byte, 40+8+20+30)
	v6[0], v6[6], v6[40], v6[48+12] = 0x60, extHop, protoTCP, 7<<4
	binary.BigEndian.PutUint16(v6[48:], 5432)
	buf := make([]byte, 2048)
	for _, test := range []struct {
		name   string
		packet []byte
		want   int
	}{
		{"source port of a service", tcpPacket("10.0.0.1", "10.0.0.2", 5432, 1, 100), 40},
		{"IPv6 behind an extension header, eight bytes of options", v6, 40 + 8 + 28},
		{"expression", syn, 41},
		{"neither", tcpPacket("10.0.0.1", "10.0.0.2", 9, 9, 100), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := unix.Write(fd, test.packet); err != nil {
				t.Fatal(err)
			}
			all.wait(t)
			n, meta := all.receiveMeta(t, buf)
			if n != len(test.packet) {
				t.Fatalf("received %d bytes, sent %d", n, len(test.packet))
			}
			if got := int(min(p.Run(buf[:n], meta), uint32(n))); got != test.want {
				t.Errorf("the process keeps %d bytes, want %d (%+v)", got, test.want, meta)
			}
			if got := kept.receive(t, buf); got != test.want {
				t.Errorf("the kernel keeps %d bytes, want %d", got, test.want)
			}
		})
	}
}

// A frame that the card is to segment passes the socket whole, with a wrong checksum and, as BIG TCP has it, no length.
func TestSegmentedLater(t *testing.T) {
	inNamespace(t)
	a, b := newVeth(t, "ga", "gb")
	full := tcp("full", 5432)
	full.Payload = Full
	taps := map[string]struct {
		tap
		want int
	}{
		"headers": {newTap(t, b, mustProgram(t, mustCompile(t, []Service{tcp("cut", 5432)}), nil, false).Instructions()), 54},
		"full":    {newTap(t, b, mustProgram(t, mustCompile(t, []Service{full}), nil, false).Instructions()), 54 + 40_000},
	}
	sender := newTap(t, a, []bpf.RawInstruction{{Op: opRet}})
	if err := unix.SetsockoptInt(sender.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		t.Fatal(err)
	}
	frame := ethernet(typeIPv4, tcpPacket("10.0.0.1", "10.0.0.2", 5432, 40000, 40_000))
	frame[16], frame[17] = 0, 0
	header := make([]byte, 10) // struct virtio_net_hdr: checksum to be completed, TCP over IPv4 in segments of 1448
	header[0], header[1] = 1, 1
	native := binary.NativeEndian
	native.PutUint16(header[2:], 54)
	native.PutUint16(header[4:], 1448)
	native.PutUint16(header[6:], 34)
	native.PutUint16(header[8:], 16)
	send(t, sender, a, append(header, frame...))
	buf := make([]byte, 1<<17)
	for name, s := range taps {
		s.wait(t)
		if n := s.receive(t, buf); n != s.want {
			t.Errorf("%s: kept %d bytes, want %d", name, n, s.want)
		}
	}
}

// A socket on all interfaces that leaves some out.
func TestExclude(t *testing.T) {
	inNamespace(t)
	var index []int
	for i := range 12 {
		a, b := newVeth(t, fmt.Sprintf("ea%d", i), fmt.Sprintf("eb%d", i))
		index = append(index, a, b)
	}
	exclude := []int{1}
	for i := 0; i < len(index); i += 2 { // the sending ends, and every second receiving one
		exclude = append(exclude, index[i])
		if i%4 == 0 {
			exclude = append(exclude, index[i+1])
		}
	}
	c := mustCompile(t, []Service{tcp("postgres", 5432)})
	all := newTap(t, 0, mustProgram(t, c, nil, false).Instructions())
	some := newTap(t, 0, mustProgram(t, c, exclude, false).Instructions())
	sender := newTap(t, 1, []bpf.RawInstruction{{Op: opRet}})
	for i := 0; i < len(index); i += 2 {
		send(t, sender, index[i], ethernet(typeIPv4, tcpPacket("10.0.0.1", "10.0.0.2", 9, 5432, 10)))
	}
	send(t, sender, 1, ethernet(typeIPv4, tcpPacket("10.0.0.1", "10.0.0.2", 9, 5432, 10))) // lo
	want := map[bool][]int{false: slices.Concat([]int{1, 1}, index)}
	for i := 3; i < len(index); i += 4 {
		want[true] = append(want[true], index[i])
	}
	for _, excluding := range []bool{false, true} { // all was opened first, so it receives last
		s := all
		if excluding {
			s = some
		}
		var got []int
		buf := make([]byte, 256)
		for range want[excluding] {
			s.wait(t)
			_, meta := s.receiveMeta(t, buf)
			got = append(got, meta.IfIndex)
		}
		slices.Sort(got)
		slices.Sort(want[excluding])
		if n := s.receive(t, buf); n > 0 || !slices.Equal(got, want[excluding]) {
			t.Errorf("excluding %v: packets of interfaces %v and %d bytes more, want %v", excluding, got, n, want[excluding])
		}
	}
}

// Memory is what the kernel charges: with a limit just above it the program is taken, at it the program is refused.
func TestMemory(t *testing.T) {
	inNamespace(t)
	five := many(22, 5)
	for i := range five {
		five[i].CIDRs = append(five[i].CIDRs, netip.MustParsePrefix("2001:db8:ffff::/48"), netip.MustParsePrefix("255.0.0.0/8"))
	}
	for name, services := range map[string][]Service{
		"presets": Presets(), "95": many(95, 0), "22 with five and one": five,
		"expressions": append(catalogue()[19:29], many(3, 1)...),
	} {
		p := mustProgram(t, mustCompile(t, services), []int{1, 7, 9}, false)
		taken := func(limit int) bool {
			setSysctl(t, "net/core/optmem_max", fmt.Sprint(limit))
			fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			err = attach(fd, p.Instructions())
			if err != nil && !errors.Is(err, unix.ENOMEM) {
				t.Fatalf("%s: %v", name, err)
			}
			return err == nil
		}
		low, high := 0, 1<<20
		for low+1 < high {
			if middle := (low + high) / 2; taken(middle) {
				high = middle
			} else {
				low = middle
			}
		}
		t.Logf("%s: %d instructions, %d loads: the kernel charges %d bytes, estimated %d", name, p.Len(), p.Loads(), low, p.Memory())
		if diff := p.Memory() - low; diff < -low/20 || diff > low/20 {
			t.Errorf("%s: estimated %d bytes, the kernel charges %d", name, p.Memory(), low)
		}
	}
}

// Under the limit of older kernels, services that do not fit twice exactly do so coarsely, and a swap succeeds.
func TestOldLimit(t *testing.T) {
	inNamespace(t)
	const limit = 20480
	services := many(60, 2)
	for i := range services {
		services[i].CIDRs = append(services[i].CIDRs, netip.MustParsePrefix(fmt.Sprintf("fd00:%x::/48", i)))
	}
	c := mustCompile(t, services)
	setSysctl(t, "net/core/optmem_max", fmt.Sprint(limit))
	if got, err := MemoryLimit(); err != nil || got != limit {
		t.Fatalf("the limit reads %d, %v", got, err)
	}
	_, b := newVeth(t, "oa", "ob")
	exact := mustProgram(t, c, []int{1}, false)
	if 2*exact.Memory() <= limit {
		t.Fatalf("the exact program takes only %d bytes: shows nothing", exact.Memory())
	}
	s := newTap(t, b, mustProgram(t, c, []int{1}, true).Instructions())
	if err := attach(s.fd, exact.Instructions()); !errors.Is(err, unix.ENOMEM) {
		t.Errorf("the exact program beside the coarse one: %v, want ENOMEM", err)
	}
	for i := range 5 {
		p := mustProgram(t, c, []int{1, 100 + i}, true)
		if len(p.Coarsened()) != 1 {
			t.Errorf("coarsened: %q", p.Coarsened())
		}
		if err := attach(s.fd, p.Instructions()); err != nil {
			t.Errorf("swap %d of a program of %d bytes: %v", i, p.Memory(), err)
		}
	}
}

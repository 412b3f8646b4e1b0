package filter

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

// many returns n services of one port each, with cidrs IPv4 prefixes each.
func many(n, cidrs int) []Service {
	var services []Service
	for i := range n {
		s := tcp(fmt.Sprintf("s%d", i), uint16(3000+7*i))
		for c := range cidrs {
			s.CIDRs = append(s.CIDRs, netip.MustParsePrefix(fmt.Sprintf("%d.%d.%d.0/24", 10+i/256, i%256, c)))
		}
		services = append(services, s)
	}
	return services
}

func mustCompile(t testing.TB, services []Service) *Compiler {
	t.Helper()
	c, err := NewCompiler(context.Background(), services)
	if err != nil && strings.Contains(err.Error(), "CAP_NET_RAW") {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustProgram(t testing.TB, c *Compiler, exclude []int, coarse bool) *Program {
	t.Helper()
	p, err := c.Program(exclude, coarse)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The numbers of services that must fit the kernel's default limit together with the program they replace.
func TestSize(t *testing.T) {
	for _, test := range []struct {
		name     string
		services []Service
		limit    int
	}{
		{"presets", Presets(), 131072},
		{"95 services", many(95, 0), 131072},
		{"63 services with a cidr", many(63, 1), 131072},
		{"22 services with five cidrs", many(22, 5), 131072},
		{"presets, old limit", Presets(), 20480},
		{"95 services, old limit", many(95, 0), 20480},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := mustProgram(t, mustCompile(t, test.services), []int{1, 2, 3}, false)
			t.Logf("%d instructions, %d loads, %d bytes", p.Len(), p.Loads(), p.Memory())
			if 2*p.Memory() > test.limit {
				t.Errorf("two programs take %d bytes, the kernel gives %d", 2*p.Memory(), test.limit)
			}
		})
	}
}

// The first service that matches decides, and one of ports and one with an expression are alike in that.
func TestOrder(t *testing.T) {
	cut := tcp("cut", 5432)
	more := tcp("more", 5432, 80)
	more.Payload = 100
	syn := Service{Name: "syn", Expression: "tcp[tcpflags] & tcp-syn != 0", Payload: 7}
	frame := ethernet(typeIPv4, tcpPacket("10.0.0.1", "10.0.0.2", 5432, 999, 300))
	open := slices.Clone(frame)
	open[14+33] = 2 // SYN
	web := ethernet(typeIPv4, tcpPacket("10.0.0.1", "10.0.0.2", 999, 80, 300))
	for _, test := range []struct {
		services []Service
		frame    []byte
		want     uint32
	}{
		{[]Service{cut, more}, frame, 54},
		{[]Service{more, cut}, frame, 154},
		{[]Service{cut, more}, web, 154},
		{[]Service{syn, cut}, open, 61},
		{[]Service{syn, cut}, frame, 54},
		{[]Service{cut, syn}, open, 54},
		{[]Service{cut, syn, more}, web, 154},
		{[]Service{cut, syn}, web, 0},
	} {
		p := mustProgram(t, mustCompile(t, test.services), nil, false)
		if got := p.Run(test.frame, Meta{}); got != test.want {
			t.Errorf("%v: keeps %d, want %d", test.services, got, test.want)
		}
	}
}

// The coarse program must not cut what a later service, which its addresses keep from matching first, wants more of.
func TestCoarsenKeepsTheLongest(t *testing.T) {
	a, b, c := tcp("a", 80), tcp("b", 80), Service{Name: "c", CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	a.CIDRs = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	b.Payload = Full
	compiler := mustCompile(t, []Service{a, b, c})
	coarse := mustProgram(t, compiler, nil, true)
	want := []string{"addresses are compared in the process instead of the kernel, for a"}
	if got := coarse.Coarsened(); !slices.Equal(got, want) {
		t.Errorf("coarsened %q, want %q", got, want)
	}
	frame := ethernet(typeIPv4, tcpPacket("10.0.0.1", "10.0.0.2", 999, 80, 300))
	if got := coarse.Run(frame, Meta{}); got != whole {
		t.Errorf("the coarse program keeps %d bytes, want %d", got, whole)
	}
	if got := coarse.Run(ethernet(typeIPv4, tcpPacket("11.0.0.1", "11.0.0.2", 1, 2, 3)), Meta{}); got != 0 {
		t.Errorf("a service without ports lost its addresses: keeps %d bytes of a stranger", got)
	}
	if got := mustProgram(t, compiler, nil, false).Coarsened(); len(got) > 0 {
		t.Errorf("the exact program says %q", got)
	}
}

func TestTooLong(t *testing.T) {
	services := many(400, 9)
	for i := range services {
		services[i].Payload = i
	}
	c := mustCompile(t, services)
	exact := mustProgram(t, c, nil, false)
	if exact.Len() <= maxInstructions {
		t.Fatalf("%d instructions are not too many", exact.Len())
	}
	frame := ethernet(typeIPv4, tcpPacket("10.0.0.1", "11.143.8.2", 999, 3000+7*399, 900))
	if got := exact.Run(frame, Meta{}); got != 54+399 {
		t.Errorf("in the process the last service keeps %d bytes, want %d", got, 54+399)
	}
	mustProgram(t, c, []int{1}, true)
	services = nil
	for i := range 2000 {
		s := tcp(fmt.Sprint(i), uint16(i+1))
		s.Payload = i
		services = append(services, s)
	}
	tooLong := (*SizeError)(nil)
	if _, err := mustCompile(t, services).Program(nil, true); !errors.As(err, &tooLong) || tooLong.Instructions <= maxInstructions {
		t.Errorf("2000 payloads: %v", err)
	}
}

func TestExcludePrefix(t *testing.T) {
	c := mustCompile(t, []Service{tcp("db", 5432)})
	frame := ethernet(typeIPv4, tcpPacket("10.0.0.1", "10.0.0.2", 5432, 999, 0))
	for _, n := range []int{1, 2, linear, linear + 1, 40, 900} {
		var exclude []int
		for i := range n {
			exclude = append(exclude, 1+3*i)
		}
		slices.Reverse(exclude)
		p := mustProgram(t, c, exclude, false)
		for index := range 3*n + 2 {
			if got := p.Run(frame, Meta{IfIndex: index}) == 0; got != slices.Contains(exclude, index) {
				t.Errorf("%d excluded: interface %d is left out: %v", n, index, got)
			}
		}
	}
	var exclude []int
	for i := range 4000 {
		exclude = append(exclude, i)
	}
	if p := mustProgram(t, c, exclude, false); p.Len() <= maxInstructions {
		t.Errorf("4000 interfaces take %d instructions", p.Len())
	}
	if _, err := c.Program(exclude, true); err == nil {
		t.Error("a coarse program longer than the kernel takes was made")
	}
}

// Conditional jumps reach 255 instructions; more services than that must still find their way out.
func TestFarJumps(t *testing.T) {
	services := many(300, 1)
	for i := range services {
		services[i].Payload = i
	}
	p := mustProgram(t, mustCompile(t, services), nil, false)
	for i := range services {
		frame := ethernet(typeIPv4, tcpPacket(fmt.Sprintf("%d.%d.0.9", 10+i/256, i%256), "192.0.2.1", uint16(3000+7*i), 1, 400))
		want := 54 + uint32(i)
		if got := p.Run(frame, Meta{}); got != want {
			t.Errorf("service %d keeps %d bytes, want %d", i, got, want)
		}
	}
}

func TestListing(t *testing.T) {
	orders := Service{Name: "orders", Protocol: "tcp", Ports: []PortRange{{3306, 3306}, {9000, 9010}},
		CIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32")}, Payload: 64}
	dns, _ := Preset("dns")
	c := mustCompile(t, []Service{orders, {Name: "arp", Expression: "arp"}, dns})
	p := mustProgram(t, c, []int{1, 7}, false)
	const path = "testdata/listing.txt"
	if *update {
		if err := os.WriteFile(path, []byte(p.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.String(); got != string(want) {
		t.Errorf("the listing is not that of %s; go test -update rewrites it:\n%s", path, got)
	}
	if again := mustProgram(t, mustCompile(t, []Service{orders, {Name: "arp", Expression: "arp"}, dns}), []int{7, 1, 7}, false); again.Hash() != p.Hash() {
		t.Error("the same services and interfaces make another program")
	}
	if other := mustProgram(t, c, []int{1, 8}, false); other.Hash() == p.Hash() || len(p.Hash()) != 64 || strings.ToLower(p.Hash()) != p.Hash() {
		t.Errorf("hashes %s and %s", p.Hash(), other.Hash())
	}
}

func BenchmarkProgram(b *testing.B) {
	c := mustCompile(b, many(63, 1))
	var exclude []int
	for i := range 200 {
		exclude = append(exclude, 1+2*i)
	}
	for b.Loop() {
		mustProgram(b, c, exclude, false)
	}
}

package filter

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func connection(a, b string) Connection {
	return Connection{netip.MustParseAddrPort(a), netip.MustParseAddrPort(b)}
}

// Exactly the connection is left out, whatever of the services would keep it, and in both directions.
func TestLeaveOut(t *testing.T) {
	udp := Service{Name: "udp", Protocol: "udp", Ports: []PortRange{{443, 443}}}
	syn := Service{Name: "syn", Expression: "tcp[tcpflags] & tcp-syn != 0"}
	own := connection("10.0.0.1:40000", "[::ffff:10.0.0.2]:443")
	six := connection("[fe80::1%eth0]:40001", "[2001:db8::2]:443")
	for _, services := range [][]Service{{tcp("https", 443), udp}, {syn, tcp("https", 443), udp}} {
		c, err := mustCompile(t, services).LeaveOut([]Connection{own, six})
		if err != nil {
			t.Fatal(err)
		}
		for _, coarse := range []bool{false, true} {
			p := mustProgram(t, c, []int{1}, coarse)
			for _, test := range []struct {
				src, dst string
				keep     bool
			}{
				{"10.0.0.1:40000", "10.0.0.2:443", false},
				{"10.0.0.2:443", "10.0.0.1:40000", false},
				{"10.0.0.1:40001", "10.0.0.2:443", true},
				{"10.0.0.3:40000", "10.0.0.2:443", true},
				{"10.0.0.1:40000", "10.0.0.4:443", true},
				{"10.0.0.1:443", "10.0.0.2:40000", true}, // the ports the other way round
				{"[2001:db8::2]:443", "[fe80::1]:40001", false},
				{"[fe80::1]:40001", "[2001:db8::2]:443", false},
				{"[fe80::1]:40001", "[2001:db8::3]:443", true},
			} {
				f := bareSegment(netip.MustParseAddrPort(test.src), netip.MustParseAddrPort(test.dst))
				if got := p.Run(f, Meta{IfIndex: 2}); (got > 0) != test.keep {
					t.Errorf("%d services, coarse %v: %s to %s keeps %d", len(services), coarse, test.src, test.dst, got)
				}
			}
			f := bareSegment(own.plain().A, own.plain().B)
			for _, at := range []struct {
				offset int
				value  byte
			}{{23, protoUDP}, {21, 1}} { // another protocol; a later fragment, which has no ports
				other := slices.Clone(f)
				other[at.offset] = at.value
				if p.Run(other, Meta{IfIndex: 2}) == 0 {
					t.Errorf("%d services, coarse %v: with byte %d as %d it is left out too", len(services), coarse, at.offset, at.value)
				}
			}
		}
	}
	if _, err := mustCompile(t, []Service{udp}).LeaveOut([]Connection{connection("10.0.0.1:1", "[fd00::1]:1")}); err == nil {
		t.Error("a connection of two IP versions is accepted")
	}
}

func TestMayKeep(t *testing.T) {
	rds := tcp("rds", 443)
	rds.CIDRs = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	for _, test := range []struct {
		name     string
		services []Service
		remote   string
		want     bool
	}{
		{"the port", []Service{tcp("https", 443)}, "10.0.0.2:443", true},
		{"another port", []Service{tcp("postgres", 5432)}, "10.0.0.2:443", false},
		{"the local port", []Service{tcp("high", 40000)}, "10.0.0.2:443", true},
		{"another address", []Service{rds}, "10.2.0.2:443", false},
		{"the address", []Service{rds}, "10.1.0.2:443", true},
		{"IPv6 only", []Service{tcp("https", 443)}, "[2001:db8::1]:443", true},
		{"an expression", []Service{tcp("postgres", 5432), {Name: "x", Expression: "arp"}}, "10.0.0.2:443", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			local := "10.0.0.1:40000"
			if test.remote[0] == '[' {
				local = "[fd00::1]:40000"
			}
			got, err := mustCompile(t, test.services).MayKeep(connection(local, test.remote))
			if err != nil || got != test.want {
				t.Errorf("%v, %v, want %v", got, err, test.want)
			}
		})
	}
}

// Sixteen connections of IPv6 leave room for a swap under the kernel's usual limit.
func TestLeaveOutSize(t *testing.T) {
	var all []Connection
	for i := range 16 {
		all = append(all, connection(fmt.Sprintf("[fd00::1]:%d", 40000+i), "[2001:db8::2]:443"))
	}
	c, err := mustCompile(t, Presets()).LeaveOut(all)
	if err != nil {
		t.Fatal(err)
	}
	p := mustProgram(t, c, []int{1, 2, 3}, false)
	t.Logf("%d instructions, %d bytes", p.Len(), p.Memory())
	if !p.Fits(131072) {
		t.Errorf("%d bytes are too many", p.Memory())
	}
}

package filter

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
)

// many returns n services of one port each, with cidrs IPv4 prefixes each.
func many(n, cidrs int) []Service {
	var services []Service
	for i := range n {
		s := tcp(fmt.Sprintf("s%d", i), uint16(3000+7*i))
		for c := range cidrs {
			s.CIDRs = append(s.CIDRs, netip.MustParsePrefix(fmt.Sprintf("10.%d.%d.0/24", i, c)))
		}
		services = append(services, s)
	}
	return services
}

func mustCompile(t testing.TB, services []Service) *Compiler {
	t.Helper()
	c, err := NewCompiler(context.Background(), services)
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

package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/ringside/ringside/capture/filter"
	"go.uber.org/zap"
)

// limitFilters sets the kernel's limit for filters in the test's namespace.
func limitFilters(t *testing.T, bytes int) {
	t.Helper()
	const path = "/proc/sys/net/core/optmem_max"
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, fmt.Append(nil, bytes), 0); err != nil {
		t.Skipf("needs a kernel whose net.core.optmem_max belongs to the network namespace (Linux 6.10 or later): %v", err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(path, before, 0); err != nil {
			t.Error(err)
		}
	})
}

// manyServices are services whose addresses do not contain those of segment, but for the first.
func manyServices(count, cidrs int) []filter.Service {
	var out []filter.Service
	for i := range count {
		port := uint16(5432 + i)
		s := filter.Service{Name: fmt.Sprintf("s%d", i), Protocol: "tcp", Ports: []filter.PortRange{{First: port, Last: port}}}
		for j := range cidrs {
			s.CIDRs = append(s.CIDRs, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(16 + j), byte(i), 0}), 24))
		}
		out = append(out, s)
	}
	out[0].CIDRs = append(out[0].CIDRs, netip.MustParsePrefix("10.9.0.0/24"))
	return out
}

// With the limit of older kernels, 60 services with networks do not fit. What the coarse filter lets through, the process
// leaves out.
func TestCoarseFilterIsFinishedInTheProcess(t *testing.T) {
	needNamespace(t)
	limitFilters(t, 20480)
	wire(t, "va0")
	m := newMemory(16)
	c, stop := start(t, m, func(cfg *Config) { cfg.Services = manyServices(60, 3) }, "va*")
	await(t, c, "va0", StateRecording)
	if s := c.Status().Rings[0]; s.Coarse == "" {
		t.Errorf("ring %+v, want it to say what its filter gave up", s)
	}
	s := newSender(t, "xva0")
	s.send(0, 1000, 0)
	s.port = 5433 // of a service with other networks
	s.send(1000, 1000, 0)
	wire(t, "va1") // a swap, or a foreign interface that none is needed for
	await(t, c, "va1", StateRecording)
	s.port = 5432
	s.send(1000, 1000, 100)
	stop()
	m.exactly(t, "va0", 0, 2000)
	for _, p := range m.packets {
		if len(p.Data) != 54 {
			t.Fatalf("stored %d bytes of a packet, want its headers, 54", len(p.Data))
		}
	}
}

func TestFilterTooLargeEvenCoarse(t *testing.T) {
	needNamespace(t)
	limitFilters(t, 2048)
	wire(t, "va0")
	_, err := Open(Config{Services: manyServices(200, 3), Interfaces: []InterfaceRule{{Name: "va*"}}}, newMemory(4), zap.NewNop())
	if !errors.As(err, new(*ConfigError)) {
		t.Errorf("error %v, want a *ConfigError", err)
	}
	t.Log(err)
}

// A refused swap leaves the old filter: nothing of the interfaces that are recorded is lost, and of those that are not,
// nothing is kept.
func TestRefusedSwapLeavesOldFilter(t *testing.T) {
	needNamespace(t)
	wire(t, "va0")
	m := newMemory(16)
	c, stop := start(t, m, nil, "va*")
	await(t, c, "va0", StateRecording)
	limitFilters(t, 64) // neither this process nor the kernel asks again until a filter is set
	wire(t, "no0")
	await(t, c, "no0", StateExcluded)
	newSender(t, "xno0").send(0, 1000, 0)
	newSender(t, "xva0").send(0, 1000, 0)
	refused := func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, n := range m.notes {
			if n.Kind == "filter" {
				return true
			}
		}
		return false
	}
	for !refused() {
		<-m.changed
	}
	stop()
	m.exactly(t, "va0", 0, 1000)
	if len(m.packets) != 1000 {
		t.Errorf("%d packets in all, want 1000", len(m.packets))
	}
}

// What the old filter leaves out and a refused one would have taken in is blind, not recording, until a filter is taken.
func TestRefusedSwapMakesBlind(t *testing.T) {
	needNamespace(t)
	wire(t, "va0")
	wire(t, "no0")
	m := newMemory(16)
	c, stop := start(t, m, nil, "va*")
	await(t, c, "no0", StateExcluded)
	t.Run("refused", func(t *testing.T) {
		limitFilters(t, 64)
		rename(t, "no0", "va1")
		await(t, c, "va1", StateBlind)
	})
	wire(t, "no1") // a change, so that the kernel is asked again
	await(t, c, "va1", StateRecording)
	newSender(t, "xno0").send(0, 1000, 0)
	stop()
	m.exactly(t, "va1", 0, 1000)
}

package parity

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/ringside/ringside/lab/host"
)

// profile is how the hosts speak TCP, and over what.
type profile struct {
	name                     string
	family                   int  // 4 or 6
	sack, timestamps, scaled bool // net.ipv4.tcp_sack, tcp_timestamps, tcp_window_scaling
	conditions
}

func profiles() []profile {
	lossy := conditions{delay: 8 * time.Millisecond, loss: 0.03, reordered: 0.03, longer: 4 * time.Millisecond}
	far := conditions{delay: 40 * time.Millisecond, loss: 0.02, reordered: 0.02, longer: 10 * time.Millisecond}
	near := conditions{delay: 300 * time.Microsecond, loss: 0.02, reordered: 0.05, longer: 2 * time.Millisecond}
	all := []profile{
		{"modern", 4, true, true, true, lossy},
		{"plain", 6, false, false, false, lossy},
	}
	if os.Getenv("RINGSIDE_PROOFS") == "" {
		return all
	}
	return append(all,
		profile{"near", 6, true, true, true, near},
		profile{"far", 4, true, true, true, far},
		profile{"without-sack", 4, false, true, true, lossy},
		profile{"without-timestamps", 6, true, false, true, far},
		profile{"without-scaling", 4, true, true, false, near},
		profile{"near-plain", 4, false, false, false, near},
	)
}

// TestKernel compares what tcpdump captures at both ends of connections of the kernel: at the client's, segments are as
// large as they leave TCP, and at the server's as they were on the wire.
func TestKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: CAP_SYS_ADMIN and CAP_NET_ADMIN make network namespaces")
	}
	need(t, "tshark", "tcpdump")
	results := make(chan []*view, len(profiles()))
	t.Run("connections", func(t *testing.T) {
		for i, p := range profiles() {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				results <- p.run(t, uint64(i))
			})
		}
	})
	close(results)
	all, thinned := make(scores, len(compared)), make(scores, len(compared))
	var large int
	for views := range results {
		for _, v := range views {
			all.compare(t, v)
			thinned.compare(t, v.thinned(0.3))
			large += v.larger(3000)
		}
	}
	due := []string{"tcp.analysis.retransmission", "tcp.analysis.fast_retransmission", "tcp.analysis.out_of_order",
		"tcp.analysis.zero_window", "tcp.flags.reset"}
	all.judge(t, due...)
	thinned.judge(t, due...)
	if large == 0 {
		t.Error("no frame is larger than 3000 bytes, so that segments as large as they leave TCP were not compared")
	}
}

// larger is how many frames are larger than so many bytes.
func (v *view) larger(size uint32) (n int) {
	for _, f := range v.frames {
		if f.original > size {
			n++
		}
	}
	return n
}

// thinned is the view as a recorder has it that loses a share of the frames.
func (v *view) thinned(share float64) *view {
	r := rand.New(rand.NewPCG(uint64(len(v.frames)), 0))
	return &view{v.name + "/thinned", slices.DeleteFunc(slices.Clone(v.frames), func(record) bool { return r.Float64() < share })}
}

// run makes the hosts, has them talk, and returns what was captured at both ends.
//
//	client ═ gateway ─ cable ─ server
func (p profile) run(t *testing.T, seed uint64) []*view {
	network := func(n, last int) string {
		if p.family == 6 {
			return fmt.Sprintf("fd00:%d::%d/64", n, last)
		}
		return fmt.Sprintf("10.8.%d.%d/24", n, last)
	}
	client, gateway, server := p.host(t, "client"), p.host(t, "gateway"), p.host(t, "server")
	must(t, client.Veth("eth0", gateway, "in0"))
	connect(t, gateway, server, "wire", p.conditions, seed)
	must(t, gateway.Up("wire"), server.Up("wire"))
	must(t, client.Address("eth0", network(1, 1)), gateway.Address("in0", network(1, 2)))
	must(t, gateway.Address("wire", network(2, 2)), server.Address("wire", network(2, 1)))
	must(t, gateway.Sysctl("net/ipv4/ip_forward", "1"))
	if p.family == 6 {
		must(t, gateway.Sysctl("net/ipv6/conf/all/forwarding", "1"))
	}
	address := func(n, last int) netip.Addr { return netip.MustParsePrefix(network(n, last)).Addr() }
	must(t, client.Default("eth0", address(1, 2)), server.Default("wire", address(2, 2)))

	near, far := capture(t, client, "eth0"), capture(t, server, "wire")
	talk(t, client, server, address(2, 1))
	return []*view{near.end(t, p.name+"/client", 1), far.end(t, p.name+"/server", 1)}
}

func (p profile) host(t *testing.T, name string) *host.Host {
	t.Helper()
	h, err := host.New(name, host.Options{IPv6: p.family == 6})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	for name, on := range map[string]bool{"sack": p.sack, "timestamps": p.timestamps, "window_scaling": p.scaled} {
		if value := "0"; !on {
			must(t, h.Sysctl("net/ipv4/tcp_"+name, value))
		}
	}
	return h
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

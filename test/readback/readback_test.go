package readback

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/netlab"
)

// recordWithTcpdump returns a function that ends the recording of an interface and returns its file. Here tcpdump is
// the recorder, so that sender, reader and ledger are proven without the program that they are to prove.
func recordWithTcpdump(t *testing.T, ns *netlab.Namespace, ifname string, packets int) (stop func() string) {
	t.Helper()
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("needs tcpdump")
	}
	file := filepath.Join(t.TempDir(), "file.pcap")
	var said strings.Builder
	cmd := exec.Command("tcpdump", "-i", ifname, "-n", "-U", "-B", "65536", "-Z", "root", "-c", fmt.Sprint(packets), "-w", file)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for !strings.Contains(said.String(), "listening on") {
		n, err := out.Read(buf)
		if err != nil {
			t.Fatalf("tcpdump: %v: %s", err, said.String())
		}
		said.Write(buf[:n])
	}
	return func() string {
		timeout := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
		defer timeout.Stop()
		if err := cmd.Wait(); err != nil {
			t.Fatalf("tcpdump: %v", err)
		}
		return file
	}
}

func TestSenderAgainstTcpdump(t *testing.T) {
	const count = 20_000
	node, pod := netlab.Test(t), netlab.Test(t)
	if err := node.Veth("v0", pod, "eth0"); err != nil {
		t.Fatal(err)
	}
	in := loadgen.Plan{ID: 1, Port: 5432, V6: true, Tags: true, Sizes: []int{60, 90, 1514, 9000}}
	out := loadgen.Plan{ID: 2, Port: 6379, V6: true, Tags: true, Sizes: []int{60, 1000}}
	stop := recordWithTcpdump(t, node, "v0", 2*count)
	for _, side := range []struct {
		ns     *netlab.Namespace
		ifname string
		plan   loadgen.Plan
	}{{pod, "eth0", in}, {node, "v0", out}} {
		s, err := loadgen.NewSender(side.ns, side.ifname, side.plan)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Send(context.Background(), count, 50_000); err != nil {
			t.Fatal(err)
		}
	}
	file := stop()
	// A classic pcap file has no interface names and no directions: everything seems inbound on "".
	l := NewLedger(
		Source{Plan: in, Interfaces: []string{""}, Payload: -1},
		Source{Plan: out, Interfaces: []string{""}, Payload: -1},
	)
	if err := Tshark(file, l.Add); err != nil {
		t.Fatal(err)
	}
	if l.Packets != 2*count || l.Foreign != 0 || l.Wrong != 0 || l.Repeated() != 0 {
		t.Errorf("read %d packets, %d foreign, %d wrong, %d repeated: %v", l.Packets, l.Foreign, l.Wrong, l.Repeated(), l.Problems)
	}
	for _, id := range []uint32{1, 2} {
		if missing := l.Missing(id, count); len(missing) > 0 || l.Seen(id) != count {
			t.Errorf("plan %d: %d of %d read, missing %v", id, l.Seen(id), count, missing)
		}
	}
	for name, tool := range map[string]func(string) (int, error){"tcpdump": Tcpdump, "capinfos": Capinfos} {
		if n, err := tool(file); n != 2*count || err != nil {
			t.Errorf("%s counts %d packets, %v, want %d", name, n, err, 2*count)
		}
	}
}

func TestLineAgainstTcpdump(t *testing.T) {
	const count = 20_000
	for name, shape := range map[string]loadgen.Shape{
		"v4": {Size: 64}, "v6": {V6: true, Size: 200}, "tagged": {Tags: []uint16{7}, Size: 1400}, "two tags": {Tags: []uint16{8, 9}, Size: 100},
	} {
		t.Run(name, func(t *testing.T) {
			node, pod := netlab.Test(t), netlab.Test(t)
			if err := node.Veth("v0", pod, "eth0"); err != nil {
				t.Fatal(err)
			}
			stop := recordWithTcpdump(t, node, "v0", count)
			line := loadgen.Line{
				Plan: loadgen.Plan{ID: 3, Port: 5432}, Shape: shape, Interface: "v0", Count: count, Rate: 100_000, CPU: -1,
			}
			took, err := line.Run(node)
			if err != nil {
				t.Fatal(err)
			}
			if took.Seconds() < 0.9*count/line.Rate {
				t.Errorf("%d packets at %.0f a second took %v", count, line.Rate, took)
			}
			seen := make(map[uint64]bool)
			err = Tshark(stop(), func(p Packet) {
				if id, n := loadgen.Split(p.Number); id != 3 || n >= count || p.Length != shape.Size || p.V6 != shape.V6 ||
					len(p.Tags) != len(shape.Tags) {
					t.Fatalf("read %+v", p)
				}
				seen[p.Number] = true
			})
			if err != nil || len(seen) != count {
				t.Errorf("read %d different packets of %d, %v", len(seen), count, err)
			}
		})
	}
}

func TestLedgerFindsEveryKindOfFault(t *testing.T) {
	plan := loadgen.Plan{ID: 5, Port: 5432, Tags: true, V6: true, Sizes: []int{100, 200}}
	right := func(n int) Packet {
		s := plan.Shape(n)
		return Packet{Interface: "v0", Length: s.Size, Captured: s.Headers(), Tags: s.Tags, V6: s.V6, Number: plan.Number(n)}
	}
	for name, spoil := range map[string]func(*Packet){
		"interface": func(p *Packet) { p.Interface = "v1" },
		"length":    func(p *Packet) { p.Length++ },
		"stored":    func(p *Packet) { p.Captured++ },
		"tag":       func(p *Packet) { p.Tags = append(p.Tags, 9) },
		"family":    func(p *Packet) { p.V6 = !p.V6 },
		"direction": func(p *Packet) { p.Outbound = true },
	} {
		l := NewLedger(Source{Plan: plan, Interfaces: []string{"v0"}})
		p := right(1)
		spoil(&p)
		l.Add(right(0))
		l.Add(p)
		if l.Wrong != 1 || len(l.Problems) != 1 {
			t.Errorf("%s: %d wrong: %v, want 1", name, l.Wrong, l.Problems)
		}
	}
	l := NewLedger(Source{Plan: plan, Interfaces: []string{"v0"}})
	for _, n := range []int{0, 3, 3, 4} {
		l.Add(right(n))
	}
	l.Add(Packet{Number: loadgen.Plan{ID: 6}.Number(1)})
	if got := fmt.Sprint(l.Packets, l.Foreign, l.Wrong, l.Seen(5), l.Repeated(), l.Missing(5, 7)); got != "5 1 0 3 1 [{1 2} {5 6}]" {
		t.Errorf("ledger says %s", got)
	}
}

package proofs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/readback"
	"github.com/ringside/ringside/test/ringside"
)

// TestDrainKeepsEverything stops a recorder by SIGTERM right after the last packet, twice: the files have every packet
// sent while it ran, and the time between as a gap.
func TestDrainKeepsEverything(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	t.Parallel()
	s := newSite(t, "v0")
	o := ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Dir: ringside.Dir(t), Services: services, Interfaces: "[v0]",
	}
	var all []traffic
	var stopped, ready [2]int64
	var r *ringside.Recorder
	for i := range 2 {
		r = ringside.Launch(t, o)
		ready[i] = time.Now().UnixNano()
		f := s.in(t, uint32(1+i), "v0", "v0")
		send(t, f.Sender, 20_000, 50_000)
		stopped[i] = time.Now().UnixNano()
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	exact(t, ledgerOf(t, r, sources(all)...), senders(all)...)
	gaps := notes(t, sealed(t, r), "gap")
	if len(gaps) != 1 {
		t.Fatalf("gap notes %+v, want one", gaps)
	}
	if g := gaps[0]; g.From < stopped[0]-1e9 || g.To <= g.From || g.To > ready[1] {
		t.Errorf("gap from %s to %s ms, the recorder was away from %s to %s ms", ms(g.From), ms(g.To), ms(stopped[0]), ms(ready[1]))
	}
}

// TestSecondSignalStopsAtOnce stops a recorder that is held up by a client which does not read.
func TestSecondSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, "v0")
	r := ringside.Launch(t, ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: "[v0]", More: "shutdown_timeout: 5m",
	})
	p := loadgen.Plan{ID: 1, Port: wholePort, Sizes: []int{9000}}
	f := s.inbound(t, "v0", p)
	send(t, f, 5000, 0) // 45 MB: more than sockets buffer
	settled(t, r, 5000)
	resp, err := r.Packets("-10m", "now")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := r.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := r.Until(patience, "stopping", func() bool { return strings.Contains(r.Log(), "stopping") }); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // a repetition within 100 ms of the first is taken for the same
	if err := r.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	code, err := r.Wait(30 * time.Second)
	if err != nil || code == 0 || !strings.Contains(r.Log(), "stopped at once") {
		t.Errorf("exit code %d, %v, want a failure at once; log:\n%s", code, err, r.Log())
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, "v0")
	o := ringside.Options{Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: "[v0]"}
	first := ringside.Launch(t, o)
	o.Rotate = map[string]string{"dir": filepath.Join(first.Dir, "spool")}
	second := ringside.LaunchUnready(t, o)
	code, err := second.Wait(10 * time.Second)
	if err != nil || code == 0 || !strings.Contains(second.Log(), fmt.Sprint("process ", first.Pid())) {
		t.Errorf("exit code %d, %v, want a failure that names the other process: %s", code, err, second.Log())
	}
	if status, _, err := first.Get("/readyz"); err != nil || status != 200 {
		t.Errorf("the first is disturbed: status %d, %v", status, err)
	}
}

// TestDamageIsSetAside damages a segment and an index of a stopped spool: the next start serves the rest.
func TestDamageIsSetAside(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	t.Parallel()
	s := newSite(t, "v0")
	o := ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Dir: ringside.Dir(t), Services: services, Interfaces: "[v0]",
		Rotate: map[string]string{"every": "1s"},
	}
	r := ringside.Launch(t, o)
	f := s.in(t, 1, "v0", "v0")
	send(t, f.Sender, 10_000, 1500)
	settled(t, r, 10_000)
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	files := sealed(t, r)
	if len(files) < 4 {
		t.Fatalf("%d segments, want at least 4: %v", len(files), files)
	}
	lost := readback.NewLedger(f.source)
	readAll(t, lost, files[1:2])
	garble(t, files[1])
	index := strings.TrimSuffix(files[2], ".pcapng") + ".idx"
	garble(t, index)

	r = ringside.Launch(t, o)
	if name := filepath.Base(files[1]); !strings.Contains(r.Log(), strings.TrimSuffix(name, ".pcapng")) {
		t.Errorf("the log does not name the damaged segment %s: %s", name, r.Log())
	}
	aside, err := os.ReadDir(filepath.Join(filepath.Dir(files[1]), "damaged"))
	if err != nil || len(aside) == 0 {
		t.Errorf("nothing was set aside: %v", err)
	}
	resp, err := r.Packets("-10m", "now")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	l := readback.NewLedger(f.source)
	if err := readback.TsharkStream(resp.Body, l.Add); err != nil {
		t.Fatal(err)
	}
	sane(t, l)
	t.Logf("sent %d, %d of them in the damaged segment, served %d", f.Count(), lost.Packets, l.Packets)
	if l.Packets != f.Count()-lost.Packets {
		t.Errorf("served %d packets, want %d", l.Packets, f.Count()-lost.Packets)
	}
}

// garble puts something else in a file's place.
func garble(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Repeat("damage ", 2000)), 0o600); err != nil {
		t.Fatal(err)
	}
}

package counters

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringside/ringside/hoststate"
)

// host is a procfs and sysfs of a test's own.
type host struct{ dir string }

func newHost(t testing.TB) host {
	t.Helper()
	h := host{t.TempDir()}
	h.put(t, "net/snmp", "Ip: Forwarding DefaultTTL InReceives InDiscards\nIp: 1 64 5000 7\nTcp: MaxConn ActiveOpens RetransSegs CurrEstab\nTcp: -1 3 40 9\n")
	h.put(t, "net/netstat", "TcpExt: ListenDrops TCPHPHits\nTcpExt: 2 900\nIpExt: InNoRoutes InOctets\nIpExt: 0 12345\n")
	h.put(t, "net/snmp6", "Ip6InReceives                   \t5\nIp6InDiscards                   \t1\nIcmp6OutDestUnreachs            \t0\nUdpLite6InErrors \t8\n")
	h.softnet(t, 100, 0, 200, 5)
	h.devices(t, "eth0: 1 10 1 2 0 0 0 0 9 20 3 4 0 0 0 0", "veth1: 1 5 0 1 0 0 0 0 9 6 0 1 0 0 0 0", "lo: 1 77 7 7 0 0 0 0 9 77 7 7 0 0 0 0")
	h.conntrack(t, 0x4b4, 0xc, 1)
	h.put(t, "sys/net/netfilter/nf_conntrack_max", "262144\n")
	for _, of := range []string{"cpu", "memory", "io"} {
		h.pressure(t, of, 1000, 0)
	}
	return h
}

func (h host) put(t testing.TB, name, text string) {
	t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// softnet puts what each CPU has processed and dropped; the file has no line for a CPU that is off.
func (h host) softnet(t testing.TB, numbers ...uint32) {
	var b strings.Builder
	for i := 0; i < len(numbers); i += 2 {
		fmt.Fprintf(&b, "%08x %08x 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 %08x\n", numbers[i], numbers[i+1], i/2)
	}
	h.put(t, "net/softnet_stat", b.String())
}

func (h host) devices(t testing.TB, lines ...string) {
	h.put(t, "net/dev", "Inter-|   Receive\n face |bytes    packets errs drop\n"+strings.Join(lines, "\n")+"\n")
}

// conntrack puts the entries, and what each CPU found invalid.
func (h host) conntrack(t testing.TB, n uint32, invalid ...uint32) {
	var b strings.Builder
	b.WriteString("entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart\n")
	for _, v := range invalid {
		fmt.Fprintf(&b, "%08x  00000000 00000005 00000000 %08x 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000  00000000 00000000 00000000 00000000\n", n, v)
	}
	h.put(t, "net/stat/nf_conntrack", b.String())
}

func (h host) pressure(t testing.TB, of string, some, full int) {
	h.put(t, "pressure/"+of, fmt.Sprintf("some avg10=0.00 avg60=0.00 avg300=0.00 total=%d\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=%d\n", some, full))
}

func (h host) config() Config {
	return Config{Proc: h.dir, Sys: h.dir, Uplinks: func() []string { return []string{"eth0"} }}
}

// TestBaseline holds everything that a reading finds against the files.
func TestBaseline(t *testing.T) {
	r := newReader(newHost(t).config())
	r.read()
	want := map[string]uint64{
		"ip.InDiscards": 7, "tcp.ActiveOpens": 3, "tcp.RetransSegs": 40, "tcpext.ListenDrops": 2, "ip6.InDiscards": 1,
		"softnet.processed": 300, "softnet.dropped": 5, "conntrack.entries": 1204, "conntrack.max": 262144, "conntrack.invalid": 13,
		"link.eth0.rx_packets": 10, "link.eth0.rx_errors": 1, "link.eth0.rx_drops": 2,
		"link.eth0.tx_packets": 20, "link.eth0.tx_errors": 3, "link.eth0.tx_drops": 4,
		"link.others.rx_packets": 5, "link.others.rx_drops": 1, "link.others.tx_packets": 6, "link.others.tx_drops": 1,
		"psi.cpu.some_us": 1000, "psi.memory.some_us": 1000, "psi.io.some_us": 1000,
	}
	if got := r.totals(); !maps.Equal(got, want) {
		t.Errorf("totals\n%v\nwant\n%v", got, want)
	}
	if spots := r.blind(); len(spots) > 0 {
		t.Errorf("blind: %v", spots)
	}
}

// TestChanges changes files and says exactly what has grown.
func TestChanges(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*testing.T, host)
		want   map[string]uint64
		text   string
	}{
		"nothing": {func(*testing.T, host) {}, map[string]uint64{}, ""},
		"conntrack and tcp": {func(t *testing.T, h host) {
			h.conntrack(t, 1000, 0x10, 9)
			h.put(t, "net/snmp", "Tcp: RetransSegs ActiveOpens\nTcp: 80 4\n")
		}, map[string]uint64{"conntrack.entries": 1000, "conntrack.invalid": 12, "tcp.RetransSegs": 40, "tcp.ActiveOpens": 1},
			"conntrack: 1000 entries, invalid +12; tcp: RetransSegs +40"},
		"a counter starts anew": {func(t *testing.T, h host) { h.put(t, "net/snmp", "Tcp: RetransSegs ActiveOpens\nTcp: 1 4\n") },
			map[string]uint64{"tcp.ActiveOpens": 1}, "only packets were counted"},
		"an interface goes, another comes": {func(t *testing.T, h host) {
			h.devices(t, "eth0: 1 11 1 2 0 0 0 0 9 20 3 4 0 0 0 0", "veth2: 1 500000 0 600000 0 0 0 0 9 6 0 1 0 0 0 0")
		}, map[string]uint64{"link.eth0.rx_packets": 1}, "only packets were counted"},
		"an uplink is renamed": {func(t *testing.T, h host) {
			h.devices(t, "wan0: 1 10 1 2 0 0 0 0 9 20 3 4 0 0 0 0", "veth1: 1 5 0 1 0 0 0 0 9 6 0 3 0 0 0 0")
		}, map[string]uint64{"link.others.tx_drops": 2}, "link.others: tx_drops +2"},
		"a CPU goes off": {func(t *testing.T, h host) { h.softnet(t, 101, 0) }, map[string]uint64{"softnet.processed": 1}, "only packets were counted"},
		"a CPU starts anew": {func(t *testing.T, h host) { h.softnet(t, 90, 0, 210, 6) },
			map[string]uint64{"softnet.processed": 10, "softnet.dropped": 1}, "softnet: dropped +1"},
		"pressure": {func(t *testing.T, h host) { h.pressure(t, "io", 3000, 1500) },
			map[string]uint64{"psi.io.some_us": 2000, "psi.io.full_us": 1500}, "psi.io: full_us +1500, some_us +2000"},
		"a little pressure": {func(t *testing.T, h host) { h.pressure(t, "io", 1999, 999) }, map[string]uint64{}, ""},
		"a file vanishes":   {func(t *testing.T, h host) { os.Remove(filepath.Join(h.dir, "net/snmp")) }, map[string]uint64{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			r := newReader(h.config())
			r.read()
			r.totals()
			c.change(t, h)
			r.read()
			got := r.changes()
			if !maps.Equal(got, c.want) {
				t.Errorf("changes %v, want %v", got, c.want)
			}
			if text := sentence(got); len(got) > 0 && text != c.text {
				t.Errorf("text %q, want %q", text, c.text)
			}
			r.read()
			if again := r.changes(); len(again) > 0 {
				t.Errorf("told again: %v", again)
			}
		})
	}
}

func TestGrowth(t *testing.T) {
	for _, c := range []struct {
		before, now uint64
		narrow      bool
		want        uint64
	}{
		{5, 9, false, 4}, {9, 5, false, 0}, {1<<64 - 1, 3, false, 0}, {1<<32 - 2, 3, true, 5}, {100, 3, true, 0}, {3, 1<<32 - 1, true, 1<<32 - 4},
	} {
		if got := growth(c.before, c.now, c.narrow); got != c.want {
			t.Errorf("from %d to %d, narrow %v: %d, want %d", c.before, c.now, c.narrow, got, c.want)
		}
	}
}

// TestPressureIsSavedUp has less than is told in each reading, and tells it when it is enough.
func TestPressureIsSavedUp(t *testing.T) {
	h := newHost(t)
	r := newReader(h.config())
	r.read()
	r.totals()
	var told []uint64
	for n := 1; n <= 5; n++ {
		h.pressure(t, "cpu", 1000+400*n, 0)
		r.read()
		told = append(told, r.changes()["psi.cpu.some_us"])
	}
	if want := []uint64{0, 0, 1200, 0, 0}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

// TestAllowances asks the driver of an uplink that is ena's, and no other.
func TestAllowances(t *testing.T) {
	h := newHost(t)
	for name, driver := range map[string]string{"eth0": "ena", "eth1": "virtio_net"} {
		dir := filepath.Join(h.dir, "class/net", name, "device")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../../../bus/pci/drivers/"+driver, filepath.Join(dir, "driver")); err != nil {
			t.Fatal(err)
		}
	}
	cfg := h.config()
	cfg.Uplinks = func() []string { return []string{"eth0", "eth1"} }
	without := newReader(cfg)
	without.read()
	if spots := without.blind(); len(spots) != 1 || !strings.Contains(spots[0], "allowances of eth0") {
		t.Errorf("without a way to ask: blind %v", spots)
	}
	statistics := map[string]uint64{"conntrack_allowance_exceeded": 5, "conntrack_allowance_available": 1000, "tx_bytes": 9}
	cfg.Driver = func(name string) (map[string]uint64, error) {
		if name != "eth0" {
			t.Errorf("%s was asked", name)
		}
		return statistics, nil
	}
	r := newReader(cfg)
	r.read()
	if all := r.totals(); all["ena.eth0.conntrack_allowance_exceeded"] != 5 || all["ena.eth0.conntrack_allowance_available"] != 1000 || len(r.blind()) > 0 {
		t.Errorf("totals %v, blind %v", all, r.blind())
	}
	statistics["conntrack_allowance_exceeded"], statistics["conntrack_allowance_available"] = 17, 950 // a twentieth is not told
	r.read()
	if got := r.changes(); !maps.Equal(got, map[string]uint64{"ena.eth0.conntrack_allowance_exceeded": 12}) {
		t.Errorf("changes %v", got)
	}
}

// events is a Sink.
type events struct {
	mu    sync.Mutex
	all   []hoststate.Event
	blind []string
}

func (s *events) Emit(e hoststate.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, e)
}

func (s *events) Blind(spots ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blind = spots
}

func (s *events) seen() []hoststate.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

func data(t testing.TB, e hoststate.Event) map[string]uint64 {
	t.Helper()
	m := map[string]uint64{}
	if err := json.Unmarshal(e.Data, &m); err != nil {
		t.Fatalf("%v: %s", err, e.Data)
	}
	return m
}

// TestRun has one event at the start, one in a second with changes, and none in the others.
func TestRun(t *testing.T) {
	h := newHost(t)
	cfg := h.config()
	cfg.SpoolDir = h.dir
	synctest.Test(t, func(t *testing.T) {
		var s events
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- New(cfg).Run(ctx, &s) }()
		time.Sleep(3500 * time.Millisecond)
		h.conntrack(t, 7, 0xd, 1)
		time.Sleep(3 * time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		all := s.seen()
		if len(all) != 2 || all[0].Subject != "first" || all[0].Kind != "counters" || data(t, all[0])["disk.free_bytes"] == 0 {
			t.Fatalf("events %+v", all)
		}
		if got := data(t, all[1]); got["conntrack.invalid"] != 1 || got["conntrack.entries"] != 7 || all[1].Time.Sub(all[0].Time) != 4*time.Second {
			t.Errorf("event %+v, data %v", all[1], got)
		}
		if len(s.blind) > 0 {
			t.Errorf("blind %v", s.blind)
		}
	})
}

// TestSize has what happens on a quiet node in one second: its line in the timeline is small.
func TestSize(t *testing.T) {
	told := map[string]uint64{
		entries: 1204, "softnet.processed": 123456, "link.eth0.rx_packets": 12345, "link.eth0.tx_packets": 12345, "link.others.rx_packets": 12345,
		"link.others.tx_packets": 12345, "tcp.ActiveOpens": 12, "tcp.PassiveOpens": 12, "tcp.RetransSegs": 3, "tcp.OutRsts": 3,
		"psi.cpu.some_us": 12345, "psi.io.some_us": 12345, "psi.io.full_us": 12345,
	}
	data, err := json.Marshal(told)
	if err != nil {
		t.Fatal(err)
	}
	line, err := json.Marshal(hoststate.Event{Seq: 1 << 40, Time: time.Now(), Kind: "counters", Source: "counters", Text: sentence(told), Data: data})
	if err != nil || len(line) > 650 {
		t.Errorf("%d bytes, %v, want at most 650: %s", len(line), err, line)
	}
	t.Logf("%d bytes: %s", len(line), line)
}

// TestUnavailable has no procfs, and then one that lacks some.
func TestUnavailable(t *testing.T) {
	var s events
	var missing *hoststate.Unavailable
	err := New(Config{Proc: t.TempDir()}).Run(t.Context(), &s)
	if u, ok := err.(*hoststate.Unavailable); !ok || u.Cure == "" {
		t.Errorf("%v, want %T", err, missing)
	}
	if len(s.blind) != 2 || len(s.seen()) > 0 { // conntrack and pressure
		t.Errorf("blind %v, events %v", s.blind, s.seen())
	}
}

// FuzzParse gives any text to every parser.
func FuzzParse(f *testing.F) {
	h := newHost(f)
	for _, name := range []string{"net/snmp", "net/snmp6", "net/softnet_stat", "net/dev", "net/stat/nf_conntrack", "pressure/io"} {
		text, err := os.ReadFile(filepath.Join(h.dir, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := newReader(Config{Uplinks: func() []string { return nil }})
		for range 2 {
			r.paired(text)
			r.listed(text)
			r.table(text)
			r.queues(text)
			r.devices(text, []string{"eth0"})
			r.pressure("cpu", text)
			r.totals()
			r.last, r.now = r.now, map[key]uint64{}
		}
		for name := range r.totals() {
			if !strings.Contains(name, ".") {
				t.Errorf("a counter without a group: %q", name)
			}
		}
		_ = sentence(r.changes())
	})
}

func BenchmarkReading(b *testing.B) {
	r := newReader(New(Config{SpoolDir: b.TempDir(), Uplinks: func() []string { return []string{"eth0"} }}).cfg)
	b.ReportAllocs()
	for b.Loop() {
		r.read()
		if all := r.changes(); len(all) > 0 {
			_ = sentence(all)
		}
	}
}

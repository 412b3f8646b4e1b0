package proofs

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/netlab"
	"github.com/ringside/ringside/test/readback"
	"github.com/ringside/ringside/test/ringside"
)

// window fetches packets as "curl | tshark -r -" does, and returns the answer's head.
func window(t *testing.T, r *ringside.Recorder, from, to string, each func(readback.Packet)) *http.Response {
	t.Helper()
	resp, err := r.Packets(from, to)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		t.Fatalf("packets from %s to %s: %s: %s", from, to, resp.Status, body)
	}
	if err := readback.TsharkStream(resp.Body, each); err != nil {
		t.Fatal(err)
	}
	return resp
}

// missing is what an answer's header says is missing of its window.
func missing(resp *http.Response) string {
	m := resp.Header.Get("Ringside-Missing")
	if m == "none" {
		return ""
	}
	return m
}

// TestPacketsWhileWritten fetches windows under traffic: each has every packet sent until it was asked for.
func TestPacketsWhileWritten(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	t.Parallel()
	s := newSite(t, "v0")
	r := ringside.Launch(t, ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: "[v0]",
		Rotate: map[string]string{"every": "1s"},
	})
	f := s.in(t, 1, "v0", "v0")
	stop := steady(t, f.Sender, 4000)
	for range 3 {
		time.Sleep(1200 * time.Millisecond)
		sent := f.Count() // before the request, so before its "now"
		l := readback.NewLedger(f.source)
		resp := window(t, r, "-10m", "now", l.Add)
		sane(t, l)
		if missing := l.Missing(1, sent); len(missing) > 0 {
			t.Errorf("of %d packets sent before the request, missing %v", sent, missing)
		}
		if resp.Header.Get("Ringside-Coverage") == "" || missing(resp) == "" {
			t.Errorf("the answer does not state its coverage, and the time before the start as missing: %v", resp.Header)
		}
	}
	stop()
	settled(t, r, f.Count())

	at := make(map[uint64]int64) // of every packet, by the recorder's clock
	window(t, r, "-10m", "now", func(p readback.Packet) { at[p.Number] = p.NS })
	if len(at) != f.Count() {
		t.Errorf("%d different packets in the window, sent %d", len(at), f.Count())
	}
	cutExactly(t, r, f, at)
}

// cutExactly fetches a window from one packet's time to another's: the first is in it, the other is not.
func cutExactly(t *testing.T, r *ringside.Recorder, f traffic, at map[uint64]int64) {
	t.Helper()
	from, to := at[f.Plan.Number(f.Count()/4)], at[f.Plan.Number(f.Count()/2)]
	want := 0
	for _, ns := range at {
		if from <= ns && ns < to {
			want++
		}
	}
	got, outside := 0, 0
	resp := window(t, r, stamp(from), stamp(to), func(p readback.Packet) {
		got++
		if p.NS < from || p.NS >= to {
			outside++
		}
	})
	if got != want || outside != 0 || missing(resp) != "" {
		t.Errorf("window [%s, %s): %d packets, %d outside, missing %q, want exactly %d",
			stamp(from), stamp(to), got, outside, missing(resp), want)
	}
	t.Logf("%d packets between two packets' times, as there must be", got)
}

func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// TestPacketsNotCovered asks for times at which nothing was recorded.
func TestPacketsNotCovered(t *testing.T) {
	t.Parallel()
	s := newSite(t, "v0")
	r := ringside.Launch(t, ringside.Options{Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: "[v0]"})
	for name, span := range map[string][2]string{
		"before": {"-2h", "-1h"}, "after": {stamp(time.Now().Add(time.Hour).UnixNano()), stamp(time.Now().Add(2 * time.Hour).UnixNano())},
	} {
		resp, err := r.Packets(span[0], span[1])
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s: %s, want 404 with what is covered", name, resp.Status, body)
		}
	}
}

// TestToolsConvert passes a segment and a window through the tools that write files.
func TestToolsConvert(t *testing.T) {
	need(t, "editcap", "mergecap", "capinfos", "curl")
	t.Parallel()
	const packets = 3000
	s := newSite(t, "v0", "v1")
	r := ringside.Launch(t, ringside.Options{Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: "[v0, v1]"})
	f := s.in(t, 1, "v0", "v0")
	send(t, f.Sender, packets, 0)
	settled(t, r, packets)
	streamed := filepath.Join(t.TempDir(), "window.pcapng")
	fetch := exec.Command("curl", "-sSf", "--unix-socket", filepath.Join(r.Dir, "sock"), "-o", streamed, "http://x/v1/packets?from=-10m&to=now")
	if out, err := fetch.CombinedOutput(); err != nil {
		t.Fatalf("curl: %v: %s", err, out)
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"segment": sealed(t, r)[0], "window": streamed} {
		to := filepath.Join(t.TempDir(), "converted")
		for _, args := range [][]string{{"editcap", file, to}, {"editcap", "-F", "pcap", file, to}, {"mergecap", "-w", to, file}} {
			out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
			if err != nil {
				t.Errorf("%v of a %s: %v: %s", args, name, err, out)
				continue
			}
			if n, err := readback.Capinfos(to); err != nil || n != packets {
				t.Errorf("%v of a %s: %d packets, %v, want %d", args, name, n, err, packets)
			}
		}
	}
}

// TestPageCache records whole packets, reads them through the API, and looks how much of the files is cached.
func TestPageCache(t *testing.T) {
	t.Parallel()
	const packets = 60_000 // 84 MB
	s := newSite(t, "v0")
	r := ringside.Launch(t, ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: "[v0]",
		Rotate: map[string]string{"every": "1s"},
	})
	f := s.inbound(t, "v0", loadgen.Plan{ID: 1, Port: wholePort, Sizes: []int{1400}})
	if err := (&brake{Recorder: r}).send(t, f, packets, 20_000); err != nil {
		t.Fatal(err)
	}
	settled(t, r, packets)
	resp, err := r.Packets("-10m", "now")
	if err != nil {
		t.Fatal(err)
	}
	served, err := io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if err != nil || served < packets*1400 {
		t.Errorf("served %d bytes, %v, want at least %d", served, err, packets*1400)
	}
	files, open, err := r.Segments()
	if err != nil {
		t.Fatal(err)
	}
	cached, err := ringside.Cached(append(files, open...))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes served, %d bytes of %d files cached", served, cached, len(files)+len(open))
	if cached >= 1<<20 {
		t.Errorf("%d bytes of the spool's files are cached, want less than 1 MiB", cached)
	}
}

// TestBigTCP records a real connection whose segments are far above 64 KiB, on both kinds of ring: each is stored whole.
// It sends as fast as it can, so all of it must fit into the ring: the recorder may not run for as long as that takes.
func TestBigTCP(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	t.Parallel()
	const bytes = 16 << 20
	for _, policy := range []string{"[veth0]", `["veth*"]`} {
		s := newSite(t, "veth0")
		err := errors.Join(
			s.node.Big("veth0", 180_000), s.pods.Big(peer("veth0"), 180_000),
			s.node.Address("veth0", "10.9.0.1/24"), s.pods.Address(peer("veth0"), "10.9.0.2/24"))
		if err != nil {
			t.Skipf("needs a kernel with BIG TCP for IPv4 (6.3): %v", err)
		}
		r := ringside.Launch(t, ringside.Options{Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: policy})
		transfer(t, s.node, s.pods, fmt.Sprint("10.9.0.2:", wholePort), bytes)
		time.Sleep(200 * time.Millisecond) // the last acknowledgments
		m := metrics(t, r)
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
		if dropped := sum(t, m, droppedMetric); dropped != 0 {
			t.Errorf("%s: %d packets dropped", policy, dropped)
		}
		largest, cut, data := 0, 0, 0
		const headers = 14 + 20 + 32 // with time stamps
		for _, file := range sealed(t, r) {
			err := readback.Tshark(file, func(p readback.Packet) {
				largest = max(largest, p.Length)
				if p.Captured != p.Length {
					cut++
				}
				if p.Outbound {
					data += max(0, p.Length-headers)
				}
			})
			if err != nil {
				t.Error(err)
			}
		}
		t.Logf("%s: largest frame %d bytes, %d frames cut, %d bytes of payload recorded of %d sent", policy, largest, cut, data, bytes)
		if largest <= 65_600 || cut > 0 || data < bytes {
			t.Errorf("%s: want frames above 64 KiB, none cut, and at least %d bytes", policy, bytes)
		}
	}
}

// transfer sends bytes over a TCP connection from one namespace to another.
func transfer(t *testing.T, from, to *netlab.Namespace, addr string, bytes int) {
	t.Helper()
	var l net.Listener
	var c net.Conn
	if err := to.Do(func() (err error) { l, err = net.Listen("tcp4", addr); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	received := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			_, err = io.Copy(io.Discard, c)
		}
		received <- err
	}()
	if err := from.Do(func() (err error) { c, err = net.Dial("tcp4", addr); return err }); err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 1<<20)
	for sent := 0; sent < bytes; sent += len(chunk) {
		if _, err := c.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(c.Close(), <-received); err != nil {
		t.Fatal(err)
	}
}

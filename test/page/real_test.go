package page

import (
	"context"
	"encoding/json"
	"html"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/input"
	"github.com/ringside/ringside/evidence"
	"github.com/ringside/ringside/test/schema"
)

const captures = "../../detect/testdata/captures"

// TestCitations analyses captures of real faults, and holds every packet that the reports cite against what tshark says of it.
func TestCitations(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("tshark is missing: .ci/tools installs it")
	}
	for _, name := range []string{"a02-flush-masqrf-loose1", "a04-flush-loose0-leak", "d07-reject-new-icmp"} {
		t.Run(name, func(t *testing.T) {
			path := unpack(t, name+".pcapng")
			r, err := evidence.Analyze(t.Context(), evidence.Options{Sources: input.Files(path)})
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Report.Validate(text); err != nil {
				t.Error(err)
			}
			cited := holdCitations(t, r, frames(t, path))
			t.Logf("%d citations", cited)
			if cited < 10 {
				t.Errorf("only %d packets are cited", cited)
			}
			holdPasted(t, path, string(render(t, r)))
		})
	}
}

// unpack lays a stored capture into a folder of its own.
func unpack(t *testing.T, name string) string {
	t.Helper()
	packed, err := os.ReadFile(filepath.Join(captures, name+".zst"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	text, err := d.DecodeAll(packed, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// seen is a packet as tshark has it.
type seen struct {
	timeNS    int64
	name      string // of the interface
	addresses []string
	ports     []string
}

// frames is all packets of a capture, by number.
func frames(t *testing.T, path string) map[uint64]seen {
	t.Helper()
	args := []string{"-n", "-r", path, "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,"}
	for _, field := range []string{"frame.number", "frame.time_epoch", "frame.interface_name", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.port", "udp.port"} {
		args = append(args, "-e", field)
	}
	out, err := exec.CommandContext(t.Context(), "tshark", args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	all := map[uint64]seen{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		n, err := strconv.ParseUint(f[0], 10, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		whole, fraction, _ := strings.Cut(f[1], ".")
		ns, err := strconv.ParseInt(whole+fraction, 10, 64)
		if err != nil || len(fraction) != 9 {
			t.Fatalf("%q: %v", f[1], err)
		}
		all[n] = seen{ns, f[2], strings.Split(strings.Join(f[3:7], ","), ","), strings.Split(strings.Join(f[7:9], ","), ",")}
	}
	return all
}

// holdCitations holds what a report cites, and returns how much that is.
func holdCitations(t *testing.T, r *evidence.Report, frames map[uint64]seen) (n int) {
	check := func(c detect.Citation) seen {
		s, ok := frames[c.Frame]
		switch {
		case !ok:
			t.Errorf("frame %d is cited, and there is none", c.Frame)
		case s.timeNS != c.TimeNS:
			t.Errorf("frame %d (%s) is of %d, not of %d", c.Frame, c.What, s.timeNS, c.TimeNS)
		case s.name != c.Interface:
			t.Errorf("frame %d (%s) is of %s, not of %s", c.Frame, c.What, s.name, c.Interface)
		}
		n++
		return s
	}
	for _, f := range r.Findings {
		for _, c := range f.Citations {
			check(c)
		}
		for _, flow := range f.Flows {
			for _, c := range flow.Citations {
				if s := check(c); !s.has(flow.Dst) || !s.has(flow.Src) && !s.has(flow.Inner) && !s.has(flow.Then) {
					t.Errorf("frame %d (%s) has %v %v, and is cited for %s (%s, %s) to %s", c.Frame, c.What, s.addresses, s.ports, flow.Src, flow.Inner, flow.Then, flow.Dst)
				}
			}
		}
	}
	return n
}

// has says whether an endpoint is one of those of the packet.
func (s seen) has(endpoint string) bool {
	e, err := netip.ParseAddrPort(endpoint)
	return err == nil && slices.Contains(s.addresses, e.Addr().String()) && slices.Contains(s.ports, strconv.Itoa(int(e.Port())))
}

var (
	flowOf   = regexp.MustCompile(`(?s)<details class="one">.*?</details>`)
	frameOf  = regexp.MustCompile(`<b>frame (\d+)</b>`)
	pastable = regexp.MustCompile(`<code tabindex="0">(.*?)</code>`)
)

// holdPasted does what people do: pastes the filters and the command of the first flow that a page shows.
func holdPasted(t *testing.T, path, page string) {
	flows := flowOf.FindAllString(page, 1)
	if len(flows) == 0 {
		t.Fatal("the page shows no flow")
	}
	for _, flow := range flows {
		var want []string
		for _, m := range frameOf.FindAllStringSubmatch(flow, -1) {
			want = append(want, m[1])
		}
		var paste []string
		for _, m := range pastable.FindAllStringSubmatch(flow, -1) {
			paste = append(paste, html.UnescapeString(m[1]))
		}
		if len(paste) != 3 {
			t.Fatalf("%d things to paste: %q", len(paste), paste)
		}
		slices.Sort(want)
		if got := numbers(t, path, paste[0]); !slices.Equal(got, slices.Compact(want)) {
			t.Errorf("%s shows %v, cited are %v", paste[0], got, want)
		}
		whole := numbers(t, path, paste[1])
		for _, n := range want {
			if !slices.Contains(whole, n) {
				t.Errorf("%s does not show frame %s, which is cited", paste[1], n)
			}
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", paste[2])
		cmd.Dir = filepath.Dir(path)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", paste[2], err, out)
		} else if got := numbers(t, filepath.Join(cmd.Dir, "cut.pcapng"), "frame"); len(got) != len(whole) {
			t.Errorf("%s cut %d packets of %d", paste[2], len(got), len(whole))
		}
	}
}

// numbers is the packets that a display filter shows, in the order of text.
func numbers(t *testing.T, path, filter string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "tshark", "-n", "-r", path, "-Y", filter, "-T", "fields", "-e", "frame.number").Output()
	if err != nil {
		t.Errorf("tshark -Y %s: %v", filter, err)
	}
	list := strings.Fields(string(out))
	slices.Sort(list)
	return list
}

// realPages opens the pages of real captures: one with a fault, and one without.
func realPages(t *testing.T, chromium context.Context) {
	for name, l := range map[string]look{"b14-iprules-flush-nosnat-5s": looks[3], "d15-baseline": looks[0]} {
		t.Run(name, func(t *testing.T) {
			r, err := evidence.Analyze(t.Context(), evidence.Options{Sources: input.Files(filepath.Join(captures, name+".pcapng.zst"))})
			if err != nil {
				t.Fatal(err)
			}
			url := serve(t, render(t, r))
			p := open(t, chromium, url, l)
			fits(t, p, l)
			plotted(t, p, len(r.Services))
			keep(t, p, name)
			p.clean(t)
		})
	}
}

package detect_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/detect/input"
)

// The classes of the rules about servers, paths, connects, names and clients.
var serviceClasses = []detect.Class{
	detect.ServerRestart, detect.ServerIdleTimeout, detect.ServerSlow, detect.ServerOverload, detect.PathLoss, detect.PathOutage,
	detect.ConnectDropped, detect.ConnectRejected, detect.DNSFailure, detect.ClientExit,
}

// capture is one of testdata/captures, and what the rules are to find in it: nothing else.
type capture struct {
	name  string
	class detect.Class // "" is nothing
	flows int          // of all its findings, at least
}

var captures = []capture{
	{"a01-flush-masq-loose1", "", 0},
	{"a02-flush-masqrf-loose1", "", 0},
	{"a04-flush-loose0-leak", "", 0},
	{"a05-flush-loose0-tcpreset", "", 0},
	{"a07-flush-loose1-inputdrop", "", 0},
	{"a11-flush-serverfirst", "", 0},
	{"a15-flush-aws-nosnat", "", 0},
	{"b03-nft-reload-gap3", "", 0},
	{"b07-addr-bounce-masq", "", 0},
	{"b11-networkd-restart-masq", "", 0},
	{"b14-iprules-flush-nosnat-5s", "", 0},
	{"c01-table-full", "", 0},
	{"d01-server-restart", detect.ServerRestart, 12},
	{"d02-slow-server", detect.ServerSlow, 7},
	{"d03-loss2", detect.PathLoss, 8},
	{"d05-path-outage5s", detect.PathOutage, 12},
	{"d06-sg-drop-new", detect.ConnectDropped, 6},
	{"d07-reject-new-icmp", detect.ConnectRejected, 15},
	{"d09-client-kill", detect.ClientExit, 3},
	{"d10-server-idle-timeout", detect.ServerIdleTimeout, 6},
	{"d12-server-reboot", detect.ServerRestart, 12},
	{"d13-ct-expiry-idle", "", 0},
	{"d15-baseline", "", 0},
	{"d17-pod-vanishes", "", 0},
}

// view is what of a capture's packets detection is given: how often each.
type view func(p *frame.Packet, on string) int

// replay gives a capture's packets to a detector.
func replay(t *testing.T, name string, v view) detect.Result {
	t.Helper()
	path := filepath.Join("testdata", "captures", name+".pcapng.zst")
	r, err := input.Open(input.Files(path), input.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d := detect.New(detect.Config{})
	var vantages []uint16
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return d.End()
		}
		if err != nil {
			t.Fatal(err)
		}
		list := r.Interfaces()
		for len(vantages) < len(list) {
			vantages = append(vantages, d.Vantage(list[len(vantages)].Name, list[len(vantages)].File))
		}
		on := list[p.Vantage].Name
		for range v(p, on) {
			q := *p
			q.Vantage = vantages[p.Vantage]
			d.Packet(&q)
		}
	}
}

func everything(*frame.Packet, string) int { return 1 }

func uplinks(_ *frame.Packet, on string) int {
	if strings.HasPrefix(on, "eth") {
		return 1
	}
	return 0
}

// believed are the findings of these rules that may become a verdict, by class.
func believed(r detect.Result) map[detect.Class]int {
	flows := map[detect.Class]int{}
	for _, f := range r.Findings {
		if slices.Contains(serviceClasses, f.Class) && f.Confidence >= 0.5 {
			flows[f.Class] += f.Count
		}
	}
	return flows
}

// TestServiceCaptures has every shared capture judged: as it is, and as the uplinks alone show it.
func TestServiceCaptures(t *testing.T) {
	for _, v := range []struct {
		name string
		of   view
	}{{"everything", everything}, {"uplinks", uplinks}} {
		for _, c := range captures {
			t.Run(v.name+"/"+c.name, func(t *testing.T) {
				flows := believed(replay(t, c.name, v.of))
				want := c.class
				if v.name == "uplinks" && want == detect.ClientExit {
					want = "" // behind the translation, nobody knows whose connections ended
				}
				if want != "" && flows[want] < c.flows {
					t.Errorf("%s with %d connections, want %d or more", want, flows[want], c.flows)
				}
				delete(flows, want)
				if len(flows) > 0 {
					t.Errorf("and %v, want nothing else", flows)
				}
			})
		}
	}
}

// TestServiceCapturesDamaged has captures judged of which a part is missing, or there twice: what is found may be less, never
// something else.
func TestServiceCapturesDamaged(t *testing.T) {
	for _, v := range []struct {
		name string
		of   func(r *rand.Rand) view
	}{
		{"a-third-missing", func(r *rand.Rand) view {
			return func(*frame.Packet, string) int {
				if r.IntN(10) < 3 {
					return 0
				}
				return 1
			}
		}},
		{"twice", func(*rand.Rand) view { return func(*frame.Packet, string) int { return 2 } }},
		{"clients-alone", func(*rand.Rand) view {
			return func(p *frame.Packet, _ string) int {
				if p.Src.Port < p.Dst.Port {
					return 0
				}
				return 1
			}
		}},
		{"servers-alone", func(*rand.Rand) view {
			return func(p *frame.Packet, _ string) int {
				if p.Src.Port > p.Dst.Port {
					return 0
				}
				return 1
			}
		}},
	} {
		for _, c := range captures {
			t.Run(v.name+"/"+c.name, func(t *testing.T) {
				flows := believed(replay(t, c.name, v.of(rand.New(rand.NewPCG(1, 2)))))
				delete(flows, c.class)
				if len(flows) > 0 {
					t.Errorf("%v, want at most %q", flows, c.class)
				}
			})
		}
	}
}

// TestServiceCitations looks whether every cited packet is one of a flow that cites it.
func TestServiceCitations(t *testing.T) {
	for _, c := range captures {
		if c.class == "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			ends := map[uint64][2]string{} // by frame
			r := replay(t, c.name, func(p *frame.Packet, _ string) int {
				src, dst := p.Src, p.Dst
				if p.Quoted {
					src, dst = p.Quote.Src, p.Quote.Dst
				}
				ends[p.Number] = [2]string{src.String(), dst.String()}
				return 1
			})
			for _, f := range r.Findings {
				if f.Class != c.class {
					continue
				}
				if f.Text == "" || strings.HasSuffix(f.Text, ".") || f.Rule == "" || f.Last.Before(f.First) {
					t.Errorf("incomplete finding: %+v", f)
				}
				for _, w := range f.Flows {
					if len(w.Citations) == 0 {
						t.Errorf("%s > %s cites nothing", w.Src, w.Dst)
					}
					for _, q := range w.Citations {
						if e := ends[q.Frame]; !slices.Contains(e[:], w.Src) || !slices.Contains(e[:], w.Dst) {
							t.Errorf("%s > %s cites frame %d (%s), which is of %v", w.Src, w.Dst, q.Frame, q.What, e)
						}
					}
				}
			}
		})
	}
}

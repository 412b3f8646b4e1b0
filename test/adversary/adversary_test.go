package adversary

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/detect/input"
	"github.com/ringside/ringside/evidence"
)

// scripted is a case: a script, and what a verdict may be beside none. It is never a fault of the node.
type scripted struct {
	name   string
	script func(*tape)
	may    []detect.Class
}

func TestAttacks(t *testing.T)    { shown(t, attacks) }
func TestOrdinary(t *testing.T)   { shown(t, ordinary) }
func TestRecordings(t *testing.T) { shown(t, recordings) }
func TestNodes(t *testing.T)      { shown(t, nodes) }

// shown holds the verdict on each case, in each framing, against what may be said of it.
func shown(t *testing.T, cases []scripted) {
	for n, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tape := newTape(uint64(n + 1))
			c.script(tape)
			for _, f := range framings {
				r := analyze(t, tape.files(f)...)
				innocent(t, f.name, r, "")
				if got := r.Verdict.Class; !got.Node() && got != detect.None && !slices.Contains(c.may, got) {
					t.Errorf("%s: the verdict is %s, may be none%v: %s\n%s", f.name, got, c.may, r.Verdict.Sentence, findings(r))
				}
			}
		})
	}
}

// TestLosses is the control of the other tests: the same tapes, with the fault in them.
func TestLosses(t *testing.T) {
	for _, c := range []struct {
		name   string
		script func(*tape)
		want   detect.Class
	}{
		{"other ports, answered by RST", lost, detect.ConntrackLoss},
		{"packets with the pods' addresses, SYN among them", leaked, detect.NATRulesLoss},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tape := newTape(1)
			c.script(tape)
			for _, f := range framings {
				if r := analyze(t, tape.files(f)...); r.Verdict.Class != c.want {
					t.Errorf("%s: the verdict is %q, must be %s: %s\n%s", f.name, r.Verdict.Class, c.want, r.Verdict.Sentence, findings(r))
				}
			}
		})
	}
}

// lost: the node's state is lost, and its clients go on from other ports.
func lost(t *tape) {
	for n, k := range t.pool(8*time.Second, nil) {
		at := 8500*time.Millisecond + time.Duration(n)*60*time.Millisecond
		k.client.addr = netip.AddrPortFrom(node, t.port())
		k.send(at, true, ack|psh, 200)
		k.write(at+k.rtt, false, rst, k.server.next, 0, 0)
		next := t.talk(node, k.server.addr)
		next.until(next.open(at+10*time.Millisecond), length, 150*time.Millisecond)
	}
}

// leaked: for three seconds nothing is translated, and nobody answers.
func leaked(t *tape) {
	for n, k := range t.pool(8*time.Second, t.translated("eth0", "cali0")) {
		outside := k.hops[1].client
		k.hops[1].client = netip.AddrPort{}
		k.client.addr = k.hops[0].client
		at := 8500*time.Millisecond + time.Duration(n)*20*time.Millisecond
		for _, wait := range []time.Duration{0, 200, 400, 800} {
			at += wait * time.Millisecond
			k.write(at, true, ack|psh, k.client.next, k.server.next, 200)
		}
		if n < 6 {
			fresh := t.talk(k.client.addr.Addr(), k.server.addr)
			fresh.hops = []hop{k.hops[0], {link: "eth0", loss: 1}}
			fresh.client.ttl = 64
			for _, wait := range []time.Duration{0, 1000, 2000} {
				fresh.write(9*time.Second+wait*time.Millisecond, true, syn, fresh.client.next, 0, 0)
			}
		}
		k.hops[1].client = outside
		k.until(12*time.Second, length, 150*time.Millisecond)
	}
}

// analyze is the report on captures. A capture of days is read like any other.
func analyze(t *testing.T, captures ...[]byte) *evidence.Report {
	t.Helper()
	var o evidence.Options
	for n, c := range captures {
		o.Sources = append(o.Sources, input.Source{Name: fmt.Sprintf("%d.pcapng", n), In: bytes.NewReader(c), Size: int64(len(c))})
	}
	o.Problem = func(p input.Problem) { t.Errorf("the capture could not be read: %v", p) }
	r, err := evidence.Analyze(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Coverage.Stats.Packets == 0 {
		t.Fatal("no packet was looked at")
	}
	return r
}

// innocent fails if a fault of the node is said or found, but for the one that there is.
func innocent(t *testing.T, what string, r *evidence.Report, but detect.Class) {
	t.Helper()
	if c := r.Verdict.Class; c.Node() && c != but {
		t.Errorf("%s: the node is blamed: %s: %s\n%s", what, c, r.Verdict.Sentence, findings(r))
		return
	}
	for _, f := range r.Findings {
		if f.Class.Node() && f.Class != but {
			t.Errorf("%s: a fault of the node is found: %s\n%s", what, f.Class, findings(r))
			return
		}
	}
}

// findings is what was found, a line each.
func findings(r *evidence.Report) string {
	var b bytes.Buffer
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "    %s by %s, %d flows, %.2f: %s\n", f.Class, f.Rule, f.Count, f.Confidence, f.Text)
		for _, c := range f.Citations[:min(3, len(f.Citations))] {
			fmt.Fprintf(&b, "        %s frame %d at %+.3f s: %s\n", c.File, c.Frame, float64(c.TimeNS-began)/1e9, c.What)
		}
	}
	return b.String()
}

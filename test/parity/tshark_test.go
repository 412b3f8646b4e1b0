package parity

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/ringside/ringside/detect/sequence"
)

// compared is every flag that tshark has as well, by its field.
var compared = []struct {
	flag  sequence.Flags
	field string
	due   bool // precision and recall must be at least 0.99
}{
	{sequence.Retransmission, "tcp.analysis.retransmission", true},
	{sequence.FastRetransmission, "tcp.analysis.fast_retransmission", true},
	{sequence.OutOfOrder, "tcp.analysis.out_of_order", true},
	{sequence.ZeroWindow, "tcp.analysis.zero_window", true},
	{sequence.Reset, "tcp.flags.reset", true},
	{sequence.Spurious, "tcp.analysis.spurious_retransmission", false},
	{sequence.LostSegment, "tcp.analysis.lost_segment", false},
	{sequence.AckedUnseen, "tcp.analysis.ack_lost_segment", false},
	{sequence.DuplicateAck, "tcp.analysis.duplicate_ack", false},
	{sequence.ZeroWindowProbe, "tcp.analysis.zero_window_probe", false},
	{sequence.ZeroWindowProbeAck, "tcp.analysis.zero_window_probe_ack", false},
	{sequence.WindowFull, "tcp.analysis.window_full", false},
	{sequence.WindowUpdate, "tcp.analysis.window_update", false},
	{sequence.KeepAlive, "tcp.analysis.keep_alive", false},
	{sequence.KeepAliveAck, "tcp.analysis.keep_alive_ack", false},
	{sequence.PortReused, "tcp.analysis.reused_ports", false},
}

// theirs is what tshark says of every frame, in the order of compared.
func (v *view) theirs(t *testing.T) []sequence.Flags {
	t.Helper()
	args := []string{"-n", "-r", v.write(t), "-T", "fields", "-E", "occurrence=f", "-E", "separator=,", "-e", "frame.number"}
	for _, c := range compared {
		args = append(args, "-e", c.field)
	}
	out, err := exec.Command("tshark", args...).Output()
	if err != nil {
		t.Fatalf("tshark on %s: %v (apt-get install tshark)", v.name, err)
	}
	all := make([]sequence.Flags, 0, len(v.frames))
	for line := range strings.Lines(string(out)) {
		values := strings.Split(strings.TrimSuffix(line, "\n"), ",")
		if len(values) != 1+len(compared) {
			t.Fatalf("tshark on %s shows %q", v.name, line)
		}
		var f sequence.Flags
		for i, c := range compared {
			if value := values[1+i]; value != "" && value != "0" {
				f |= c.flag
			}
		}
		all = append(all, f)
	}
	if len(all) != len(v.frames) {
		t.Fatalf("tshark reads %d frames of %s, want %d", len(all), v.name, len(v.frames))
	}
	return all
}

// score is how often a flag was given: by both, by Ringside alone, by tshark alone.
type score struct{ both, ours, theirs int }

// scores are by the position in compared.
type scores []score

// compare adds what a view has to the scores, and reports the first differences of those that are due.
func (s scores) compare(t *testing.T, v *view) {
	t.Helper()
	ours, theirs := v.ours(), v.theirs(t)
	for i, o := range ours {
		if !o.tcp {
			continue
		}
		for k, c := range compared {
			switch mine, other := o.flags&c.flag != 0, theirs[i]&c.flag != 0; {
			case mine && other:
				s[k].both++
			case mine:
				s[k].ours++
				t.Logf("%s frame %d: %s is Ringside's alone; Ringside: %v, tshark: %v", v.name, i+1, c.field, o.flags, theirs[i])
			case other:
				s[k].theirs++
				t.Logf("%s frame %d: %s is tshark's alone; Ringside: %v, tshark: %v", v.name, i+1, c.field, o.flags, theirs[i])
			}
		}
	}
}

// table is the scores as people read them.
func (s scores) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-38s %8s %8s %8s %9s %9s\n", "", "both", "Ringside", "tshark", "precision", "recall")
	for k, c := range compared {
		fmt.Fprintf(&b, "%-38s %8d %8d %8d %9.4f %9.4f\n", c.field, s[k].both, s[k].ours, s[k].theirs,
			share(s[k].both, s[k].ours), share(s[k].both, s[k].theirs))
	}
	return b.String()
}

func share(both, alone int) float64 {
	if both+alone == 0 {
		return 1
	}
	return float64(both) / float64(both+alone)
}

// judge fails the test if a flag that is due is not right. Those that are named must have been seen often enough to say.
func (s scores) judge(t *testing.T, seen ...string) {
	t.Helper()
	t.Log("\n" + s.table())
	for k, c := range compared {
		if n := s[k].both + s[k].theirs; slices.Contains(seen, c.field) && n < least {
			t.Errorf("%s: tshark says it of %d segments, want at least %d to compare", c.field, n, least)
		}
		if p, r := share(s[k].both, s[k].ours), share(s[k].both, s[k].theirs); c.due && (p < 0.99 || r < 0.99) {
			t.Errorf("%s: precision %.4f, recall %.4f, want 0.99", c.field, p, r)
		}
	}
}

// least is how many segments make a share of them worth something.
const least = 10

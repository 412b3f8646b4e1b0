package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/hoststate"
)

// keepTimeline makes a spool whose timeline has a few events of the night of recorded.
func keepTimeline(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	tl, err := hoststate.Open(hoststate.Config{Dir: filepath.Join(dir, timelineDir)}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	at := func(s int) time.Time { return recorded.Add(time.Duration(s) * time.Second) }
	for _, e := range []hoststate.Event{
		{Time: at(0), Kind: "counters", Source: "counters", Text: "tcp: RetransSegs +4"},
		{Time: at(1), Kind: "unit.restart", Source: "units", Subject: "systemd-networkd.service", Text: "systemd-networkd.service was restarted"},
		{Time: at(2), Kind: "address.remove", Source: "network", Subject: "ens5", Text: "address 10.0.3.17/20 was removed", By: &hoststate.Process{PortID: 812, PID: 812, Name: "systemd-network"}},
		{Time: at(2), Kind: "conntrack.burst", Source: "conntrack", Subject: "kernel", Text: "41 connections lost their entries", By: &hoststate.Process{}},
		{Time: at(3), Kind: "observation", Source: "http", Subject: "orders-db", Text: "time-out\x1b[2J of 5 s"},
	} {
		tl.Emit(e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tl.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTimelineCommand(t *testing.T) {
	dir := keepTimeline(t)
	night := []string{"--from", recorded.Format(time.RFC3339), "--to", recorded.Add(time.Minute).Format(time.RFC3339)}
	rows := []string{
		"2026-11-22T19:00:01.000000Z  unit.restart      systemd-networkd.service  systemd-networkd.service was restarted\n",
		"2026-11-22T19:00:02.000000Z  address.remove    ens5            address 10.0.3.17/20 was removed (by systemd-network (pid 812))\n",
		"2026-11-22T19:00:02.000000Z  conntrack.burst   kernel          41 connections lost their entries (by the kernel)\n",
		`2026-11-22T19:00:03.000000Z  observation       orders-db       time-out\x1b[2J of 5 s` + "\n",
	}
	hidden := "not shown: 1 of what comes all the time (add --all)\n"
	for _, test := range []struct {
		name   string
		args   []string
		code   int
		out    string
		errOut string
	}{
		{"the night", night, 0, strings.Join(rows, ""), hidden},
		{"a kind", append(night, "--kind", "unit.*", "--kind", "observation"), 0, rows[0] + rows[3], ""},
		{"a source", append(night, "--source", "network"), 0, rows[1], ""},
		{"a subject", append(night, "--subject", "ens*"), 0, rows[1], ""},
		{"a part", append(night[:2:2], "--to", recorded.Add(2*time.Second).Format(time.RFC3339)), 0, rows[0], hidden},
		{"noise by name", append(night, "--kind", "counters"), 0, "2026-11-22T19:00:00.000000Z  counters                          tcp: RetransSegs +4\n", ""},
		{"nothing", []string{"--from", "2020-01-01T00:00:00Z", "--to", "2020-01-02T00:00:00Z"}, 3, "", "ringside: no events: try an earlier --from, and see in /readyz?verbose which watchers run\n"},
		{"no such kind", []string{"--kind", "unit.explode"}, 2, "", "ringside: --kind unit.explode: there is no such kind; there are conntrack.counts, "},
		{"no such time", []string{"--from", "yesterday"}, 2, "", "ringside: --from: "},
		{"following a file", []string{"-f", "x"}, 2, "", "ringside: -f follows the timeline of a node: leave FILE out\n"},
		{"no timeline", []string{"--dir", t.TempDir()}, 1, "", "has no timeline: is it the spool's directory (rotate.dir), and has the recorder run?\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, errOut := runCommand(append([]string{"timeline", "--dir", dir}, test.args...)...)
			if code != test.code || out != test.out || !strings.Contains(errOut, test.errOut) || test.errOut == "" && errOut != "" {
				t.Errorf("exit code %d\n%s%s\nwant %d\n%s%s", code, out, errOut, test.code, test.out, test.errOut)
			}
		})
	}
	code, out, errOut := runCommand(append([]string{"timeline", "--dir", dir, "--json"}, night...)...)
	var kinds []string
	for in := json.NewDecoder(strings.NewReader(out)); ; {
		var e hoststate.Event
		if in.Decode(&e) != nil {
			break
		}
		kinds = append(kinds, e.Kind)
	}
	if want := []string{"counters", "unit.restart", "address.remove", "conntrack.burst", "observation"}; code != 0 || errOut != "" || !slices.Equal(kinds, want) {
		t.Errorf("exit code %d, kinds %q, %s", code, kinds, errOut)
	}
	file := filepath.Join(t.TempDir(), "timeline.jsonl")
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	hostile := filepath.Join(t.TempDir(), "hostile.jsonl")
	if err := os.WriteFile(hostile, []byte(`{"seq":1,"time":"2026-11-22T19:00:00Z","kind":"\u001b[2J","text":"x"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, shown, errOut := runCommand("timeline", hostile); code != 0 || strings.ContainsRune(shown, '\x1b') || errOut != "" {
		t.Errorf("of a hostile file: exit code %d\n%q%s", code, shown, errOut)
	}
	if code, again, errOut := runCommand("timeline", file, "--all"); code != 0 || strings.Count(again, "\n") != 5 || errOut != "" {
		t.Errorf("of a file: exit code %d\n%s%s", code, again, errOut)
	}
}

// TestTimelineFollow goes on until it is interrupted.
func TestTimelineFollow(t *testing.T) {
	dir := keepTimeline(t)
	out := &lineBuffer{lines: make(chan string, 10)}
	var f timelineFlags
	f.dir, f.follow, f.from = dir, true, recorded.Format(time.RFC3339)
	f.kinds = []string{"observation"}
	cmd := newTimelineCmd()
	cmd.SetOut(out)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.run(ctx, cmd, nil) }()
	if line := <-out.lines; !strings.Contains(line, "time-out") {
		t.Errorf("it begins with %q", line)
	}
	tl, err := hoststate.Open(hoststate.Config{Dir: filepath.Join(dir, timelineDir)}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	tl.Emit(hoststate.Event{Kind: "observation", Text: "another"})
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := tl.Run(stopped); err != nil {
		t.Fatal(err)
	}
	if line := <-out.lines; !strings.Contains(line, "another") {
		t.Errorf("it goes on with %q", line)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// lineBuffer hands on what is written.
type lineBuffer struct{ lines chan string }

func (b *lineBuffer) Write(p []byte) (int, error) {
	b.lines <- string(bytes.Clone(p))
	return len(p), nil
}

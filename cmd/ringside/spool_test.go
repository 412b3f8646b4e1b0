package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/rotate"
)

var recorded = time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)

// recordSpool makes a spool of two segments: ten packets of eth0 with drops, and, after a restart, five.
func recordSpool(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for run, packets := range []int{10, 5} {
		s, err := rotate.Open(rotate.Config{Dir: dir, Keep: rotate.Keep{Age: 1e6 * time.Hour, Free: 0.0001}}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		table := &pcapng.Table{}
		table.Add(pcapng.Interface{Name: "eth0", Index: 2, Description: "uplink"})
		c, err := s.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		from := recorded.Add(time.Duration(run) * time.Minute).UnixNano()
		c.Reset(table, "eth0", from)
		for n := range packets {
			c.Packet(0, from+int64(n), 60, pcapng.Inbound, nil, make([]byte, 60))
		}
		if run == 0 {
			c.Note(pcapng.Note{Kind: pcapng.NoteDropped, Ring: "eth0", From: from, To: from + 1e9, Packets: 33})
			c.Summary.Dropped = 33
		}
		c.Summary.To = from + 1e9
		s.Put(c)
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // what is queued is written before Run returns
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// ringside runs a command line and returns its exit code and what it prints.
func runCommand(args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = execute(args, &o, &e)
	return code, o.String(), e.String()
}

func TestSpoolLs(t *testing.T) {
	dir := recordSpool(t)
	code, out, _ := runCommand("spool", "ls", "--dir", dir)
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	var lines []string
	for line := range strings.Lines(out) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"SEQUENCE FIRST LAST PACKETS BYTES DROPPED STATE",
		"1 2026-11-22T19:00:00.000Z 2026-11-22T19:00:01.000Z 10 8.0 KiB 33 sealed",
		"2 2026-11-22T19:01:00.000Z 2026-11-22T19:01:01.000Z 5 8.0 KiB 0 sealed",
		"total: 2 15 16.0 KiB 33",
		"",
		"NOTE FROM TO WHERE PACKETS WHAT",
		"dropped 2026-11-22T19:00:00.000Z 2026-11-22T19:00:01.000Z eth0 33",
		"gap 2026-11-22T19:00:01.000Z 2026-11-22T19:01:00.000Z the recorder was not running",
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("it prints\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	var list spoolList
	if _, out, _ = runCommand("spool", "ls", "--json", "--dir", dir); json.Unmarshal([]byte(out), &list) != nil ||
		len(list.Segments) != 2 || len(list.Notes) != 2 || list.Segments[0].Packets != 10 {
		t.Errorf("in JSON it prints %s", out)
	}
}

func TestSpoolDump(t *testing.T) {
	dir := recordSpool(t)
	tests := []struct {
		name   string
		args   []string
		has    []string
		hasNot []string
	}{
		{"all", nil, []string{"00000001-", "00000002-", "uplink", "eth0"}, nil},
		{"by sequence", []string{"2"}, []string{"00000002-", "gap"}, []string{"00000001-"}},
		{"by time", []string{"--from", "2026-11-22T19:00:30Z"}, []string{"00000002-"}, []string{"00000001-"}},
		{"before a time", []string{"--to", "2026-11-22T19:00:30Z"}, []string{"00000001-"}, []string{"00000002-"}},
		{"blocks", []string{"1", "--blocks"}, []string{"section", "interface  eth0", "interface 0, 60 of 60 bytes", "statistics", "10 packets, 33 dropped", "end of a meta page"}, nil},
		{"JSON", []string{"1", "--json"}, []string{`"kind": "dropped"`, `"offset": 4096`}, nil},
		{"blocks in JSON", []string{"1", "--blocks", "--json"}, []string{`"kind":"packet"`, `"captured":60`}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, out, errOut := runCommand(append([]string{"spool", "dump", "--dir", dir}, test.args...)...)
			if code != 0 {
				t.Fatalf("exit code %d: %s", code, errOut)
			}
			for _, s := range test.has {
				if !strings.Contains(out, s) {
					t.Errorf("%q is not in\n%s", s, out)
				}
			}
			for _, s := range test.hasNot {
				if strings.Contains(out, s) {
					t.Errorf("%q is in\n%s", s, out)
				}
			}
		})
	}
}

func TestSpoolErrors(t *testing.T) {
	dir := recordSpool(t)
	torn := t.TempDir()
	segments, err := filepath.Glob(filepath.Join(dir, "00000001-*.pcapng"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	b, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(torn, filepath.Base(segments[0])), b[:5000], 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no spool", []string{"ls", "--dir", filepath.Join(dir, "nowhere")}, exitFailed, "name its directory with --dir"},
		{"no segment", []string{"dump", "9", "--dir", dir}, exitFailed, "`ringside spool ls` lists them"},
		{"nothing covered", []string{"dump", "--from", "2020-01-01T00:00:00Z", "--to", "2020-01-02T00:00:00Z", "--dir", dir}, exitUnknown, "no segment reaches"},
		{"no time", []string{"dump", "--from", "yesterday", "--dir", dir}, exitUsage, "--from"},
		{"torn block by block", []string{"dump", "1", "--blocks", "--dir", torn}, exitFailed, "no whole block"},
		{"unknown flag", []string{"ls", "--nope"}, exitUsage, "nope"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, _, errOut := runCommand(append([]string{"spool"}, test.args...)...)
			if code != test.code || !strings.Contains(errOut, test.want) {
				t.Errorf("exit code %d, %q; want %d and %q", code, errOut, test.code, test.want)
			}
		})
	}
}

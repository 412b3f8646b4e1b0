package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"

	"github.com/ringside/ringside/upload"
)

// tree lists all files below dir.
func tree(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			list = append(list, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// interfacesOf reads a pcapng and returns how many packets each interface has, and whether they are in order.
func interfacesOf(t *testing.T, b []byte) (counts map[string]int, ordered bool) {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	counts, ordered = map[string]int{}, true
	var last time.Time
	for {
		_, info, err := r.ReadPacketData()
		if err == io.EOF {
			return counts, ordered
		}
		if err != nil {
			t.Fatal(err)
		}
		i, err := r.Interface(info.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		counts[i.Name]++
		ordered = ordered && !info.Timestamp.Before(last)
		last = info.Timestamp
	}
}

func TestIncidentsGet(t *testing.T) {
	s := newTestStore(t)
	n1, n2 := captureOf(100), captureOf(40)
	s.add(t, placeAt(0, "n1"), n1, lossy)
	s.add(t, placeAt(0, "n2"), n2)
	id := idAt(0)
	all := []string{id + "/n1/capture.pcapng", id + "/n1/manifest.json", id + "/n2/capture.pcapng", id + "/n2/manifest.json"}
	plus := func(names ...string) []string {
		list := append(slices.Clone(all), names...)
		slices.Sort(list)
		return list
	}
	two := map[string]int{"n1/eth0": 100, "n2/eth0": 40}
	tests := []struct {
		name  string
		args  []string // OUT is replaced
		files []string // below OUT
		file  string   // the one that is looked at, "-" for standard output
		want  map[string]int
		order bool // in time
	}{
		{"into a directory", []string{"-o", "OUT"}, all, all[0], map[string]int{"eth0": 100}, false},
		{"into a new directory", []string{"-o", "OUT/a/"}, []string{"a/" + all[0], "a/" + all[1], "a/" + all[2], "a/" + all[3]}, "a/" + all[2], map[string]int{"eth0": 40}, false},
		{"one node", []string{"-o", "OUT", "--node", "n2"}, all[2:], all[2], map[string]int{"eth0": 40}, false},
		{"annotated", []string{"-o", "OUT", "--annotated"}, plus(id+"/n1/capture.annotated.pcapng", id+"/n2/capture.annotated.pcapng"), id + "/n1/capture.annotated.pcapng", map[string]int{"eth0": 100}, true},
		{"merged", []string{"-o", "OUT", "--merge"}, plus(id + "/merged.pcapng"), id + "/merged.pcapng", two, true},
		{"merged and annotated", []string{"-o", "OUT", "--merge", "--annotated"}, plus(id + "/merged.annotated.pcapng"), id + "/merged.annotated.pcapng", two, true},
		{"raw", []string{"-o", "OUT", "--raw", "--node", "n1"}, []string{id + "/n1/capture-AAAA.pcapng", all[1]}, id + "/n1/capture-AAAA.pcapng", map[string]int{"eth0": 100}, false},
		{"file", []string{"-o", "OUT/x.pcapng", "--node", "n1"}, []string{"x.pcapng"}, "x.pcapng", map[string]int{"eth0": 100}, false},
		{"merged file", []string{"-o", "OUT/x.pcapng", "--merge"}, []string{"x.pcapng"}, "x.pcapng", two, true},
		{"standard output", []string{"-o", "-", "--node", "n1"}, nil, "-", map[string]int{"eth0": 100}, false},
		{"merged to standard output", []string{"-o", "-", "--merge"}, nil, "-", two, true},
		{"annotated to standard output", []string{"-o", "-", "--annotated", "--node", "n1"}, nil, "-", map[string]int{"eth0": 100}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir, temp := t.TempDir(), t.TempDir()
			t.Setenv("TMPDIR", temp)
			args := []string{"get", id}
			for _, a := range test.args {
				args = append(args, strings.Replace(a, "OUT", dir, 1))
			}
			code, out, errOut := s.run(args...)
			if code != 0 || errOut != "" {
				t.Fatalf("exit code %d: %s", code, errOut)
			}
			if got := tree(t, dir); !slices.Equal(got, test.files) {
				t.Errorf("files %q, want %q", got, test.files)
			}
			if left := tree(t, temp); len(left) > 0 {
				t.Errorf("left in the temporary directory: %v", left)
			}
			b := []byte(out)
			if test.file != "-" {
				var err error
				if b, err = os.ReadFile(filepath.Join(dir, test.file)); err != nil {
					t.Fatal(err)
				}
			}
			if counts, ordered := interfacesOf(t, b); fmt.Sprint(counts) != fmt.Sprint(test.want) || ordered != test.order {
				t.Errorf("packets %v, in order %v; want %v, %v", counts, ordered, test.want, test.order)
			}
			if !slices.Contains(test.args, "--merge") && !slices.Contains(test.args, "--annotated") && !bytes.Equal(b, n1) && !bytes.Equal(b, n2) {
				t.Error("the capture is not as it was stored")
			}
			for _, text := range []string{"nearest to trigger " + id, "missing before this (gap)", "the clock was set by -1.5s"} {
				want := slices.Contains(test.args, "--annotated")
				if got := bytes.Contains(b, []byte(text)); got != want {
					t.Errorf("comment %q: %v, want %v", text, got, want)
				}
			}
		})
	}
}

// What get prints is what is there; it can be run again, and in the working directory.
func TestIncidentsGetHere(t *testing.T) {
	s := newTestStore(t)
	s.add(t, placeAt(0, "n1"), captureOf(10))
	dir := t.TempDir()
	t.Chdir(dir)
	want := []string{idAt(0) + "/n1/manifest.json", idAt(0) + "/n1/capture.pcapng"}
	for range 2 {
		if code, out, errOut := s.run("get", idAt(0)); code != 0 || out != strings.Join(want, "\n")+"\n" {
			t.Errorf("exit code %d: %q %s", code, out, errOut)
		}
	}
	code, out, _ := s.run("get", idAt(0), "--json", "--format", "pcap")
	var r fetchReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || !slices.Equal(r.Files, append(want, idAt(0)+"/n1/capture.pcap")) {
		t.Errorf("exit code %d, %v: %s", code, err, out)
	}
	b, err := os.ReadFile(r.Files[2])
	if err != nil {
		t.Fatal(err)
	}
	p, err := pcapgo.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; err == nil; n++ {
		_, _, err = p.ReadPacketData()
	}
	if n-1 != 10 {
		t.Errorf("classic pcap with %d packets", n-1)
	}
	if info, err := os.Stat(r.Files[1]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("packets can be read by others: %v, %v", info.Mode(), err)
	}
}

// What is damaged is named, exit code 1, and all the rest is fetched.
func TestIncidentsGetDamaged(t *testing.T) {
	s := newTestStore(t)
	s.add(t, placeAt(0, "n1"), captureOf(100))
	s.add(t, placeAt(0, "n2"), captureOf(40))
	s.put(t, placeAt(0, "n3").Prefix()+upload.ManifestName, []byte("{"))
	bad := placeAt(0, "n1").Prefix() + "capture-AAAA.pcapng"
	s.put(t, bad, captureOf(99))
	id := idAt(0)
	named := func(errOut string) {
		t.Helper()
		for _, want := range []string{bad + " has ", "node=n3/", "no JSON of a manifest"} {
			if !strings.Contains(errOut, want) {
				t.Errorf("%q is not in %q", want, errOut)
			}
		}
	}
	dir := t.TempDir()
	code, out, errOut := s.run("get", id, "-o", dir, "--merge")
	named(errOut)
	want := []string{id + "/merged.pcapng", id + "/n1/capture-AAAA.pcapng.bad", id + "/n1/manifest.json", id + "/n2/capture.pcapng", id + "/n2/manifest.json"}
	if got := tree(t, dir); code != exitFailed || !slices.Equal(got, want) || strings.Contains(out, ".bad") {
		t.Errorf("exit code %d, files %q, printed %s", code, got, out)
	}
	code, out, errOut = s.run("get", id, "-o", "-", "--merge")
	named(errOut)
	if counts, _ := interfacesOf(t, []byte(out)); code != exitFailed || fmt.Sprint(counts) != "map[n2/eth0:40]" {
		t.Errorf("exit code %d, packets %v", code, counts)
	}
	if code, out, _ = s.run("get", id, "-o", "-", "--node", "n1"); code != exitFailed || out != "" {
		t.Errorf("a damaged one alone: exit code %d, %d bytes", code, len(out))
	}
	file := filepath.Join(dir, "x.pcapng")
	if code, _, _ = s.run("get", id, "-o", file, "--node", "n1"); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a damaged capture got the name of a good one")
	}
	s.add(t, placeAt(time.Hour, "n1"), captureOf(0), empty)
	if code, _, _ = s.run("get", idAt(time.Hour), "-o", dir); code != exitUnknown {
		t.Errorf("nothing recorded: exit code %d", code)
	}
	s.add(t, placeAt(2*time.Hour, "n1"), nil, func(m *upload.Manifest) { m.Objects = nil })
	if code, _, errOut = s.run("get", idAt(2*time.Hour), "-o", "-"); code != exitFailed || !strings.Contains(errOut, "has no capture") {
		t.Errorf("no capture: exit code %d, %s", code, errOut)
	}
	s.add(t, upload.Place{Cluster: "test", Incident: id, Node: "n2"}, captureOf(1))
	if code, _, errOut = s.run("get", id, "-o", dir); code != exitUsage || !strings.Contains(errOut, "add --cluster") {
		t.Errorf("the same node in two clusters: exit code %d, %s", code, errOut)
	}
}

// Through a pipe into tshark; and whoever closes the pipe leaves no packets behind in the temporary directory.
func TestIncidentsPipe(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("tshark is not installed")
	}
	s := newTestStore(t)
	s.add(t, placeAt(0, "n1"), captureOf(20000))
	t.Setenv("TMPDIR", t.TempDir())
	pipe := func(reader string) string {
		t.Helper()
		line := fmt.Sprintf("set -o pipefail; %s incidents get %s --store %s -o - | %s", testBinary, idAt(0), s.dir, reader)
		out, err := exec.Command("bash", "-c", line).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", reader, err, out)
		}
		if left := tree(t, os.Getenv("TMPDIR")); len(left) > 0 {
			t.Errorf("%s leaves %v", reader, left)
		}
		return string(out)
	}
	if out := pipe("tshark -n -r - -T fields -e frame.number 2>/dev/null | tail -n 1"); out != "20000\n" {
		t.Errorf("tshark reads %q", out)
	}
	if out := pipe("head -c 4 | od -An -tx1"); strings.TrimSpace(out) != "0a 0d 0d 0a" {
		t.Errorf("it begins with %q", out)
	}
}

// A signal ends it even while nobody reads, and leaves no packets behind either.
func TestIncidentsInterrupted(t *testing.T) {
	s := newTestStore(t)
	s.add(t, placeAt(0, "n1"), captureOf(20000)) // more than a pipe takes
	t.Setenv("TMPDIR", t.TempDir())
	for _, args := range [][]string{nil, {"--annotated"}, {"--merge"}} {
		cmd := exec.Command(testBinary, append([]string{"incidents", "get", idAt(0), "--store", s.dir, "-o", "-"}, args...)...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		err = cmd.Wait()
		if left := tree(t, os.Getenv("TMPDIR")); err == nil || len(left) > 0 {
			t.Errorf("%v: it ends with %v, and leaves %v", args, err, left)
		}
	}
}

func TestIncidentsOpen(t *testing.T) {
	s := newTestStore(t)
	s.add(t, placeAt(0, "n1"), captureOf(10))
	s.add(t, placeAt(0, "n2"), captureOf(10))
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	t.Setenv("PATH", dir)
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	path := filepath.Join(dir, "ringside", idAt(0)+".pcapng")
	code, out, errOut := s.run("open", idAt(0))
	if code != 0 || out != path+"\n" || !strings.Contains(errOut, "tshark -r "+path) {
		t.Errorf("without a display: exit code %d, %q, %q", code, out, errOut)
	}
	t.Setenv("DISPLAY", ":0")
	if code, _, errOut = s.run("open", idAt(0)); code != 0 || !strings.Contains(errOut, "none of [wireshark xdg-open]") {
		t.Errorf("without a viewer: exit code %d, %q", code, errOut)
	}
	done := filepath.Join(dir, "done")
	if err := syscall.Mkfifo(done, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "wireshark"), []byte("#!/bin/sh\necho \"$1\" >"+done+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut = s.run("open", idAt(0)); code != 0 || errOut != "" {
		t.Errorf("exit code %d, %q", code, errOut)
	}
	shown, err := os.ReadFile(done) // waits for the viewer
	if err != nil || string(shown) != path+"\n" {
		t.Errorf("it shows %q, %v", shown, err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if counts, ordered := interfacesOf(t, b); fmt.Sprint(counts) != "map[n1/eth0:10 n2/eth0:10]" || !ordered {
		t.Errorf("packets %v, in order %v", counts, ordered)
	}
}

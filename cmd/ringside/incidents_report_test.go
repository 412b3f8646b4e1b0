package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/ringside/ringside/detect"
	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/upload"
)

// sharedCapture is a capture of detect/testdata, decompressed, as a recorder would have it: with our snapshot length.
func sharedCapture(t *testing.T, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("../../detect/testdata/captures", name+".pcapng.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	for rest := b; len(rest) > 0; rest = rest[le.Uint32(rest[4:]):] {
		if le.Uint32(rest) == pcapng.TypeInterface {
			le.PutUint32(rest[12:], pcapng.SnapLen)
		}
	}
	return b
}

// addReported stores a bundle with a capture and the report that the recorder makes of it.
func (s testStore) addReported(t *testing.T, p upload.Place, capture []byte) upload.Reported {
	t.Helper()
	var r upload.Reported
	s.add(t, p, capture, func(m *upload.Manifest) {
		m.Window.Coverage.Missing = nil
		var err error
		r, err = bundleReporter{}.Report(t.Context(), upload.Subject{
			Manifest: m, Capture: bytes.NewReader(capture), Events: func(func(hoststate.Event) error) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		m.Verdict = &r.Verdict
		for _, o := range []upload.ObjectFacts{
			{Name: "report-AAAA.json", Kind: upload.KindReport, Type: upload.TypeReport}, {Name: "report-AAAA.html", Kind: upload.KindPage, Type: upload.TypePage},
		} {
			data := r.JSON
			if o.Kind == upload.KindPage {
				data = r.Page
			}
			h := sha256.Sum256(data)
			o.Compression, o.Bytes, o.PlainBytes = upload.CompressionNone, int64(len(data)), int64(len(data))
			o.SHA256, o.PlainSHA256 = hex.EncodeToString(h[:]), hex.EncodeToString(h[:])
			m.Objects = append(m.Objects, o)
			s.put(t, p.Prefix()+o.Name, data)
		}
	})
	return r
}

// TestIncidentsVerdict shows what happened where people look first.
func TestIncidentsVerdict(t *testing.T) {
	s := newTestStore(t)
	r := s.addReported(t, placeAt(0, "n1"), sharedCapture(t, "a02-flush-masqrf-loose1"))
	s.add(t, placeAt(0, "n2"), captureOf(10), func(m *upload.Manifest) { m.ReportError = "a defect of Ringside: panic\x1b[2J" })
	s.add(t, placeAt(0, "n3"), captureOf(10))
	if r.Verdict.Class != string(detect.ConntrackLoss) {
		t.Fatalf("the verdict is %+v", r.Verdict)
	}
	_, out, _ := s.run("ls", "--server", "none")
	lines := strings.Split(out, "\n")
	for i, want := range []string{"VERDICT", "conntrack-loss", "failed", "-"} {
		if got := strings.Fields(lines[i])[3]; got != want {
			t.Errorf("ls has %q, want %q: %s", got, want, out)
		}
	}
	_, out, _ = s.run("show", idAt(0), "--node", "n1")
	impact := fmt.Sprintf("%d flows to %s, for ", r.Verdict.Impact.Flows, strings.Join(r.Verdict.Impact.Services, ", "))
	for _, want := range []string{"conntrack-loss, ", r.Verdict.Sentence, impact, "ringside incidents open " + idAt(0)} {
		if !strings.Contains(out, want) {
			t.Errorf("show lacks %q:\n%s", want, out)
		}
	}
	_, out, _ = s.run("show", idAt(0), "--node", "n2")
	if !strings.Contains(out, `none was made: a defect of Ringside: panic\x1b[2J`) || !strings.Contains(out, "ringside analyze") {
		t.Errorf("show of one without a report:\n%s", out)
	}
	if _, out, _ = s.run("show", idAt(0), "--node", "n3"); strings.Contains(out, "verdict") {
		t.Errorf("show of an older recorder's:\n%s", out)
	}
	if _, out, _ = s.run("ls", "--server", "none", "--json", "--node", "n1"); !strings.Contains(out, `"class": "conntrack-loss"`) {
		t.Errorf("ls --json: %s", out)
	}
	dir := t.TempDir()
	if code, _, errOut := s.run("get", idAt(0), "--node", "n1", "-o", dir); code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	want := []string{"capture.pcapng", "manifest.json", "report.html", "report.json"}
	if got := tree(t, filepath.Join(dir, idAt(0), "n1")); !slices.Equal(got, want) {
		t.Errorf("get fetches %q, want %q", got, want)
	}
}

// tshark lists fields of a capture's packets, a line each.
func tshark(t *testing.T, path string, args ...string) []string {
	t.Helper()
	cmd := exec.Command("tshark", append([]string{"-n", "-r", path, "-T", "fields"}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v", errors.Join(err, errors.New(string(err.(*exec.ExitError).Stderr))))
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// TestAnnotatedCitations has the comments of the report on exactly the packets that it cites, as tshark reads both files.
func TestAnnotatedCitations(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("tshark is not installed: .ci/tools does that")
	}
	s := newTestStore(t)
	s.addReported(t, placeAt(0, "n1"), sharedCapture(t, "a02-flush-masqrf-loose1"))
	dir := t.TempDir()
	if code, _, errOut := s.run("get", idAt(0), "-o", dir, "--annotated"); code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	dir = filepath.Join(dir, idAt(0), "n1")
	report, err := readReport(filepath.Join(dir, upload.ReportName))
	if err != nil {
		t.Fatal(err)
	}
	packet := []string{"-e", "frame.time_epoch", "-e", "frame.interface_name", "-e", "frame.len", "-e", "ip.id", "-e", "tcp.seq_raw", "-e", "tcp.ack_raw"}
	frames := tshark(t, filepath.Join(dir, upload.CaptureName), packet...)
	want, texts := map[string]bool{}, 0
	cite := func(list []detect.Citation) {
		for _, c := range list {
			want[frames[c.Frame-1]] = true
			texts++
			if !strings.Contains(frames[c.Frame-1], "\t"+c.Interface+"\t") {
				t.Errorf("frame %d is %q, and not of %s", c.Frame, frames[c.Frame-1], c.Interface)
			}
		}
	}
	for _, f := range report.Findings {
		cite(f.Citations)
		for _, flow := range f.Flows {
			cite(flow.Citations)
		}
	}
	got := map[string]bool{}
	for _, line := range tshark(t, filepath.Join(dir, "capture.annotated.pcapng"), append(slices.Clone(packet), "-e", "frame.comment")...) {
		cells := strings.Split(line, "\t")
		if comment := cells[len(cells)-1]; strings.Contains(comment, "(conntrack-loss, ") {
			got[strings.Join(cells[:len(cells)-1], "\t")] = true
		}
	}
	if len(want) < 3 || len(got) != len(want) {
		t.Errorf("%d packets have comments, the report cites %d", len(got), len(want))
	}
	for line := range want {
		if !got[line] {
			t.Errorf("no comment on %q", line)
		}
	}
}

// TestIncidentsOpenReport opens the page of every node that made one, and packets if they are asked for.
func TestIncidentsOpenReport(t *testing.T) {
	s := newTestStore(t)
	r := s.addReported(t, placeAt(0, "n1"), sharedCapture(t, "d15-baseline"))
	s.add(t, placeAt(0, "n2"), captureOf(10), func(m *upload.Manifest) { m.ReportError = "it took too long" })
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	t.Setenv("PATH", dir)
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	path := filepath.Join(dir, "ringside", idAt(0), "n1", "report.html")
	code, out, errOut := s.run("open", idAt(0))
	if code != 0 || out != path+"\n" || !strings.Contains(errOut, "open it with a browser") || !strings.Contains(errOut, "n2 has no report: it took too long") {
		t.Errorf("without a display: exit code %d, %q, %q", code, out, errOut)
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, r.Page) {
		t.Errorf("the page has %d bytes, %v", len(b), err)
	}
	if got, want := tree(t, filepath.Dir(path)), []string{"manifest.json", "report.html", "report.json"}; !slices.Equal(got, want) {
		t.Errorf("it fetches %q, want %q", got, want)
	}
	done := filepath.Join(dir, "done")
	if err := syscall.Mkfifo(done, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte("#!/bin/sh\necho \"$1\" >"+done+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DISPLAY", ":0")
	for _, test := range []struct{ args, want []string }{
		{[]string{"open", idAt(0), "--node", "n1"}, []string{path}},
		{[]string{"open", idAt(0), "--packets"}, []string{filepath.Join(dir, "ringside", idAt(0)+".pcapng")}},
		{[]string{"open", idAt(0), "--node", "n2"}, []string{filepath.Join(dir, "ringside", idAt(0)+".pcapng")}},
	} {
		if code, _, errOut = s.run(test.args...); code != 0 || errOut != "" {
			t.Fatalf("%q: exit code %d, %q", test.args, code, errOut)
		}
		for _, want := range test.want {
			if shown, err := os.ReadFile(done); err != nil || string(shown) != want+"\n" { // waits for the viewer
				t.Errorf("%q shows %q, %v; want %s", test.args, shown, err, want)
			}
		}
	}
}

// A report that is damaged, or hostile, is named, and does no harm.
func TestIncidentsHostileReport(t *testing.T) {
	s := newTestStore(t)
	s.add(t, placeAt(0, "n1"), captureOf(10), func(m *upload.Manifest) {
		data := []byte(`{"findings": [{"class": "x", "rule": "y", "citations": [` +
			`{"frame": 3, "time_ns": 1, "what": "not its time"}, {"frame": 18446744073709551615, "time_ns": -1, "what": "no frame"}, {"what": "nothing"}]}]}`)
		h := sha256.Sum256(data)
		sum := hex.EncodeToString(h[:])
		m.Objects = append(m.Objects, upload.ObjectFacts{Name: "report-A.json", Kind: upload.KindReport, Compression: upload.CompressionNone,
			Bytes: int64(len(data)), PlainBytes: int64(len(data)), SHA256: sum, PlainSHA256: sum})
		s.put(t, placeAt(0, "n1").Prefix()+"report-A.json", data)
		m.Window.Coverage.Missing = []rotate.Missing{}
	})
	code, out, errOut := s.run("get", idAt(0), "--annotated", "-o", "-")
	if code != 0 || strings.Contains(out, "not its time") || strings.Contains(out, "no frame") || !strings.Contains(out, "nearest to trigger") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
}

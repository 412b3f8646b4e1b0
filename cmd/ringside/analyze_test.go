package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringside/ringside/capture/filter"
	"github.com/ringside/ringside/evidence"
	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/upload"
)

// sharedCapture is one of the captures that detection is tested with.
func capturePath(name string) string {
	return filepath.Join("..", "..", "detect", "testdata", "captures", name+".pcapng.zst")
}

const lossCapture = "a02-flush-masqrf-loose1"

func TestAnalyze(t *testing.T) {
	loss, quiet := capturePath(lossCapture), capturePath("d15-baseline")
	var out, errOut bytes.Buffer
	run := func(args ...string) int {
		out.Reset()
		errOut.Reset()
		return execute(append([]string{"analyze"}, args...), &out, &errOut)
	}
	if code := run(loss); code != exitFailed {
		t.Errorf("a loss: exit code %d, want %d\n%s", code, exitFailed, &errOut)
	}
	for _, want := range []string{"verdict   conntrack-loss", "findings", "frame ", "ruled out", "services", "postgres", "looked at", "eth0  3314 packets"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("a loss: the text lacks %q:\n%s", want, &out)
		}
	}
	if code := run(quiet); code != 0 || errOut.Len() > 0 {
		t.Errorf("nothing: exit code %d, %s", code, &errOut)
	}
	page := filepath.Join(t.TempDir(), "report.html")
	if code := run("--json", "--html", page, loss); code != exitFailed {
		t.Errorf("--json: exit code %d, want %d", code, exitFailed)
	}
	var r evidence.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if r.Verdict.Class != "conntrack-loss" || len(r.Findings) == 0 || len(r.Findings[0].Citations) == 0 || r.Files[0].Packets != 6633 || r.Created.IsZero() {
		t.Errorf("--json: %+v", r)
	}
	for _, f := range r.Findings {
		for _, c := range f.Citations {
			if c.File != lossCapture+".pcapng.zst" || c.Frame == 0 || c.Frame > 6633 || c.Interface == "" {
				t.Errorf("%s cites %+v", f.Rule, c)
			}
		}
	}
	if text, err := os.ReadFile(page); err != nil || !bytes.Contains(text, []byte(r.Verdict.Sentence)) {
		t.Errorf("--html: the page lacks the sentence, %v", err)
	}
	if code := run("--at", "2026-11-22T17:38:00Z", "--around", "10s", loss); code != exitFailed {
		t.Errorf("--at the loss: exit code %d, want %d\n%s", code, exitFailed, &out)
	}
	if code := run("--at", "2026-11-22T17:38:10Z", "--around", "4s", loss); code != 0 {
		t.Errorf("--at a time after it: exit code %d\n%s", code, &out)
	}
	if code := run("--at", "2020-01-01T00:00:00Z", loss); code != exitUnknown || !strings.Contains(errOut.String(), "no packet is within 2m0s") {
		t.Errorf("--at another year: exit code %d, %s", code, &errOut)
	}
}

// TestAnalyzeRefuses names everything that is wrong, with exit code 2.
func TestAnalyzeRefuses(t *testing.T) {
	dir, notes := t.TempDir(), filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(notes, []byte("nothing to see"), 0o600); err != nil {
		t.Fatal(err)
	}
	loss := capturePath(lossCapture)
	for _, c := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"no capture is named"}},
		{[]string{"/none.pcap", notes, dir, loss}, []string{"/none.pcap: ", notes + ": is no capture", dir + ": has no manifest.json"}},
		{[]string{"--at", "noon", loss}, []string{"--at"}},
		{[]string{"--at", "now", "--around", "-1m", loss}, []string{"--around"}},
		{[]string{"--timeline", "/none.jsonl", loss}, []string{"/none.jsonl"}},
		{[]string{"--timeline", notes, loss}, []string{notes}},
		{[]string{"-c", "/none.yaml", loss}, []string{"/none.yaml"}},
	} {
		var out, errOut bytes.Buffer
		code := execute(append([]string{"analyze"}, c.args...), &out, &errOut)
		if code != exitUsage || out.Len() > 0 {
			t.Errorf("%q: exit code %d, want %d; printed %q", c.args, code, exitUsage, &out)
		}
		for _, want := range c.want {
			if !strings.Contains(errOut.String(), want) {
				t.Errorf("%q: the error lacks %q:\n%s", c.args, want, &errOut)
			}
		}
	}
}

// TestAnalyzeTorn uses what a cut file has, and says that there was more.
func TestAnalyzeTorn(t *testing.T) {
	whole, err := os.ReadFile(capturePath(lossCapture))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "torn")
	if err := os.WriteFile(path, whole[:len(whole)*3/4], 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	if code := execute([]string{"analyze", path}, &out, &errOut); code != exitFailed || !strings.Contains(errOut.String(), "torn: after ") {
		t.Errorf("exit code %d, want %d; %s", code, exitFailed, &errOut)
	}
}

// TestAnalyzeBundle takes a directory as a store has it, and as it is fetched, with its timeline.
func TestAnalyzeBundle(t *testing.T) {
	packets, err := os.ReadFile(capturePath(lossCapture))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 17, 37, 59, 564e6, time.UTC)
	events := fmt.Sprintf(`{"seq":1,"time":%q,"kind":"conntrack.burst","source":"conntrack","subject":"userspace","text":"13 flows lost their entries"}`+"\n", at.Format(time.RFC3339Nano))
	m := upload.Manifest{Version: 1, Incident: "20261122T173759Z-abc", Cluster: "c", Node: "n", Objects: []upload.ObjectFacts{
		{Name: "capture-1.pcapng.zst", Kind: upload.KindCapture}, {Name: "timeline-1.jsonl.zst", Kind: upload.KindTimeline},
		{Name: "../../outside.pcapng", Kind: "other"},
	}}
	manifest, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string]map[string][]byte{
		"stored":  {"capture-1.pcapng.zst": packets, "timeline-1.jsonl": []byte(events)},
		"fetched": {upload.CaptureName: packets, upload.TimelineName: []byte(events)},
	} {
		dir := t.TempDir()
		files[upload.ManifestName] = manifest
		for file, data := range files {
			if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var out, errOut bytes.Buffer
		code := execute([]string{"analyze", "--json", dir}, &out, &errOut)
		var r evidence.Report
		if err := json.Unmarshal(out.Bytes(), &r); err != nil || code != exitFailed {
			t.Fatalf("%s: exit code %d, %v\n%s", name, code, err, &errOut)
		}
		if r.Incident == nil || r.Incident.Node != "n" || r.Coverage.Timeline == nil || r.Coverage.Timeline.Events != 1 || !r.Coverage.Known || len(r.Events) != 1 {
			t.Errorf("%s: incident %+v, timeline %+v, events %+v", name, r.Incident, r.Coverage.Timeline, r.Events)
		}
	}
}

// TestAnalyzeBundleServices names servers as the recorder did, and so as its report, unless a configuration is named.
func TestAnalyzeBundleServices(t *testing.T) {
	prefix := netip.MustParsePrefix
	recorder := []filter.Service{
		{Name: "everything", Expression: "tcp"},
		{Name: "elsewhere", Protocol: "tcp", Ports: []filter.PortRange{{First: 5432, Last: 5432}}, CIDRs: []netip.Prefix{prefix("192.0.2.0/24"), prefix("2001:db8::/32")}},
		{Name: "orders-db", Protocol: "tcp", Ports: []filter.PortRange{{First: 5000, Last: 5499}, {First: 6432, Last: 6432}}},
		{Name: "sessions", CIDRs: []netip.Prefix{prefix("10.99.0.6/32")}},
	}
	d := &describer{}
	d.configure(recorder)
	packets, dir := sharedCapture(t, lossCapture), t.TempDir()
	manifest, err := json.Marshal(upload.Manifest{Objects: []upload.ObjectFacts{{Name: "capture-1.pcapng", Kind: upload.KindCapture}}, Recorder: upload.Recorder{Services: d.services}})
	if err != nil {
		t.Fatal(err)
	}
	for file, data := range map[string][]byte{upload.ManifestName: manifest, upload.CaptureName: packets} {
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	names := func(report []byte) (list []string) {
		var r evidence.Report
		if err := json.Unmarshal(report, &r); err != nil {
			t.Fatal(err)
		}
		for _, s := range r.Services {
			list = append(list, s.Name)
		}
		return list
	}
	bundle := subject(t, func(w io.Writer) error { _, err := w.Write(packets); return err })
	bundle.Manifest.Recorder.Services = d.services
	own, err := bundleReporter{}.Report(t.Context(), bundle)
	if err != nil {
		t.Fatal(err)
	}
	if got := names(own.JSON); !slices.Equal(got, []string{"orders-db", "sessions"}) {
		t.Errorf("its own report names %q", got)
	}
	config := writeConfig(t, `[{name: mine, ports: [5432]}]`)
	for _, test := range []struct{ args, want []string }{
		{nil, []string{"orders-db", "sessions"}},
		{[]string{"-c", config}, []string{"mine", "port 6379"}},
	} {
		var out, errOut bytes.Buffer
		if code := execute(append([]string{"analyze", "--json", dir}, test.args...), &out, &errOut); code != exitFailed {
			t.Fatalf("%q: exit code %d\n%s", test.args, code, &errOut)
		}
		if got := names(out.Bytes()); !slices.Equal(got, test.want) || slices.Contains(got, "postgres") {
			t.Errorf("%q: the services are %q, want %q", test.args, got, test.want)
		}
	}
}

// TestServiceOf reads back what match says, and nothing else.
func TestServiceOf(t *testing.T) {
	for _, s := range filter.Presets() {
		s.Protocol, s.Payload, s.CIDRs = "", 0, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		got, ok := serviceOf(upload.ServiceFact{Name: s.Name, Match: match(s)})
		if !ok || !reflect.DeepEqual(got, s) {
			t.Errorf("%q is read as %+v, %v", match(s), got, ok)
		}
	}
	for _, text := range []string{"", "tcp", "tcp ports ", "tcp ports 0", "tcp ports 70000", "tcp ports 2-1", "tcp ports 1,2", "tcp ports 1 of ", "tcp ports 1 of x", "tcp of 10.0.0.1/8", "filter port 1"} {
		if s, ok := serviceOf(upload.ServiceFact{Name: "x", Match: text}); ok {
			t.Errorf("%q is read as %+v", text, s)
		}
	}
	if s, ok := serviceOf(upload.ServiceFact{Name: "a\x1b[2J", Match: "tcp ports 1"}); ok {
		t.Errorf("read as %+v", s)
	}
}

// TestAnalyzeMemory reads two million packets of 10,000 conversations from a pipe: memory does not grow with them.
func TestAnalyzeMemory(t *testing.T) {
	const packets, most = 2_000_000, 300 << 10 // KiB
	cmd := exec.Command(testBinary, "analyze", "--json", "-")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := writeConversations(in, packets, 10_000); err != nil {
		t.Error(err)
	}
	in.Close()
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, &errOut)
	}
	var r evidence.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	used := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	spent := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	t.Logf("%d packets, %d conversations: %d MiB at most, %.2f million packets a second of processor time",
		r.Files[0].Packets, r.Coverage.Stats.Conversations, used>>10, packets/spent.Seconds()/1e6)
	if r.Files[0].Packets != packets || r.Coverage.Stats.TCP != packets {
		t.Errorf("%d packets, %d of TCP, want %d", r.Files[0].Packets, r.Coverage.Stats.TCP, packets)
	}
	if used > most {
		t.Errorf("%d KiB of memory, want at most %d", used, most)
	}
}

// writeConversations writes a capture of requests and answers on so many connections in turn, 20 µs apart.
func writeConversations(w io.Writer, packets, conversations int) error {
	b := pcapng.AppendInterface(pcapng.AppendSection(nil, "test", ""), pcapng.Interface{Name: "eth0"})
	frame := make([]byte, 66)
	binary.BigEndian.PutUint16(frame[12:], 0x0800)
	ip, tcp := frame[14:], frame[34:]
	ip[0], ip[8], ip[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(ip[2:], 152)
	tcp[12], tcp[13] = 8<<4, 0x18
	copy(tcp[20:], []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2})
	client, server := []byte{10, 0, 0, 1}, []byte{10, 99, 0, 5}
	one := make([]byte, 256)
	for n := range packets {
		conversation, turn := uint32(n/2%conversations), uint32(n/2/conversations)
		port, answer := uint16(10_000+conversation), uint32(n%2)
		binary.BigEndian.PutUint32(tcp[4:], 100*(turn+1)+1_000_000*answer)
		binary.BigEndian.PutUint32(tcp[8:], 100*(turn+1+answer)+1_000_000*(1-answer))
		copy(ip[12:], client)
		copy(ip[16:], server)
		binary.BigEndian.PutUint16(tcp, port)
		binary.BigEndian.PutUint16(tcp[2:], 5432)
		if answer == 1 {
			copy(ip[12:], server)
			copy(ip[16:], client)
			binary.BigEndian.PutUint16(tcp, 5432)
			binary.BigEndian.PutUint16(tcp[2:], port)
		}
		b = append(b, one[:pcapng.PutPacket(one, 0, 1_700_000_000e9+int64(n)*20_000, 166, 0, nil, frame)]...)
		if len(b) > 1<<20 || n == packets-1 {
			if _, err := w.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	return nil
}

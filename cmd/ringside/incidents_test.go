package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	goflag "flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/hoststate"
	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/rotate"
	"github.com/ringside/ringside/trigger"
	"github.com/ringside/ringside/upload"
)

var update = goflag.Bool("update", false, "write the golden files anew")

// golden holds text against a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: it prints\n%s\nwant\n%s", path, got, want)
	}
}

// testStore is a directory store that a test fills.
type testStore struct {
	dir string
	upload.Store
}

func newTestStore(t *testing.T) testStore {
	t.Helper()
	dir := t.TempDir()
	s, err := upload.OpenStore(t.Context(), upload.Config{To: "file://" + dir, MaxBytes: 1 << 30}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return testStore{dir, s}
}

// run runs `incidents` on the store.
func (s testStore) run(args ...string) (code int, out, errOut string) {
	return runCommand(append([]string{"incidents", "--store", s.dir}, args...)...)
}

func (s testStore) put(t *testing.T, key string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, bytes.NewReader(data), upload.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

func idAt(d time.Duration) string {
	return recorded.Add(d).Format("20060102T150405.000000Z") + "-0a1b2c3d"
}

func placeAt(d time.Duration, node string) upload.Place {
	return upload.Place{Cluster: "prod", Incident: idAt(d), Node: node}
}

// captureOf is a capture with n packets of eth0, one a millisecond from recorded on, the later half first: rings do not
// come in order.
func captureOf(n int) []byte {
	b := pcapng.AppendInterface(pcapng.AppendSection(nil, "ringside", ""), pcapng.Interface{Name: "eth0"})
	for i := range n {
		p := make([]byte, pcapng.PacketSize(60))
		at := recorded.Add(time.Duration((i+n/2)%n) * time.Millisecond)
		pcapng.PutPacket(p, 0, at.UnixNano(), 60, pcapng.Inbound, nil, bytes.Repeat([]byte{byte(i)}, 60))
		b = append(b, p...)
	}
	return b
}

// add stores a complete bundle with a capture.
func (s testStore) add(t *testing.T, p upload.Place, capture []byte, change ...func(*upload.Manifest)) *upload.Manifest {
	t.Helper()
	begun, _ := trigger.IDTime(p.Incident)
	window := rotate.Span{From: begun.Add(-2 * time.Minute), To: begun.Add(time.Minute)}
	h := sha256.Sum256(capture)
	m := &upload.Manifest{
		Version: upload.ManifestVersion, Incident: p.Incident, Cluster: p.Cluster, Node: p.Node, Created: begun.Add(90 * time.Second),
		Triggers: []trigger.Trigger{{ID: p.Incident, Reason: "slow", Source: trigger.SourceSocket, At: begun, Received: begun,
			Pre: trigger.Duration(2 * time.Minute), Post: trigger.Duration(time.Minute)}},
		Window: upload.Window{Asked: window, Complete: true, Coverage: rotate.Coverage{
			From: window.From, To: window.To, Packets: 100, Segments: 2, Interfaces: []string{"eth0"},
			Rings: []rotate.RingCoverage{{Ring: "eth0", Covered: []rotate.Span{window}}},
		}},
		Objects: []upload.ObjectFacts{{
			Name: "capture-AAAA.pcapng", Kind: upload.KindCapture, Type: "application/vnd.tcpdump.pcap", Compression: upload.CompressionNone,
			Bytes: int64(len(capture)), PlainBytes: int64(len(capture)), SHA256: hex.EncodeToString(h[:]), PlainSHA256: hex.EncodeToString(h[:]),
		}},
	}
	for _, f := range change {
		f(m)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Objects) > 0 {
		s.put(t, p.Prefix()+m.Objects[0].Name, capture)
	}
	s.put(t, p.Prefix()+upload.ManifestName, raw)
	return m
}

// lossy makes a bundle one with every kind of loss.
func lossy(m *upload.Manifest) {
	from := m.Window.Asked.From
	span := func(from0, to int) rotate.Span {
		return rotate.Span{From: from.Add(time.Duration(from0) * time.Second), To: from.Add(time.Duration(to) * time.Second)}
	}
	m.Window.Complete = false
	m.Window.Coverage.Missing = []rotate.Missing{
		{Span: span(0, 10), Ring: "eth0", Reason: rotate.MissingBefore},
		{Span: span(0, 12), Ring: "shared", Reason: rotate.MissingBefore},
		{Span: span(20, 32), Reason: rotate.MissingGap, Text: "the recorder was not running"},
		{Span: span(40, 41), Ring: "eth0", Reason: rotate.MissingDropped, Packets: 33},
		{Span: span(50, 51), Ring: "eth0", Reason: rotate.MissingDropped, Packets: 1},
		{Span: span(60, 61), Ring: "eth0", Reason: rotate.MissingUnwritten, Packets: 7, Text: "no space left on device"},
	}
	m.Window.Coverage.Notes = []pcapng.Note{{Kind: pcapng.NoteClock, To: from.Add(70 * time.Second).UnixNano(), Step: -1500e6}}
}

// empty makes a bundle one in whose window nothing was recorded.
func empty(m *upload.Manifest) {
	m.Window.Complete = false
	m.Window.Coverage.Packets, m.Window.Coverage.Rings = 0, nil
	m.Window.Coverage.Missing = []rotate.Missing{{Span: m.Window.Asked, Reason: rotate.MissingGap}}
}

// described makes a bundle one of a recorder that says all about itself, and of merged triggers with texts of others.
func described(m *upload.Manifest) {
	at := m.Triggers[0].At
	m.Triggers[0].Labels = map[string]string{"alert": "Slow\x1b[31m", "a": "1"}
	m.Triggers[0].Client = "uid 0, pid 4711"
	m.Triggers = append(m.Triggers, trigger.Trigger{ID: idAt(30 * time.Second), Reason: "oom", Source: trigger.SourceHTTP, At: at.Add(30 * time.Second),
		Pre: trigger.Duration(time.Minute), Post: trigger.Duration(time.Minute)})
	m.Extensions = []trigger.Extension{{Trigger: idAt(30 * time.Second), From: m.Window.Asked.From, To: m.Window.Asked.To.Add(30 * time.Second), Why: "a later trigger"}}
	m.Recorder = upload.Recorder{
		Version: "v1.0.0", Kernel: "Linux 6.1.0", Machine: "x86_64", Hostname: "ip-10-0-0-1", Started: at.Add(-time.Hour),
		Interfaces: []upload.InterfaceFact{{Name: "eth0", State: "recording"}, {Name: "veth1", State: "blind", Why: "XDP"}},
		BlindSpots: []string{"packets that never reach an interface"},
		Services:   []upload.ServiceFact{{Name: "postgres", Payload: "0"}, {Name: "dns", Payload: "512"}},
		Filter:     upload.FilterFact{SHA256: strings.Repeat("f", 64)},
		Clock:      upload.ClockFact{Source: "tsc", Synchronised: true, OffsetNS: 1234, ErrorNS: 5e6},
		Watchers: []hoststate.WatcherStatus{
			{Name: "conntrack", State: hoststate.StateOn, Blind: []string{"older entries tell nothing: set the sysctl"}},
			{Name: "network", State: hoststate.StateOn}, {Name: "units", State: hoststate.StateOff, Why: "no D-Bus\x1b: mount it"},
		},
	}
	m.Timeline = &hoststate.Summary{Events: 52, Gaps: []hoststate.Gap{{Span: rotate.Span{From: m.Window.Asked.From, To: at}, Why: "no recorder kept the timeline"}}}
	m.Previous = &upload.Previous{Incident: idAt(-time.Hour), SHA256: strings.Repeat("e", 64)}
}

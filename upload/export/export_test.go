package export

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/ringside/ringside/pcapng"
)

var night = time.Date(2026, 11, 22, 3, 0, 0, 123456789, time.UTC)

// sent is a packet of a test: when, on which interface, and how many bytes.
type sent struct {
	ms, id, size int
}

// capture writes packets as a window has them, and notes and statistics among them.
func capture(t *testing.T, interfaces []string, list ...sent) *os.File {
	t.Helper()
	b := pcapng.AppendSection(nil, "ringside", "of a test")
	for _, name := range interfaces {
		b = pcapng.AppendInterface(b, pcapng.Interface{Name: name, Description: "x"})
	}
	b = pcapng.AppendNote(b, pcapng.Note{Kind: pcapng.NoteGap, Text: "not for others"})
	for i, p := range list {
		block := make([]byte, pcapng.PacketSize(p.size))
		data := bytes.Repeat([]byte{byte(i)}, p.size)
		pcapng.PutPacket(block, uint32(p.id), night.UnixNano()+int64(p.ms)*1e6, uint32(p.size)+10, pcapng.Inbound, nil, data)
		b = append(b, block...)
	}
	for id := range interfaces {
		b = pcapng.AppendStatistics(b, uint32(id), night.UnixNano(), 100+uint64(id), uint64(id))
	}
	return file(t, b)
}

func file(t *testing.T, b []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "capture.pcapng")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func write(t *testing.T, o Options, sources ...Source) ([]byte, uint64) {
	t.Helper()
	var out bytes.Buffer
	n, err := Write(t.Context(), &out, sources, o)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), n
}

// read reads a pcapng by another implementation: time in ms, interface, captured and original length of each packet.
func read(t *testing.T, b []byte) (list []string) {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, info, err := r.ReadPacketData()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		i, err := r.Interface(info.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) != info.CaptureLength || info.Length != info.CaptureLength+10 {
			t.Errorf("lengths %d, %d and %d", len(data), info.CaptureLength, info.Length)
		}
		list = append(list, fmt.Sprintf("%s %s %d", ms(info.Timestamp), i.Name, len(data)))
	}
}

// readLengths counts the packets that another implementation reads.
func readLengths(t *testing.T, b []byte) (list []int) {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, _, err := r.ReadPacketData()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, len(data))
	}
}

func ms(at time.Time) string { return fmt.Sprint(at.Sub(night)) }

// Packets of three nodes, out of order within each, come out in the order of time, on interfaces that name their node.
func TestMerge(t *testing.T) {
	sources := []Source{
		{Node: "n1", File: capture(t, []string{"eth0", "veth1"}, sent{5, 0, 60}, sent{1, 1, 61}, sent{9, 0, 62})},
		{Node: "n2", File: capture(t, []string{"eth0"}, sent{2, 0, 63}, sent{2, 0, 64}, sent{-4, 0, 65})},
		{Node: "n3", File: capture(t, []string{"a", "b", "eth0"}, sent{2, 2, 66}, sent{0, 0, 67}, sent{100, 1, 70000})},
	}
	b, n := write(t, Options{Sorted: true, Comment: "three"}, sources...)
	want := []string{"-4ms n2/eth0 65", "0s n3/a 67", "1ms n1/veth1 61", "2ms n2/eth0 63", "2ms n2/eth0 64", "2ms n3/eth0 66",
		"5ms n1/eth0 60", "9ms n1/eth0 62", "100ms n3/b 70000"}
	if got := read(t, b); !slices.Equal(got, want) || n != 9 {
		t.Errorf("%d packets: %q\nwant %q", n, got, want)
	}
	statistics := map[uint32]uint64{}
	for w := pcapng.NewWalker(bytes.NewReader(b)); ; {
		blk, err := w.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if blk.Type == pcapng.TypeLocal {
			t.Error("a note came along")
		}
		if blk.Type == pcapng.TypeStatistics {
			statistics[binary.LittleEndian.Uint32(blk.Body)] = binary.LittleEndian.Uint64(blk.Body[16:])
		}
	}
	if fmt.Sprint(statistics) != fmt.Sprint(map[uint32]uint64{0: 100, 1: 101, 2: 100, 3: 100, 4: 101, 5: 102}) {
		t.Errorf("statistics: %v", statistics)
	}
}

// Without sorting, packets keep their order, and so their numbers.
func TestPcap(t *testing.T) {
	f := capture(t, []string{"eth0"}, sent{5, 0, 60}, sent{1, 0, 61}, sent{9, 0, 70000})
	b, n := write(t, Options{Pcap: true}, Source{File: f})
	r, err := pcapgo.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if r.LinkType() != layers.LinkTypeEthernet || r.Snaplen() != pcapng.SnapLen || n != 3 {
		t.Errorf("link type %v, snapshot length %d, %d packets", r.LinkType(), r.Snaplen(), n)
	}
	for i, want := range []struct {
		at   string
		size int
	}{{"5ms", 60}, {"1ms", 61}, {"9ms", 70000}} {
		data, info, err := r.ReadPacketData()
		if err != nil || ms(info.Timestamp) != want.at || len(data) != want.size || info.Length != want.size+10 || data[0] != byte(i) {
			t.Errorf("packet %d: %v of %d bytes, %d on the wire, %v; want %v", i, ms(info.Timestamp), len(data), info.Length, err, want)
		}
	}
	if _, _, err := r.ReadPacketData(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

// Marks find their packets, whatever the order; the bytes of all packets stay the same.
func TestMarks(t *testing.T) {
	at := func(ms int) time.Time { return night.Add(time.Duration(ms) * time.Millisecond) }
	list := []sent{{50, 0, 60}, {10, 1, 61}, {30, 0, 62}, {20, 1, 63}, {90, 0, 64}}
	tests := []struct {
		name string
		mark Mark
		want int // packet's place in the file, -1 for none
	}{
		{"nearest is before", Mark{At: at(33)}, 2},
		{"nearest is after", Mark{At: at(48)}, 0},
		{"the later one of two as near", Mark{At: at(40)}, 0},
		{"before all", Mark{At: at(-1000)}, 1},
		{"behind all", Mark{At: at(100000)}, 4},
		{"exactly", Mark{At: at(20)}, 3},
		{"first after", Mark{At: at(31), After: true}, 0},
		{"first after, exactly", Mark{At: at(30), After: true}, 2},
		{"first after all", Mark{At: at(91), After: true}, -1},
		{"first after, on an interface", Mark{At: at(11), After: true, Interface: "eth0"}, 2},
		{"nearest, on another", Mark{At: at(48), Interface: "veth1"}, 3},
		{"by number", Mark{At: at(30), Frame: 3}, 2},
		{"by number, the first", Mark{At: at(50), Frame: 1}, 0},
		{"by number, of another time", Mark{At: at(30), Frame: 2}, -1},
		{"by number, behind all", Mark{At: at(90), Frame: 6}, -1},
		{"a ring that is no interface", Mark{At: at(11), After: true, Interface: "shared"}, 3},
	}
	var marks []Mark
	for i, test := range tests {
		test.mark.Text = fmt.Sprintf("<%d>", i)
		marks = append(marks, test.mark)
	}
	for _, node := range []string{"", "n1"} {
		f := capture(t, []string{"eth0", "veth1"}, list...)
		b, _ := write(t, Options{Comment: "whole"}, Source{Node: node, File: f, Marks: marks})
		original, _ := write(t, Options{}, Source{Node: node, File: f})
		if got, want := read(t, b), read(t, original); !slices.Equal(got, want) || len(got) != len(list) {
			t.Errorf("packets %q, want %q", got, want)
		}
		var raw []string
		for w := pcapng.NewWalker(bytes.NewReader(b)); ; {
			blk, err := w.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if blk.Type == pcapng.TypePacket {
				raw = append(raw, string(blk.Raw))
			}
		}
		for i, test := range tests {
			got := slices.IndexFunc(raw, func(s string) bool { return strings.Contains(s, fmt.Sprintf("<%d>", i)) })
			if got != test.want {
				t.Errorf("%s: on packet %d, want %d", test.name, got, test.want)
			}
		}
	}
}

// A mark at each of a thousand moments costs no more than one, and no comment makes a block that cannot be read.
func TestManyMarks(t *testing.T) {
	var marks []Mark
	for i := range 1000 {
		marks = append(marks, Mark{At: night.Add(time.Duration(i)), Text: strings.Repeat("ü\xff", 5000)})
	}
	f := capture(t, []string{"eth0"}, sent{0, 0, 262000})
	b, _ := write(t, Options{}, Source{File: f, Marks: marks})
	if got := read(t, b); len(got) != 1 {
		t.Errorf("it has %v", got)
	}
}

func TestWriteErrors(t *testing.T) {
	good := capture(t, []string{"eth0"}, sent{0, 0, 60})
	whole, err := os.ReadFile(good.Name())
	if err != nil {
		t.Fatal(err)
	}
	foreign := append(slices.Clone(whole[:len(whole)-pcapng.StatisticsSize]), whole[len(whole)-pcapng.StatisticsSize:]...)
	binary.LittleEndian.PutUint32(foreign[bytes.Index(foreign, []byte{6, 0, 0, 0})+8:], 7)
	tests := []struct {
		name string
		file *os.File
		want string
	}{
		{"torn", file(t, whole[:len(whole)-7]), "no whole block"},
		{"no capture", file(t, []byte("hello, world, this is text")), "no whole block"},
		{"an interface that is not there", file(t, foreign), "interface 7 of 1"},
		{"another kind of interface", file(t, bytes.Replace(whole, []byte{1, 0, 0, 0, 0, 0, 4, 0}, []byte{113, 0, 0, 0, 0, 0, 4, 0}, 1)), "link type"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, sorted := range []bool{false, true} {
				_, err := Write(t.Context(), io.Discard, []Source{{File: good}, {File: test.file}}, Options{Sorted: sorted})
				if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.file.Name()) {
					t.Errorf("error %v, want %q", err, test.want)
				}
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Write(ctx, io.Discard, []Source{{File: good}}, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// The tools that people use read all three forms.
func TestToolsReadIt(t *testing.T) {
	for _, tool := range []string{"tshark", "tcpdump", "capinfos"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed")
		}
	}
	frame := udpFrame(t)
	var list []sent
	for i := range 1000 {
		list = append(list, sent{(i * 7919) % 1000, i % 2, len(frame)})
	}
	nodes := func(node string) Source {
		f := capture(t, []string{"eth0", "veth1"}, list...)
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for i := range list { // real packets, so that tools have nothing to complain about
			b = bytes.Replace(b, bytes.Repeat([]byte{byte(i)}, len(frame)), frame, 1)
		}
		return Source{Node: node, File: file(t, b), Marks: []Mark{{At: night.Add(500 * time.Millisecond), Text: "the trigger"}}}
	}
	for _, test := range []struct {
		name    string
		options Options
		sources []Source
		packets int
		comment int // packets with one, as tshark finds them
	}{
		{"annotated", Options{Comment: "about it"}, []Source{nodes("")}, 1000, 1},
		{"merged", Options{Sorted: true}, []Source{nodes("n1"), nodes("n2"), nodes("n3")}, 3000, 3},
		{"pcap", Options{Pcap: true}, []Source{nodes("")}, 1000, 0},
		{"merged pcap", Options{Pcap: true, Sorted: true}, []Source{nodes("n1"), nodes("n2")}, 2000, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, _ := write(t, test.options, test.sources...)
			path := file(t, b).Name()
			lines := func(name string, args ...string) []string {
				t.Helper()
				out, err := exec.Command(name, args...).Output()
				if err != nil {
					t.Fatalf("%s %v: %v", name, args, err)
				}
				return slices.Collect(strings.Lines(string(out)))
			}
			if n := len(lines("tshark", "-n", "-r", path)); n != test.packets {
				t.Errorf("tshark reads %d packets", n)
			}
			if n := len(lines("tshark", "-n", "-r", path, "-Y", `frame.comment == "the trigger"`)); n != test.comment {
				t.Errorf("tshark reads %d comments", n)
			}
			if n := len(lines("tcpdump", "-n", "-r", path)); n != test.packets {
				t.Errorf("tcpdump reads %d packets", n)
			}
			order := strings.Join(lines("capinfos", "-o", "-c", "-M", path), "")
			if want := fmt.Sprintf("Number of packets:   %d", test.packets); !strings.Contains(order, want) || strings.Contains(order, "order:   True") != test.options.Sorted {
				t.Errorf("capinfos says %q", order)
			}
		})
	}
}

// TestEvents puts the host's events between the packets before and after them: tshark shows them there, and every other
// tool reads the packets alone.
func TestEvents(t *testing.T) {
	for _, tool := range []string{"tshark", "tcpdump", "capinfos"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed")
		}
	}
	at := func(us int) time.Time { return night.Add(time.Duration(us) * time.Microsecond) }
	events := []Event{
		{At: at(2500), Text: "address removed\nfrom eth0", Fields: map[string]string{"RINGSIDE_KIND": "address.remove", "RINGSIDE_BY": "\x00\xff"}},
		{At: at(-5), Text: "before all"}, {At: at(1000), Text: "with packet 1"}, {At: at(9_000_000), Text: strings.Repeat("long", 5000)},
	}
	frame := udpFrame(t)
	b := pcapng.AppendInterface(pcapng.AppendSection(nil, "ringside", "x"), pcapng.Interface{Name: "eth0"})
	for _, ms := range []int{0, 1, 3, 2, 4} {
		block := make([]byte, pcapng.PacketSize(len(frame)))
		pcapng.PutPacket(block, 0, night.UnixNano()+int64(ms)*1e6, uint32(len(frame)), pcapng.Inbound, nil, frame)
		b = append(b, block...)
	}
	source := Source{File: file(t, b), Events: events}
	for _, node := range []string{"", "n1"} {
		source.Node = node
		out, n := write(t, Options{Sorted: true}, source)
		path := file(t, out).Name()
		shown, err := exec.Command("tshark", "-n", "-r", path, "-T", "fields", "-e", "frame.time_relative", "-e", "_ws.col.Protocol", "-e", "_ws.col.Info").Output()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(string(shown)) {
			f := strings.Split(strings.TrimSpace(line), "\t")
			text, _, _ := strings.Cut(f[2], " Len=")
			got = append(got, text[:min(len(text), 26)])
		}
		udp := "4000 → 4001"
		want := []string{"before all", udp, "with packet 1", udp, udp, "address removed from eth0", udp, udp, strings.Repeat("long", 5000)[:26]}
		if n != 5 || !slices.Equal(got, want) {
			t.Errorf("%d packets, tshark shows %q\nwant %q", n, got, want)
		}
		if got := readLengths(t, out); len(got) != 5 {
			t.Errorf("pcapgo reads %v", got)
		}
		lines, err := exec.Command("tcpdump", "-n", "-r", path).Output()
		if err != nil || bytes.Count(lines, []byte("\n")) != 5 {
			t.Errorf("tcpdump: %v: %s", err, lines)
		}
		info, err := exec.Command("capinfos", "-c", "-M", path).Output()
		if err != nil || !strings.Contains(string(info), "packets:   5") {
			t.Errorf("capinfos: %v: %s", err, info)
		}
	}
	plain, _ := write(t, Options{}, source)
	if bytes.Contains(plain, []byte("RINGSIDE_KIND")) {
		t.Error("events are in a file that is not in the order of time")
	}
}

func udpFrame(t *testing.T) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: []byte{10, 0, 0, 1}, DstIP: []byte{10, 0, 0, 2}}
	udp := &layers.UDP{SrcPort: 4000, DstPort: 4001}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	ether := &layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 0, 1}, DstMAC: []byte{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ether, ip, udp, gopacket.Payload("hello"))
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestHostileEvents have times that no clock has, and texts that are no text for a terminal.
func TestHostileEvents(t *testing.T) {
	source := Source{File: capture(t, []string{"eth0"}), Events: []Event{
		{At: time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC), Text: "last \u009b2J\x1b[2J"},
		{At: night, Text: "between"},
		{At: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), Text: "first"},
	}}
	out, _ := write(t, Options{Sorted: true}, source)
	first, between, last := bytes.Index(out, []byte("=first")), bytes.Index(out, []byte("=between")), bytes.Index(out, []byte("=last"))
	if first < 0 || between < first || last < between || bytes.Contains(out, []byte("__REALTIME_TIMESTAMP=-")) {
		t.Errorf("first at %d, between at %d, last at %d in %q", first, between, last, out)
	}
	if bytes.ContainsRune(out, '\u009b') || bytes.Contains(out, []byte("\x1b[")) {
		t.Errorf("%q", out)
	}
}

package main

import (
	"bytes"
	"context"
	endian "encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/ringside/ringside/capture/filter"
)

// runFilter runs the command and returns what it prints.
func runFilter(args ...string) (string, error) {
	var out bytes.Buffer
	cmd := newFilterCmd()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	err := cmd.ExecuteContext(context.Background())
	return out.String(), err
}

// writeConfig writes a configuration with these services.
func writeConfig(t *testing.T, services string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("capture:\n  services: "+services+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// tcpPacket is an IPv4 packet with a TCP header of 20 bytes and size bytes of payload, from port 40000.
func tcpPacket(dport uint16, size int) []byte {
	p := make([]byte, 40+size)
	p[0], p[9], p[32] = 0x45, 6, 5<<4
	copy(p[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	endian.BigEndian.PutUint16(p[20:], 40000)
	endian.BigEndian.PutUint16(p[22:], dport)
	return p
}

// inEthernet puts link header and tags in front.
func inEthernet(p []byte, tags ...uint16) []byte {
	f := make([]byte, 12)
	for _, tag := range tags {
		f = append(f, 0x81, 0, byte(tag>>8), byte(tag))
	}
	return append(append(f, 8, 0), p...)
}

const filterServicesYAML = "[postgres, {name: redis, payload: 10}, {name: tagged, filter: vlan 7 and port 99, payload: full}]"

// surveyed are the packets of the test files, and what becomes of them.
var surveyed = [][]byte{
	inEthernet(tcpPacket(5432, 100)),      // postgres: 154 bytes, 54 stored
	inEthernet(tcpPacket(5432, 0), 7),     // postgres: 58, all stored
	inEthernet(tcpPacket(5432, 50), 7, 8), // postgres: 112, 62 stored
	inEthernet(tcpPacket(6379, 100)),      // redis: 154, 64 stored
	inEthernet(tcpPacket(6379, 4)),        // redis: 58, all stored
	inEthernet(tcpPacket(99, 30), 7),      // tagged: 88, all stored
	inEthernet(tcpPacket(99, 30), 8),      // left: 88
	inEthernet(tcpPacket(22, 1000)),       // left: 1054
}

var wantSurvey = fileSurvey{
	Services: []serviceSurvey{{"postgres", 3, 324, 174}, {"redis", 2, 212, 122}, {"tagged", 1, 88, 88}},
	Left:     serviceSurvey{Packets: 2, Bytes: 1142},
}

func writeClassic(t *testing.T, path string) {
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(262144, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for _, p := range surveyed {
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: len(p), Length: len(p)}, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// writeNg writes the packets cut to 90 bytes, one more without a link header, and one of a link type that is foreign.
func writeNg(t *testing.T, path string) {
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriter(&b, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	write := func(iface int, p []byte) {
		stored := p[:min(len(p), 90)]
		info := gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: len(stored), Length: len(p), InterfaceIndex: iface}
		if err := w.WritePacket(info, stored); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range surveyed {
		write(0, p)
	}
	for _, link := range []layers.LinkType{layers.LinkTypeRaw, layers.LinkTypeLinuxSLL} {
		iface, err := w.AddInterface(pcapgo.NgInterface{LinkType: link, SnapLength: 262144})
		if err != nil {
			t.Fatal(err)
		}
		write(iface, tcpPacket(5432, 10))
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFilterSurvey(t *testing.T) {
	conf := writeConfig(t, filterServicesYAML)
	ng := wantSurvey
	ng.Services = slices.Clone(ng.Services)
	ng.Services[0] = serviceSurvey{"postgres", 4, 374, 214}
	ng.Foreign = 1
	for _, test := range []struct {
		name  string
		write func(*testing.T, string)
		want  fileSurvey
	}{{"classic", writeClassic, wantSurvey}, {"ng", writeNg, ng}} {
		t.Run(test.name, func(t *testing.T) {
			test.want.Name = filepath.Join(t.TempDir(), "packets")
			test.write(t, test.want.Name)
			out, err := runFilter("-c", conf, "--json", "--pcap", test.want.Name)
			if err != nil {
				t.Fatal(err)
			}
			var got filterReport
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatal(err)
			}
			if got.File == nil || !slices.Equal(got.File.Services, test.want.Services) || got.File.Left != test.want.Left ||
				got.File.Foreign != test.want.Foreign || got.File.Name != test.want.Name {
				t.Errorf("got %+v, want %+v", got.File, test.want)
			}
		})
	}
}

func TestFilterText(t *testing.T) {
	path := filepath.Join(t.TempDir(), "packets.pcap")
	writeClassic(t, path)
	out, err := runFilter("-c", writeConfig(t, filterServicesYAML), "--pcap", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"SERVICE   PAYLOAD  MATCHES\n" +
			"postgres  0        tcp port 5432\n" +
			"redis     10       tcp port 6379\n" +
			"tagged    full     expression: vlan 7 and port 99\n",
		"\nmemory:  about ",
		"SERVICE           PACKETS  BYTES  STORED\n" +
			"postgres          3        324    174\n" +
			"redis             2        212    122\n" +
			"tagged            1        88     88\n" +
			"(none: left out)  2        1142   0\n" +
			"total             8        1766   384\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no\n%s\nin\n%s", want, out)
		}
	}
	out, err = runFilter("tcp", "port", "80")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"expression  0        expression: tcp port 80", "; expression: tcp port 80\n", "ret #0"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// The program shown is the one that fits this machine.
func TestFilterReportLimits(t *testing.T) {
	services := filter.Presets()
	c, err := filter.NewCompiler(context.Background(), services)
	if err != nil {
		t.Fatal(err)
	}
	r, err := newFilterReport(c, services)
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Program(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	if r.Program.SHA256 != p.Hash() || r.Program.Instructions != p.Len() || len(r.Program.Coarsened) > 0 {
		t.Errorf("%+v is not the exact program", r.Program)
	}
	if err := r.refused(); err != nil {
		t.Error(err)
	}
	r.Program.Fits = false
	if err := r.refused(); err == nil || !strings.Contains(err.Error(), "sysctl -w net.core.optmem_max=131072") {
		t.Errorf("a program that does not fit: %v", err)
	}
}

func TestFilterErrors(t *testing.T) {
	notPcap := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(notPcap, []byte("no packets here"), 0o644); err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(t.TempDir(), "torn")
	writeClassic(t, torn)
	if err := os.Truncate(torn, 300); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"bad expression", []string{"tcp prot 80"}, exitUsage, "tcpdump says: can't parse filter expression: syntax error"},
		{"bad service", []string{"-c", writeConfig(t, "[postgress]")}, exitUsage, "postgress"},
		{"no configuration", []string{"-c", "nosuch.yaml"}, exitUsage, "nosuch.yaml"},
		{"no file", []string{"arp", "--pcap", "nosuch.pcap"}, exitFailed, "nosuch.pcap"},
		{"not a pcap file", []string{"arp", "--pcap", notPcap}, exitFailed, "is no pcap or pcapng file"},
		{"torn file", []string{"arp", "--pcap", torn}, exitFailed, "packet 3: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := runFilter(test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			if got := exitCode(err); got != test.code {
				t.Errorf("exit code %d, want %d (%v)", got, test.code, errors.Unwrap(err))
			}
		})
	}
}

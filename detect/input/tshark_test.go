package input

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/klauspost/compress/zstd"

	"github.com/ringside/ringside/detect/frame"
)

// fields are what tshark is asked for each packet; its names differ for IPv6, of which the captures have none.
var fields = []string{"frame.number", "frame.time_epoch", "frame.interface_name", "ip.src", "ip.dst", "ip.ttl", "ip.id", "tcp.srcport", "tcp.dstport",
	"tcp.seq_raw", "tcp.ack_raw", "tcp.len", "tcp.flags", "tcp.window_size_value", "tcp.options.timestamp.tsval", "tcp.options.timestamp.tsecr"}

// TestTshark reads captures in every form that tools write, and holds every packet against tshark's reading.
func TestTshark(t *testing.T) {
	for _, tool := range []string{"tshark", "editcap"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed")
		}
	}
	dir := t.TempDir()
	original := filepath.Join(dir, "original.pcapng")
	unpackShared(t, "a11-flush-serverfirst", original)
	files := map[string]string{"pcapng": original, "with ICMP": filepath.Join(dir, "icmp.pcapng")}
	unpackShared(t, "a05-flush-loose0-tcpreset", files["with ICMP"])
	for _, form := range []string{"pcap", "nsecpcap", "modpcap"} {
		files[form] = filepath.Join(dir, form)
		if out, err := exec.Command("editcap", "-F", form, original, files[form]).CombinedOutput(); err != nil {
			t.Fatalf("editcap -F %s: %v\n%s", form, err, out)
		}
	}
	for name, link := range links {
		files[name] = filepath.Join(dir, name)
		rewrite(t, original, files[name], link.link, link.header)
	}
	for name, path := range files {
		t.Run(name, func(t *testing.T) { compare(t, path, strings.HasSuffix(path, ".pcapng")) })
	}
}

// links are what stands in place of the Ethernet header of an IPv4 packet.
var links = map[string]struct {
	link   frame.Link
	header []byte
}{
	"cooked":   {frame.Cooked, []byte{0, 4, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 8, 0}},
	"cooked 2": {frame.Cooked2, []byte{8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 4, 6, 1, 2, 3, 4, 5, 6, 0, 0}},
	"raw":      {frame.Raw, nil},
	"raw IPv4": {228, nil},
	"null":     {frame.Null, []byte{2, 0, 0, 0}},
	"loop":     {frame.Loop, []byte{0, 0, 0, 2}},
	"tagged":   {frame.Ethernet, append(make([]byte, 12), 0x81, 0, 0, 5, 8, 0)},
}

func unpackShared(t *testing.T, name, to string) {
	t.Helper()
	packed, err := os.ReadFile(filepath.Join("..", "testdata", "captures", name+".pcapng.zst"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, plain, 0o600); err != nil {
		t.Fatal(err)
	}
}

// rewrite copies the IPv4 packets of a pcapng into a pcap of another link.
func rewrite(t *testing.T, from, to string, link frame.Link, header []byte) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r, err := pcapgo.NewNgReader(in, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	w := pcapgo.NewWriterNanos(out)
	if err := w.WriteFileHeader(262144, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for {
		data, info, err := r.ReadPacketData()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data = slices.Concat(header, data[14:])
		more := len(data) - info.CaptureLength
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: info.Timestamp, CaptureLength: len(data), Length: info.Length + more}, data); err != nil {
			t.Fatal(err)
		}
	}
	// pcapgo's link types have 8 bits.
	if _, err := out.WriteAt(binary.LittleEndian.AppendUint32(nil, uint32(link)), 20); err != nil {
		t.Fatal(err)
	}
}

// compare reads a file, and has tshark read it.
func compare(t *testing.T, path string, named bool) {
	args := []string{"-r", path, "-n", "-T", "fields", "-E", "occurrence=f"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	var problems bytes.Buffer
	cmd := exec.Command("tshark", args...)
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, &problems)
	}
	want := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	g := read(t, Files(path)...)
	if len(g.packets) != len(want) || len(want) < 1000 || len(g.problems) > 0 {
		t.Fatalf("%d packets, tshark has %d; problems %v", len(g.packets), len(want), g.problems)
	}
	tcp := 0
	for _, p := range g.packets {
		line := strings.Split(want[p.Number-1], "\t")
		if !named {
			line[2] = ""
		}
		got := asTshark(&p, g.interfaces[p.Vantage].Name, named)
		if p.Quoted {
			got, line = got[:9], line[:9]
		}
		if !slices.Equal(got, line) {
			t.Fatalf("packet %d\n%q, tshark has\n%q", p.Number, got, line)
		}
		if p.Protocol == frame.TCP {
			tcp++
		}
	}
	if tcp < len(want)/2 {
		t.Errorf("only %d of %d packets are TCP", tcp, len(want))
	}
}

// asTshark prints a packet as the fields are printed.
func asTshark(p *frame.Packet, name string, named bool) []string {
	line := make([]string, len(fields))
	line[0] = fmt.Sprint(p.Number)
	line[1] = fmt.Sprintf("%d.%09d", p.Time/1e9, p.Time%1e9)
	if named {
		line[2] = name
	}
	line[3], line[4] = p.Src.IP().String(), p.Dst.IP().String()
	line[5], line[6] = fmt.Sprint(p.TTL), fmt.Sprintf("0x%04x", p.IPID)
	if p.Quoted { // tshark reads on in what is quoted
		line[7], line[8] = fmt.Sprint(p.Quote.Src.Port), fmt.Sprint(p.Quote.Dst.Port)
	}
	if p.Protocol != frame.TCP {
		return line
	}
	line[7], line[8] = fmt.Sprint(p.Src.Port), fmt.Sprint(p.Dst.Port)
	line[9], line[10], line[11] = fmt.Sprint(p.Seq), fmt.Sprint(p.Ack), fmt.Sprint(p.Payload)
	line[12], line[13] = fmt.Sprintf("0x%04x", p.Flags), fmt.Sprint(p.Window)
	if p.Stamped {
		line[14], line[15] = fmt.Sprint(p.TSVal), fmt.Sprint(p.TSEcr)
	}
	return line
}

// TestTsharkCounts holds frame numbers against tshark's where blocks that are no packets are frames for it.
func TestTsharkCounts(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("tshark is not installed")
	}
	for name, o := range map[string]order{"little-endian": little, "big-endian": big} {
		b := slices.Concat(
			section(o), describe(o, frame.Ethernet, 0),
			enhanced(o, 0, 1_000_000, segment(1)),
			block(o, typeJournal, []byte("__REALTIME_TIMESTAMP=1500000\nMESSAGE=hello\n")),
			enhanced(o, 0, 2_000_000, segment(2)),
			block(o, typeCustom, append(o.AppendUint32(nil, 32473), 1, 2, 3, 4)),
			enhanced(o, 0, 3_000_000, segment(3)),
			block(o, typeCustomNoCopy, append(o.AppendUint32(nil, 32473), 1, 2, 3, 4)),
			block(o, 0x80000002, make([]byte, 8)),
			block(o, 4, make([]byte, 4)),
			old(o, 0, 0, 4_000_000, segment(4)),
			simple(o, 66, segment(5)),
		)
		path := filepath.Join(t.TempDir(), "blocks.pcapng")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("tshark", "-r", path, "-Y", "tcp", "-T", "fields", "-e", "frame.number", "-e", "tcp.seq_raw").CombinedOutput()
		if err != nil {
			t.Fatalf("tshark: %v\n%s", err, out)
		}
		var got []string
		packets := read(t, Files(path)...).packets
		slices.SortFunc(packets, func(a, b frame.Packet) int { return int(a.Number) - int(b.Number) })
		for _, p := range packets {
			got = append(got, fmt.Sprintf("%d\t%d", p.Number, p.Seq))
		}
		var want []string // root is warned of by tshark
		for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			if line != "" && line[0] >= '0' && line[0] <= '9' {
				want = append(want, line)
			}
		}
		if !slices.Equal(got, want) || len(want) != 5 {
			t.Errorf("%s: numbers %q, tshark has %q\n%s", name, got, want, out)
		}
	}
}

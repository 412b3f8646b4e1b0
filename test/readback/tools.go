package readback

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
)

// Packet is a packet of package loadgen as tshark shows it.
type Packet struct {
	Interface string
	NS        int64 // since 1970
	Length    int   // bytes on the wire
	Captured  int   // bytes stored
	Tags      []uint16
	V6        bool
	Outbound  bool
	Number    uint64 // of loadgen
}

var fields = []string{
	"frame.interface_name", "frame.time_epoch", "frame.len", "frame.cap_len", "frame.packet_flags_direction",
	"ieee8021ad.id", "vlan.id", "ip.version", "ipv6.version", "tcp.seq_raw", "tcp.ack_raw",
}

// tsharkArgs turn off what is of no use here and takes time or memory: names, reassembly, payloads.
func tsharkArgs(file string) []string {
	args := []string{
		"-n", "-r", file, "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,",
		"-o", "tcp.analyze_sequence_numbers:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE",
		"-o", "tcp.calculate_timestamps:FALSE", "-o", "ip.check_checksum:FALSE", "-o", "frame.generate_md5_hash:FALSE",
	}
	for _, p := range []string{"pgsql", "mysql", "dns", "http", "resp", "ssl", "tls", "data"} {
		args = append(args, "--disable-protocol", p)
	}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	return args
}

// Tshark calls each for every packet that tshark reads from file, in its order. A complaint of tshark's is an error,
// returned after the packets before it.
func Tshark(file string, each func(Packet)) error { return tshark(file, nil, each) }

// TsharkStream is Tshark on what r delivers, as in "curl … | tshark -r -".
func TsharkStream(r io.Reader, each func(Packet)) error { return tshark("-", r, each) }

func tshark(file string, in io.Reader, each func(Packet)) error {
	var complaint bytes.Buffer
	cmd := exec.Command("tshark", tsharkArgs(file)...)
	cmd.Stdin, cmd.Stderr = in, &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start tshark: %w (apt-get install tshark)", err)
	}
	bad := readRows(out, each)
	_, _ = io.Copy(io.Discard, out)
	err = cmd.Wait()
	said := strings.TrimSpace(strings.ReplaceAll(complaint.String(),
		"Running as user \"root\" and group \"root\". This could be dangerous.\n", ""))
	switch {
	case err != nil || said != "":
		return fmt.Errorf("tshark -r %s: %v: %s", file, err, said)
	case bad != nil:
		return fmt.Errorf("tshark -r %s: %w", file, bad)
	}
	return nil
}

func readRows(r io.Reader, each func(Packet)) error {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		p, err := parseRow(lines.Text())
		if err != nil {
			return fmt.Errorf("packet %d: %w", n, err)
		}
		each(p)
	}
	return lines.Err()
}

func parseRow(line string) (p Packet, err error) {
	col := strings.Split(line, "\t")
	if len(col) != len(fields) {
		return p, fmt.Errorf("%d fields, want %d: %q", len(col), len(fields), line)
	}
	number := func(s string, bits int) (n uint64) {
		v, e := strconv.ParseUint(s, 10, bits)
		if e != nil && err == nil {
			err = fmt.Errorf("%w in %q", e, line)
		}
		return v
	}
	p.Interface = col[0]
	seconds, fraction, _ := strings.Cut(col[1], ".")
	p.NS = int64(number(seconds, 63)*1e9 + number(fraction+"000000000"[len(fraction):], 63))
	p.Length, p.Captured = int(number(col[2], 31)), int(number(col[3], 31))
	p.Outbound = strings.HasSuffix(col[4], "2")
	for _, ids := range col[5:7] {
		for id := range strings.SplitSeq(ids, ",") {
			if id != "" {
				p.Tags = append(p.Tags, uint16(number(id, 16)))
			}
		}
	}
	p.V6 = col[7] == "6" || col[8] == "6"
	if col[9] == "" { // not TCP: a packet of nobody's
		return p, err
	}
	p.Number = number(col[10], 32)<<32 | number(col[9], 32)
	return p, err
}

// Tcpdump returns how many packets "tcpdump -r" reads from file.
func Tcpdump(file string) (int, error) {
	return countIn(exec.Command("tcpdump", "-n", "-r", file, "--count"), "", " packet")
}

// Capinfos returns how many packets capinfos reads from file.
func Capinfos(file string) (int, error) {
	return countIn(exec.Command("capinfos", "-c", "-M", file), "Number of packets:", "\n")
}

// countIn runs a tool and returns the number between two marks of its standard output.
func countIn(cmd *exec.Cmd, after, before string) (int, error) {
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(complaint.String()))
	}
	_, text, ok := strings.Cut(string(out), after)
	text, _, ok2 := strings.Cut(text, before)
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if !ok || !ok2 || err != nil {
		return 0, fmt.Errorf("%s: no number of packets in %q", strings.Join(cmd.Args, " "), out)
	}
	return n, nil
}

package parity

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringside/ringside/detect/frame"
	"github.com/ringside/ringside/lab/host"
)

// dump is a running capture.
type dump struct {
	path  string
	cmd   *exec.Cmd
	lines *bufio.Scanner // what tcpdump says
}

// capture begins to capture at a link.
func capture(t *testing.T, h *host.Host, link string) *dump {
	t.Helper()
	d := &dump{path: filepath.Join(t.TempDir(), "dump.pcap")}
	d.cmd = exec.Command("tcpdump", "-n", "-i", link, "-s", "160", "-B", "16384", "-Z", "root", "-U", "--immediate-mode", "--nano",
		"-w", d.path, "tcp")
	said, err := d.cmd.StderrPipe()
	must(t, err, h.Start(d.cmd))
	d.lines = bufio.NewScanner(said)
	for listening := false; !listening; listening = strings.Contains(d.lines.Text(), "listening on") {
		if !d.lines.Scan() {
			t.Fatalf("tcpdump on %s of %s: %v", link, h.Name(), d.cmd.Wait())
		}
	}
	return d
}

// end ends the capture as soon as it has so many segments with FIN, which must come, and reads it.
func (d *dump) end(t *testing.T, name string, fins int) *view {
	t.Helper()
	for limit := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if classic(t, d.path).fins() >= fins {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("%s: the capture has %d segments with FIN, want %d", name, classic(t, d.path).fins(), fins)
		}
	}
	must(t, d.cmd.Process.Signal(os.Interrupt))
	var rest []string
	for d.lines.Scan() {
		rest = append(rest, d.lines.Text())
	}
	if err := d.cmd.Wait(); err != nil {
		t.Fatalf("tcpdump of %s: %v: %s", name, err, strings.Join(rest, "\n"))
	}
	v := classic(t, d.path)
	v.name = name
	return v
}

func (v *view) fins() (n int) {
	for _, o := range v.ours() {
		if o.tcp && o.packet.Flags&frame.FIN != 0 {
			n++
		}
	}
	return n
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ringside/ringside/pcapng"
	"github.com/ringside/ringside/test/netlab"
	"github.com/ringside/ringside/test/ringside"
)

const (
	recorderCore = "0"
	loadCore     = 1
)

// subject is a recorder under measurement: it records v0's packets to and from TCP port 5432, whole, with 64 MiB of
// ring, on the recorder's core.
type subject interface {
	start(ns *netlab.Namespace, dir string) error
	pid() int
	stop() error
	// files are those that it has written, and result what is in them, both known after stop.
	files() ([]string, error)
	result() (stored, error)
}

// stored is what a subject has on disk and what it says about the rest.
type stored struct {
	packets, bytes int64 // bytes: of the packets themselves, without what the format adds
	dropped        int64 // by the kernel
	fileBytes      int64

	looked, skipped int64 // by detection, of Ringside alone
}

// ours is the program under test.
type ours struct {
	binary   string
	services string
	cores    string
	more     string // of the configuration
	recorder *ringside.Recorder
	dropped  float64

	looked, skipped float64
}

const wholePackets = "[{name: bench, protocol: tcp, ports: [5432], payload: full}]"

func (o *ours) start(ns *netlab.Namespace, dir string) (err error) {
	o.recorder, err = ringside.Start(ringside.Options{
		Namespace: ns, Binary: o.binary, Dir: dir, Interfaces: "[v0]", Services: o.services, Ring: "64MiB", More: o.more,
		Prefix: []string{"taskset", "-c", o.cores},
	})
	if err != nil {
		return err
	}
	if err := o.recorder.Ready(20 * time.Second); err != nil {
		o.recorder.Kill()
		return err
	}
	return nil
}

func (o *ours) pid() int { return o.recorder.Pid() }

func (o *ours) stop() error {
	m, err := o.recorder.Metrics()
	if err != nil {
		o.recorder.Kill()
		return err
	}
	ok := false
	if o.dropped, ok = m.Sum("ringside_capture_dropped_packets_total"); !ok {
		err = errors.New("no metric ringside_capture_dropped_packets_total")
	}
	o.looked, _ = m.Sum("ringside_detect_packets_total")
	o.skipped, _ = m.Sum("ringside_detect_skipped_packets_total")
	return errors.Join(err, o.recorder.Stop())
}

func (o *ours) files() ([]string, error) {
	sealed, open, err := o.recorder.Segments()
	return append(sealed, open...), err
}

func (o *ours) result() (stored, error) {
	files, err := o.files()
	if err != nil {
		return stored{}, err
	}
	s := stored{dropped: int64(o.dropped), looked: int64(o.looked), skipped: int64(o.skipped)}
	for _, file := range files {
		if err := s.addSegment(file); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *stored) addSegment(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := pcapng.NewWalker(f)
	for {
		block, err := w.Next()
		if err == io.EOF {
			s.fileBytes += w.Offset()
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s at %d: %w", file, w.Offset(), err)
		}
		if block.Type == pcapng.TypePacket {
			p, err := block.Packet()
			if err != nil {
				return err
			}
			s.packets++
			s.bytes += int64(len(p.Data))
		}
	}
}

// theirs is tcpdump.
type theirs struct {
	cmd  *exec.Cmd
	said strings.Builder
	file string
	err  io.ReadCloser
}

func (d *theirs) start(ns *netlab.Namespace, dir string) (err error) {
	d.file = filepath.Join(dir, "file.pcap")
	d.cmd = exec.Command("taskset", "-c", recorderCore, "tcpdump", "-i", "v0", "-n", "-B", "65536", "-s", "262144",
		"-Z", "root", "-w", d.file, "tcp port 5432")
	if d.err, err = d.cmd.StderrPipe(); err != nil {
		return err
	}
	if err := ns.Start(d.cmd); err != nil {
		return err
	}
	lines := bufio.NewReader(d.err)
	for !strings.Contains(d.said.String(), "listening on") {
		line, err := lines.ReadString('\n')
		d.said.WriteString(line)
		if err != nil {
			return fmt.Errorf("tcpdump: %w: %s", err, d.said.String())
		}
	}
	return nil
}

func (d *theirs) pid() int { return d.cmd.Process.Pid }

func (d *theirs) stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	rest, err := io.ReadAll(d.err)
	d.said.Write(rest)
	return errors.Join(err, d.cmd.Wait())
}

var (
	capturedPattern = regexp.MustCompile(`(\d+) packets? captured`)
	droppedPattern  = regexp.MustCompile(`(\d+) packets? dropped by kernel`)
)

const (
	pcapHeader       = 24
	pcapPacketHeader = 16
)

func (d *theirs) files() ([]string, error) { return []string{d.file}, nil }

// result reads the counts that tcpdump prints. The bytes follow from the file's size.
func (d *theirs) result() (s stored, err error) {
	captured := capturedPattern.FindStringSubmatch(d.said.String())
	dropped := droppedPattern.FindStringSubmatch(d.said.String())
	if captured == nil || dropped == nil {
		return s, fmt.Errorf("no counts in what tcpdump says: %s", d.said.String())
	}
	s.packets, _ = strconv.ParseInt(captured[1], 10, 64)
	s.dropped, _ = strconv.ParseInt(dropped[1], 10, 64)
	info, err := os.Stat(d.file)
	if err != nil {
		return s, err
	}
	s.fileBytes = info.Size()
	s.bytes = s.fileBytes - pcapHeader - pcapPacketHeader*s.packets
	return s, nil
}

package proofs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringside/ringside/test/loadgen"
	"github.com/ringside/ringside/test/netlab"
	"github.com/ringside/ringside/test/readback"
	"github.com/ringside/ringside/test/ringside"
)

// onDisk is a recorder whose spool lies on a disk of its own, with a sender of whole packets of 1400 bytes.
type onDisk struct {
	site
	disk   *netlab.Disk
	sender *loadgen.Sender
	source readback.Source
	*ringside.Recorder
}

func launchOn(t *testing.T, make func(*netlab.Namespace) *netlab.Disk, rotate map[string]string) onDisk {
	t.Helper()
	s := newSite(t, "v0")
	p := loadgen.Plan{ID: 1, Port: wholePort, Sizes: []int{1400}}
	o := onDisk{site: s, disk: make(s.node), sender: s.inbound(t, "v0", p)}
	o.source = readback.Source{Plan: p, Interfaces: []string{"v0"}, Payload: -1}
	rotate["dir"] = o.disk.Dir + "/spool"
	o.Recorder = ringside.Launch(t, ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: "[v0]", Rotate: rotate,
	})
	return o
}

// checkTail fails unless everything from the oldest packet in the spool on is there or counted as unwritten, and
// returns how many packets retention has removed.
func (o onDisk) checkTail(t *testing.T, unwritten int) (removed int) {
	t.Helper()
	l := ledgerOf(t, o.Recorder, o.source)
	sane(t, l)
	missing := l.Missing(o.sender.ID, o.sender.Count())
	if len(missing) > 0 && missing[0].First == 0 {
		removed = missing[0].Last + 1
		missing = missing[1:]
	}
	lost := 0
	for _, gap := range missing {
		lost += gap.Last - gap.First + 1
	}
	t.Logf("sent %d, read %d, removed by retention %d, missing after those %d, counted as unwritten %d",
		o.sender.Count(), l.Packets, removed, lost, unwritten)
	if lost > unwritten {
		t.Errorf("%d packets missing, %d of them counted", lost, unwritten)
	}
	if l.Packets == 0 {
		t.Error("nothing is left in the spool")
	}
	return removed
}

// TestDiskFull records more than the disk holds: retention must make room for every packet.
func TestDiskFull(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	t.Parallel()
	o := launchOn(t, func(n *netlab.Namespace) *netlab.Disk { return n.Ext4(t, 96<<20) },
		map[string]string{"every": "1s", "max_size": "8MiB", "keep": "{bytes: 8GiB, age: 1h, free: 1%}"})
	const packets = 130_000 // 180 MB
	if err := (&brake{Recorder: o.Recorder}).send(t, o.sender, packets, 20_000); err != nil {
		t.Fatal(err)
	}
	settled(t, o.Recorder, packets)
	m := metrics(t, o.Recorder)
	if err := o.Stop(); err != nil {
		t.Fatal(err)
	}
	if lost := sum(t, m, droppedMetric) + sum(t, m, unwrittenMetric); lost != 0 {
		t.Errorf("%d packets dropped or not written, want none: retention had enough to free", lost)
	}
	if o.checkTail(t, 0) == 0 {
		t.Error("retention removed nothing, although more was recorded than the disk holds")
	}
}

// TestDiskFilledByOthers fills the disk beside the spool, so that retention cannot help, and frees it again.
func TestDiskFilledByOthers(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	t.Parallel()
	o := launchOn(t, func(n *netlab.Namespace) *netlab.Disk { return n.Ext4(t, 96<<20) },
		map[string]string{"every": "1s", "max_size": "8MiB", "keep": "{bytes: 8GiB, age: 1h, free: 1%}"})
	stop := steady(t, o.sender, 2000)
	time.Sleep(time.Second)
	hog := filepath.Join(o.disk.Dir, "hog")
	// It takes whatever retention frees, too, until the recorder says that it cannot write.
	err := o.Until(patience, "short of disk", func() bool {
		fill(t, o.node.Path(hog))
		return sum(t, metrics(t, o.Recorder), unwrittenMetric) > 0
	})
	if err != nil {
		t.Fatal(err)
	}
	if ready, _ := interfaces(t, o.Recorder); !ready {
		t.Error("not ready with a full disk, although it captures")
	}
	if err := os.Remove(o.node.Path(hog)); err != nil {
		t.Fatal(err)
	}
	resumesWriting(t, o)
	stop()
	settled(t, o.Recorder, o.sender.Count())
	m := metrics(t, o.Recorder)
	if err := o.Stop(); err != nil {
		t.Fatal(err)
	}
	if dropped := sum(t, m, droppedMetric); dropped != 0 {
		t.Errorf("%d packets dropped by the kernel, want none", dropped)
	}
	unwritten := sum(t, m, unwrittenMetric)
	o.checkTail(t, unwritten)
	if noted := lostInNotes(t, o.Recorder); noted != unwritten {
		t.Errorf("%d packets unwritten by the notes in the files, %d by the metrics", noted, unwritten)
	}
}

// fill appends to a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		if errors.Is(err, unix.ENOSPC) {
			return
		}
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4 << 10} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// resumesWriting waits until new packets reach the disk.
func resumesWriting(t *testing.T, o onDisk) {
	t.Helper()
	before := sum(t, metrics(t, o.Recorder), writtenMetric)
	err := o.Until(patience, "writing again", func() bool {
		return sum(t, metrics(t, o.Recorder), writtenMetric) > before+1000
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDiskFails lets every access to the disk fail while packets come: the recorder goes on, counts, stops when asked,
// and what it had sealed before is there when the disk is back.
func TestDiskFails(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	t.Parallel()
	o := launchOn(t, func(n *netlab.Namespace) *netlab.Disk { return n.Ext4(t, 256<<20) }, map[string]string{"every": "1s"})
	stop := steady(t, o.sender, 2000)
	confirmed := o.confirmed(t, 3)
	if err := o.disk.Fail(); err != nil {
		t.Fatal(err)
	}
	err := o.Until(patience, "missing its disk", func() bool {
		return sum(t, metrics(t, o.Recorder), unwrittenMetric) > 2000
	})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	settled(t, o.Recorder, o.sender.Count())
	m := metrics(t, o.Recorder)
	unwritten, written := sum(t, m, unwrittenMetric), sum(t, m, writtenMetric)
	if err := o.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Wait(30 * time.Second); err != nil {
		t.Error(err)
	}
	if err := o.disk.Remount(); err != nil {
		t.Fatal(err)
	}
	again := ringside.Launch(t, o.Options)
	if err := again.Stop(); err != nil {
		t.Fatal(err)
	}
	o.Recorder = again
	l := ledgerOf(t, again, o.source)
	sane(t, l)
	t.Logf("sent %d, counted as written %d, unwritten %d, read after the disk was back %d", o.sender.Count(), written, unwritten, l.Packets)
	if written+unwritten != o.sender.Count() {
		t.Errorf("written %d and unwritten %d are not the %d packets sent", written, unwritten, o.sender.Count())
	}
	if missing := l.Missing(o.sender.ID, confirmed); len(missing) > 0 || confirmed == 0 || l.Packets > written {
		t.Errorf("of %d packets in sealed segments before the failure, missing %v", confirmed, missing)
	}
}

// confirmed waits for so many sealed segments and returns how many packets they have: the first that were sent.
func (o onDisk) confirmed(t *testing.T, segments int) int {
	t.Helper()
	var files []string
	err := o.Until(patience, "sealing", func() bool {
		files, _, _ = o.Segments()
		return len(files) >= segments
	})
	if err != nil {
		t.Fatal(err)
	}
	l := readback.NewLedger(o.source)
	readAll(t, l, files)
	return l.Seen(o.sender.ID)
}

// TestDiskReadOnly starts on a read-only file system: a clear refusal.
func TestDiskReadOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t, "v0")
	disk := s.node.Ext4(t, 64<<20)
	if err := disk.ReadOnly(true); err != nil {
		t.Fatal(err)
	}
	r := ringside.LaunchUnready(t, ringside.Options{
		Namespace: s.node, Binary: ringside.Binary(t, ""), Services: services, Interfaces: "[v0]",
		Rotate: map[string]string{"dir": disk.Dir + "/spool"},
	})
	code, err := r.Wait(10 * time.Second)
	if err != nil || code == 0 || !strings.Contains(r.Log(), "read-only") || !strings.Contains(r.Log(), disk.Dir) {
		t.Errorf("exit code %d, %v, want a failure that names the directory and says read-only: %s", code, err, r.Log())
	}
}

// TestTmpfs records into memory, which it must say.
func TestTmpfs(t *testing.T) {
	need(t, "tshark", "tcpdump", "capinfos")
	t.Parallel()
	o := launchOn(t, func(n *netlab.Namespace) *netlab.Disk { return n.Tmpfs(t, 256<<20) }, map[string]string{"every": "1s"})
	send(t, o.sender, 20_000, 10_000)
	settled(t, o.Recorder, 20_000)
	if err := o.Stop(); err != nil {
		t.Fatal(err)
	}
	exact(t, ledgerOf(t, o.Recorder, o.source), o.sender)
	if !strings.Contains(o.Log(), "tmpfs") {
		t.Errorf("the log does not say that the spool is on tmpfs: %s", o.Log())
	}
}

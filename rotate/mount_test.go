package rotate

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ringside/ringside/pcapng"
)

const inNamespace = "RINGSIDE_TEST_MOUNTS"

// needs skips the test and names what is missing.
func needs(t *testing.T, commands ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root (CAP_SYS_ADMIN)")
	}
	for _, c := range commands {
		if _, err := exec.LookPath(c); err != nil {
			t.Skipf("%s is not installed", c)
		}
	}
}

// mounted runs the test again in a process with a mount namespace of its own, and says whether this is that process.
// What is mounted there is gone with it.
func mounted(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		return true
	}
	needs(t, "unshare", "mount")
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("in a mount namespace: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("in a mount namespace:\n%s", out)
	}
	return false
}

// mount mounts on the last of args until the test ends.
func mount(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		t.Skipf("mount %v: %v: %s", args, err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", args[len(args)-1]).Run() }) // so that TempDir can be removed
}

// smallExt4 mounts a new ext4 file system of mib MiB and returns its directory.
func smallExt4(t *testing.T, mib int64) string {
	t.Helper()
	needs(t, "mkfs.ext4")
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, mib<<20))
	if out, err := exec.Command("mkfs.ext4", "-q", "-m", "0", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	mount(t, "-o", "loop", image, dir)
	return dir
}

// fill records n chunks of 1 MB, a second of the ring's time each.
func (r *recording) fill(n int) {
	r.t.Helper()
	for range n {
		r.chunk("eth0", max(r.to["eth0"], second)+1e9, 700, 1400)
	}
	r.written(r.n)
}

func TestSmallExt4FillsUp(t *testing.T) {
	if !mounted(t) {
		return
	}
	disk := smallExt4(t, 64)
	cfg := config(filepath.Join(disk, "spool"))
	cfg.Keep.Bytes, cfg.MaxSize = 1<<30, 8<<20 // more than there is: the disk itself sets the bound
	r := record(t, cfg)
	r.fill(200)
	st := r.Stats()
	if !st.Direct {
		t.Errorf("segments on ext4 are buffered: %s", st.WhyBuffered)
	}
	if st.UnwrittenPackets != 0 || st.Removed == 0 {
		t.Errorf("%d packets lost, %d segments removed; want none and some", st.UnwrittenPackets, st.Removed)
	}
	c, cov := window(t, r, at(170), at(200))
	if len(c.numbers) != 30*700 || !cov.Complete() {
		t.Errorf("%d packets of the last 30 s, missing %v; want %d", len(c.numbers), cov.Missing, 30*700)
	}

	// Everything is pinned and another fills the disk: nothing can be freed, and the loss is counted and dated.
	_, err := r.Pin("all", at(0), at(1000))
	must(t, err)
	hog := fillDisk(t, disk)
	for time.Sleep(0); r.Stats().UnwrittenPackets == 0; { // the space allocated ahead goes first
		r.fill(1)
	}
	r.fill(5)
	must(t, os.Remove(hog))
	must(t, r.Unpin("all"))
	for lost := r.Stats().UnwrittenPackets; ; lost = r.Stats().UnwrittenPackets { // until it has tried again
		r.fill(1)
		if r.Stats().UnwrittenPackets == lost {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.fill(1)
	st = r.Stats()
	_, cov = window(t, r, at(170), time.Unix(0, r.to["eth0"]))
	if len(cov.Missing) != 1 || cov.Missing[0].Reason != MissingUnwritten || cov.Missing[0].Packets != st.UnwrittenPackets {
		t.Errorf("missing %v, want %d packets unwritten", cov.Missing, st.UnwrittenPackets)
	}
	r.stop()
	files, err := filepath.Glob(filepath.Join(cfg.Dir, "*.pcapng"))
	must(t, err)
	for _, f := range files[len(files)-2:] {
		capinfos(t, f) // fails if it is not readable
	}

	mount(t, "-o", "remount,ro", disk)
	if _, err := Open(cfg, zap.NewNop()); err == nil || !strings.Contains(err.Error(), "read-only: mount it writable") {
		t.Errorf("on a read-only file system: %v", err)
	}
}

// fillDisk takes all space of the file system that holds dir.
func fillDisk(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "hog")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for size := 1 << 20; size >= 4096; size /= 16 {
		for b := make([]byte, size); err == nil; _, err = f.Write(b) {
		}
		err = nil
	}
	must(t, f.Sync())
	return path
}

func TestTooSmallADisk(t *testing.T) {
	if !mounted(t) {
		return
	}
	dir := t.TempDir()
	mount(t, "-t", "tmpfs", "-o", "size=16m", "tmpfs", dir)
	if _, err := Open(Config{Dir: dir}, zap.NewNop()); err == nil || !strings.Contains(err.Error(), "too small for a spool") {
		t.Errorf("on 16 MiB: %v", err)
	}
}

func TestTmpfsIsBuffered(t *testing.T) {
	if !mounted(t) {
		return
	}
	dir := t.TempDir()
	mount(t, "-t", "tmpfs", "-o", "size=32m", "tmpfs", dir)
	cfg := config(dir)
	cfg.Keep.Bytes, cfg.MaxSize = 1<<30, 4<<20
	r := record(t, cfg)
	r.fill(60)
	st := r.Stats()
	if st.Direct || !strings.Contains(st.WhyBuffered, "memory") {
		t.Errorf("direct %v, why %q; want buffered, and that it takes memory", st.Direct, st.WhyBuffered)
	}
	if st.UnwrittenPackets != 0 || st.Removed == 0 {
		t.Errorf("%d packets lost, %d segments removed", st.UnwrittenPackets, st.Removed)
	}
	if c, cov := window(t, r, at(50), at(60)); len(c.numbers) != 7000 || !cov.Complete() {
		t.Errorf("%d packets, missing %v", len(c.numbers), cov.Missing)
	}
}

// cached is how many bytes of the spool's files are in the page cache.
func cached(t *testing.T, dir string) (sum int64) {
	t.Helper()
	if _, err := exec.LookPath("fincore"); err != nil {
		t.Skip("fincore is not installed (package util-linux)")
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // or gone
		}
		out, err := exec.Command("fincore", "-b", "-n", "-o", "RES", path).Output()
		if _, gone := os.Lstat(path); gone != nil {
			return nil // a seal has renamed it
		}
		if err != nil {
			return fmt.Errorf("fincore %s: %w", path, err)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
		sum += n
		return err
	})
	must(t, err)
	return sum
}

// The page cache belongs to the node's workloads: neither writing nor reading leaves spool files in it, not even where
// direct I/O is not to be had.
func TestPageCacheStaysClean(t *testing.T) {
	for _, direct := range []bool{true, false} {
		t.Run(fmt.Sprintf("direct %v", direct), func(t *testing.T) {
			cfg := config(t.TempDir())
			cfg.MaxSize = 8 << 20
			s, err := Open(cfg, zap.NewNop())
			must(t, err)
			if !s.direct.Load() {
				_ = s.Close()
				t.Skipf("direct I/O is missing in %s: %s", cfg.Dir, s.whyBuffered)
			}
			s.direct.Store(direct)
			r := run(t, s)
			r.fill(30)
			if !direct {
				// The last chunk of the live file is in the cache until the next, by design; a sealed file is not.
				r.stop()
			}
			if n := cached(t, cfg.Dir); n >= 1<<20 {
				t.Errorf("%d bytes are cached after writing 30 MB", n)
			}
			reader, err := OpenReader(cfg.Dir)
			must(t, err)
			w, err := reader.Window(t.Context(), at(0), at(30))
			must(t, err)
			defer w.Close()
			if n, err := w.WriteTo(io.Discard); err != nil || n < 30*700*pcapng.PageSize/4 {
				t.Errorf("read %d bytes, %v", n, err)
			}
			if n := cached(t, cfg.Dir); n >= 1<<20 {
				t.Errorf("%d bytes are cached after reading 30 MB", n)
			}
		})
	}
}

// Nor does a start leave the beginning of every segment there.
func TestStartLeavesNothingCached(t *testing.T) {
	dir, path := sealedSegment(t)
	reopen(t, dir)
	if n := cached(t, path); n > 0 {
		t.Errorf("%d bytes are cached after a start", n)
	}
}

// A file system that accepts O_DIRECT and refuses to read so is read through the page cache, which is emptied.
func TestDirectReadRefused(t *testing.T) {
	_, path := sealedSegment(t)
	buf, err := readBuffer()
	must(t, err)
	defer freeBuffer(buf)
	f, err := openSegment(path, buf[1:]) // memory that is not aligned is refused too
	must(t, err)
	defer f.Close()
	for range 2 {
		b, err := f.view(pcapng.PageSize+10, 20)
		if err != nil || len(b) != 20 {
			t.Errorf("%d bytes read, %v", len(b), err)
		}
	}
	if n := cached(t, path); n > 0 {
		t.Errorf("%d bytes are cached after reading", n)
	}
}

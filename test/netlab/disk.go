package netlab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// Disk is a file system that only its namespace sees.
type Disk struct {
	Dir string // where it is mounted: a path inside the namespace, see Namespace.Path
	ns  *Namespace

	mount []string // arguments of mount, without Dir
}

// Ext4 makes a file system of size bytes in a file of the test's directory and mounts it through a loop device, which
// passes direct I/O on to the file's own file system.
func (n *Namespace) Ext4(t testing.TB, size int64) *Disk {
	t.Helper()
	for _, tool := range []string{"mkfs.ext4", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: install e2fsprogs and mount", tool)
		}
	}
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Run("mkfs.ext4", "-q", "-F", "-m", "0", image); err != nil {
		t.Fatal(err)
	}
	return n.mountDisk(t, filepath.Join(dir, "disk"), "-o", "loop", image)
}

// Tmpfs mounts a tmpfs of size bytes.
func (n *Namespace) Tmpfs(t testing.TB, size int64) *Disk {
	t.Helper()
	return n.mountDisk(t, filepath.Join(t.TempDir(), "tmpfs"), "-t", "tmpfs", "-o", fmt.Sprint("size=", size), "tmpfs")
}

func (n *Namespace) mountDisk(t testing.TB, dir string, args ...string) *Disk {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Run("mount", slices.Concat(args, []string{dir})...); err != nil {
		t.Fatal(err)
	}
	d := &Disk{Dir: dir, ns: n, mount: args}
	t.Cleanup(func() {
		if err := n.Do(func() error { return unix.Unmount(dir, unix.MNT_DETACH) }); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return d
}

// From linux/fs.h.
const (
	fiFreeze = 0xC0045877 // _IOWR('X', 119, int)
	fiThaw   = 0xC0045878
)

// Freeze stops all writing: whoever writes waits until Thaw. The test thaws it at its end at the latest.
func (d *Disk) Freeze(t testing.TB) {
	t.Helper()
	if err := d.control(fiFreeze); err != nil {
		t.Fatalf("freeze %s: %v", d.Dir, err)
	}
	t.Cleanup(func() { _ = d.control(fiThaw) }) // EINVAL if thawed already
}

// Thaw lets writing go on.
func (d *Disk) Thaw(t testing.TB) {
	t.Helper()
	if err := d.control(fiThaw); err != nil {
		t.Fatalf("thaw %s: %v", d.Dir, err)
	}
}

func (d *Disk) control(request uint) error {
	return d.ns.Do(func() error {
		dir, err := os.Open(d.Dir)
		if err != nil {
			return err
		}
		defer dir.Close()
		return unix.IoctlSetInt(int(dir.Fd()), request, 0)
	})
}

// ReadOnly makes the file system read-only, or writable again. It fails with EBUSY while a file is open for writing.
func (d *Disk) ReadOnly(on bool) error {
	flags := uintptr(unix.MS_REMOUNT)
	if on {
		flags |= unix.MS_RDONLY
	}
	err := d.ns.Do(func() error { return unix.Mount("", d.Dir, "", flags, "") })
	if err != nil {
		return fmt.Errorf("remount %s: %w", d.Dir, err)
	}
	return nil
}

// Fail makes every later access an I/O error, as a disk that goes away does, after what is known of its files has been
// stored: ext4's shutdown ioctl. Remount heals it.
func (d *Disk) Fail() error {
	const shutdown, flushLog = 0x8004587D, 1 // EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_LOGFLUSH (fs/ext4/ext4.h)
	err := d.ns.Do(func() error {
		dir, err := os.Open(d.Dir)
		if err != nil {
			return err
		}
		defer dir.Close()
		return unix.IoctlSetPointerInt(int(dir.Fd()), shutdown, flushLog)
	})
	if err != nil {
		return fmt.Errorf("shut down %s: %w", d.Dir, err)
	}
	return nil
}

// Remount unmounts the file system, which nobody may use any more, and mounts it again.
func (d *Disk) Remount() error {
	if err := d.ns.Do(func() error { return unix.Unmount(d.Dir, 0) }); err != nil {
		return fmt.Errorf("unmount %s: %w", d.Dir, err)
	}
	_, err := d.ns.Run("mount", slices.Concat(d.mount, []string{d.Dir})...)
	return err
}

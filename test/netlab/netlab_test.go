package netlab

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDiskIsSeenInsideOnly(t *testing.T) {
	n := Test(t)
	for name, disk := range map[string]*Disk{"ext4": n.Ext4(t, 16<<20), "tmpfs": n.Tmpfs(t, 1<<20)} {
		file := filepath.Join(disk.Dir, "file")
		if err := os.WriteFile(n.Path(file), []byte("x"), 0o600); err != nil {
			t.Fatal(name, err)
		}
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("%s: the machine sees the file: %v", name, err)
		}
		if err := disk.ReadOnly(true); err != nil {
			t.Fatal(name, err)
		}
		if err := os.WriteFile(n.Path(file), []byte("y"), 0o600); err == nil {
			t.Errorf("%s: written although read-only", name)
		}
	}
}

func TestFrozenDiskKeepsWritersWaiting(t *testing.T) {
	n := Test(t)
	disk := n.Ext4(t, 16<<20)
	disk.Freeze(t)
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(n.Path(filepath.Join(disk.Dir, "file")), []byte("x"), 0o600) }()
	select {
	case err := <-written:
		t.Fatalf("written to a frozen disk: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	disk.Thaw(t)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}

func TestFailedDiskHealsByRemount(t *testing.T) {
	n := Test(t)
	disk := n.Ext4(t, 16<<20)
	file := n.Path(filepath.Join(disk.Dir, "file"))
	if err := os.WriteFile(file, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := disk.Fail(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+"2", []byte("after"), 0o600); err == nil {
		t.Error("written to a failed disk")
	}
	if err := disk.Remount(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("lost what was stored before: %v", err)
	}
}

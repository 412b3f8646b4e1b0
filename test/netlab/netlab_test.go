package netlab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ownNamespaces are those that threads or open files of this process still hold, besides the process's own.
func ownNamespaces(t *testing.T) []string {
	t.Helper()
	self, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var held []string
	for _, pattern := range []string{"/proc/self/task/*/ns/net", "/proc/self/fd/*"} {
		paths, _ := filepath.Glob(pattern)
		for _, p := range paths {
			if to, err := os.Readlink(p); err == nil && strings.HasPrefix(to, "net:") && to != self {
				held = append(held, p+" -> "+to)
			}
		}
	}
	return held
}

func TestVethLivesAndDiesWithItsNamespaces(t *testing.T) {
	before, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("inside", func(t *testing.T) {
		node, pod := Test(t), Test(t)
		if err := node.Veth("v0", pod, "eth0"); err != nil {
			t.Fatal(err)
		}
		if err := node.Rename("v0", "v1"); err != nil {
			t.Fatal(err)
		}
		for name, n := range map[string]*Namespace{"v1": node, "eth0": pod} {
			out, err := n.Run("cat", "/sys/class/net/"+name+"/operstate")
			if err != nil || strings.TrimSpace(out) != "up" {
				t.Errorf("%s: state %q, %v, want up", name, out, err)
			}
		}
		if err := node.Remove("v1"); err != nil {
			t.Fatal(err)
		}
		if l, err := pod.Link("eth0"); err == nil {
			t.Errorf("the peer %+v survived its veth", l)
		}
		tun, err := node.Tun("tun0")
		if err != nil {
			t.Fatal(err)
		}
		tun.Close()
		if l, err := node.Link("tun0"); err == nil {
			t.Errorf("the tun device %+v survived its file", l)
		}
	})
	if after, _ := os.ReadDir("/sys/class/net"); len(after) != len(before) {
		t.Errorf("the machine has %d links, had %d", len(after), len(before))
	}
	deadline := time.Now().Add(5 * time.Second) // a thread ends a moment after its goroutine
	for held := ownNamespaces(t); len(held) > 0; held = ownNamespaces(t) {
		if time.Now().After(deadline) {
			t.Fatalf("namespaces left behind: %v", held)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestChildDiesWithItsNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: CAP_SYS_ADMIN makes namespaces")
	}
	n, err := New()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60")
	if err := n.Start(cmd); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("the child ended with %v after %v, want killed at once", err, time.Since(began))
	}
}

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

package api

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "r.sock")
	l, err := listenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("mode %v, %v, want a socket of mode 0660", info.Mode(), err)
	}
	if _, err := listenUnix(path); err == nil || !strings.Contains(err.Error(), "another process listens on "+path) {
		t.Errorf("a second listener: %v", err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the first listener was disturbed: %v", err)
	} else {
		c.Close()
	}
	l.Close()
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket file is left behind")
	}
}

// TestStaleSocket replaces the socket file of a process that died without removing it.
func TestStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no stale file to begin with: %v", err)
	}
	l, err := listenUnix(path)
	if err != nil {
		t.Fatalf("a stale socket is not replaced: %v", err)
	}
	l.Close()
}

func TestSocketRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file:                                 "is there and is no socket: remove it",
		filepath.Join(file, "r.sock"):        "set socket to a path that can be created",
		dir + "/" + strings.Repeat("x", 200): "set socket to a path",
	} {
		if l, err := listenUnix(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want an error with %q", path, l, err, want)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file was changed: %q, %v", b, err)
	}
}

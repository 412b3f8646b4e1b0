package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// describeMachine says where and when the numbers were taken.
func describeMachine(dir string) (string, error) {
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return "", err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "", err
	}
	tcpdump, err := exec.Command("tcpdump", "--version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("tcpdump --version: %w (apt-get install tcpdump)", err)
	}
	return fmt.Sprintf("%s, Linux %s, %s, %d cores, %s, %s.\n", time.Now().UTC().Format(time.DateOnly),
		unix.ByteSliceToString(kernel.Release[:]), processor(), runtime.NumCPU(), fileSystem(int64(fs.Type)),
		strings.ReplaceAll(strings.TrimSpace(firstLines(string(tcpdump), 2)), "\n", ", ")), nil
}

func firstLines(s string, n int) string {
	lines := strings.SplitN(s, "\n", n+1)
	return strings.Join(lines[:min(n, len(lines))], "\n")
}

func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

func fileSystem(magic int64) string {
	switch magic {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	}
	return fmt.Sprintf("file system %#x", magic)
}

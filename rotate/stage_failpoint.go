//go:build failpoint

package rotate

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Stages lists the names that RINGSIDE_FAILPOINT may take.
func Stages() []string {
	return []string{
		"segment-created", "meta-written", "chunk-written",
		"seal-started", "seal-truncated", "seal-synced", "index-temp", "index-written", "renamed", "sealed",
		"retention-unlinked", "pin-created", "pin-linked", "pin-synced", "unpin-unlinked",
		"recovery-walked", "recovery-truncated", "recovery-indexed", "recovery-renamed",
	}
}

var (
	failName, failAt = parseFailpoint(os.Getenv("RINGSIDE_FAILPOINT"))
	failCount        atomic.Int64
)

func parseFailpoint(v string) (string, int64) {
	name, nth, _ := strings.Cut(v, ":")
	n, err := strconv.ParseInt(nth, 10, 64)
	if err != nil {
		n = 1
	}
	return name, n
}

// stage kills the process, as kill -9 would, at the passage that RINGSIDE_FAILPOINT names.
func stage(name string) {
	if name == failName && failCount.Add(1) == failAt {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {} // the signal may take a moment; nothing may happen after it
	}
}

//go:build failpoint

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

var (
	failName, failAt = parse(os.Getenv("RINGSIDE_FAILPOINT"))
	failCount        atomic.Int64
)

func parse(v string) (string, int64) {
	name, nth, _ := strings.Cut(v, ":")
	n, err := strconv.ParseInt(nth, 10, 64)
	if err != nil {
		n = 1
	}
	return name, n
}

// Stage kills the process at the passage that RINGSIDE_FAILPOINT names.
func Stage(name string) {
	if name == failName && failCount.Add(1) == failAt {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {} // the signal may take a moment; nothing may happen after it
	}
}

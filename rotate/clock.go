package rotate

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clock tells the wall clock and the time since boot, both in nanoseconds, taken as close together as possible. It is
// an interface so that tests can step one of them.
type clock interface {
	now() (wall, boot int64)
}

type systemClock struct{}

func (systemClock) now() (wall, boot int64) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Now().UnixNano(), 0 // no kernel this runs on lacks it; without it every step is seen as none
	}
	return time.Now().UnixNano(), ts.Nano()
}

// bootID names this boot of the machine, "" if the kernel does not tell.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

package hoststate

import (
	"time"

	"golang.org/x/sys/unix"
)

// clock notices when the wall clock is set.
type clock struct {
	wall, boot int64     // ns, at the last look
	steady     time.Time // since when it was not set, on the monotonic clock
}

// leastStep is what counts as setting the clock, as the spool has it.
const leastStep = 100 * time.Millisecond

func newClock() (c clock) {
	c.wall, c.boot = clocks()
	c.steady = time.Now()
	return c
}

func clocks() (wall, boot int64) {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // always there since Linux 2.6.39
	return time.Now().UnixNano(), ts.Nano()
}

func (c *clock) stepped() (by time.Duration, ok bool) {
	wall, boot := clocks()
	by = time.Duration((wall - c.wall) - (boot - c.boot))
	c.wall, c.boot = wall, boot
	if ok = by.Abs() > leastStep; ok {
		c.steady = time.Now()
	}
	return by.Round(time.Millisecond), ok
}

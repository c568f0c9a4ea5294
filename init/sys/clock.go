package sys

import (
	"time"

	"golang.org/x/sys/unix"
)

// Uptime is the time since the machine started, the time that it slept included
// (CLOCK_BOOTTIME in clock_gettime(2)), which nobody can set.
func Uptime() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) // fails for no clock that the kernel has (2.6.39)
	return time.Duration(now.Nano())
}

package ext4

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain moves the tests into a mount namespace of their own, so that nothing
// that starts meanwhile with a copy of the machine's mounts keeps a test's busy,
// and no mount is left over whatever happens. It takes an exec: a namespace
// belongs to a thread.
func TestMain(m *testing.M) {
	const moved = "TAZPOD_TEST_MOVED"
	if os.Geteuid() == 0 && os.Getenv(moved) == "" {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
		}
		if err == nil {
			err = syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), moved+"=1"))
		}
		fmt.Fprintln(os.Stderr, "tests stay among the machine's mounts:", err)
	}
	os.Exit(m.Run())
}

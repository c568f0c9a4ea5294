package sys

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DefaultSignals gives every signal that was ignored when this process started
// its default action again, for itself and all that it will execute. The Go
// runtime leaves some inherited ones ignored (32 among them), which an execve
// keeps (signal(7)).
func DefaultSignals() error {
	const ignore = 1 // SIG_IGN
	for n := 1; n <= 64; n++ {
		var action struct { // struct sigaction as the kernel has it
			handler, flags, restorer uintptr
			mask                     uint64
		}
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), 0, uintptr(unsafe.Pointer(&action)), 8, 0, 0); errno != 0 {
			return os.NewSyscallError("rt_sigaction", errno)
		}
		if action.handler != ignore {
			continue
		}
		action.handler = 0 // SIG_DFL
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0); errno != 0 {
			return os.NewSyscallError("rt_sigaction", errno)
		}
	}
	return nil
}

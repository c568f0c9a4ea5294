package pid1

import (
	"syscall"
	"unsafe"
)

// What syscall lacks. golang.org/x/sys/unix has it, and needs packages whose
// initialisation costs this program's start more than all of its own work.
const (
	fOK   = 0 // access(2)
	xOK   = 1
	oPath = 0x200000 // O_PATH, open(2)

	futexWaitPrivate = 0x80 // futex(2)
	futexWakePrivate = 0x81

	pollIn     = 1 // poll(2)
	pollOut    = 4
	sigSetmask = 2 // sigprocmask(2)

	prSetChildSubreaper  = 36 // prctl(2)
	prSetNoNewPrivs      = 38
	prCapAmbient         = 47
	prCapAmbientClearAll = 4

	capabilityVersion3 = 0x20080522 // linux/capability.h
)

// pollFd is poll(2)'s struct pollfd.
type pollFd struct {
	fd              int32
	events, revents int16
}

// ppoll waits for one descriptor's events, meanwhile with only the signals in mask
// blocked, or with a nil mask the usual ones. A nil timeout is none.
func ppoll(fd *pollFd, timeout *syscall.Timespec, mask *uint64) (int, error) {
	n, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(fd)), 1,
		uintptr(unsafe.Pointer(timeout)), uintptr(unsafe.Pointer(mask)), 8, 0)
	return int(n), failure(errno)
}

// futexWait sleeps while *p is value; it can wake up without a reason.
func futexWait(p *uint32, value uint32) {
	syscall.Syscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(p)), futexWaitPrivate, uintptr(value), 0, 0, 0)
}

// futexWake wakes who sleeps on p.
func futexWake(p *uint32) {
	syscall.RawSyscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(p)), futexWakePrivate, 1, 0, 0, 0)
}

func prctl(option int, a uintptr) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, uintptr(option), a, 0, 0, 0, 0)
	return failure(errno)
}

func fcntl(fd, command, argument int) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), uintptr(command), uintptr(argument))
	return int(n), failure(errno)
}

// anyChild is ECHILD when there is no child, not even an ended one. It takes no
// status from the reaper.
func anyChild() error {
	const pAll, options = 0, syscall.WNOHANG | syscall.WEXITED | syscall.WNOWAIT
	_, _, errno := syscall.RawSyscall6(syscall.SYS_WAITID, pAll, 0, 0, options, 0, 0)
	return failure(errno)
}

// ioctl passes a 4-byte number, or room for a larger answer.
func ioctl(fd int, request uintptr, p unsafe.Pointer) error {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(p))
	return failure(errno)
}

// capabilities are the three sets of capset(2), each in two halves.
type capabilities [2]struct{ effective, permitted, inheritable uint32 }

// capCall is capset(2) or capget(2) for the calling thread.
func capCall(number uintptr, sets *capabilities) error {
	header := struct {
		version uint32
		pid     int32
	}{version: capabilityVersion3}
	_, _, errno := syscall.RawSyscall(number, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(sets)), 0)
	return failure(errno)
}

// ids are the real, effective and saved id that SYS_GETRESUID or SYS_GETRESGID gives.
func ids(number uintptr) (set [3]uint32) {
	syscall.RawSyscall(number, uintptr(unsafe.Pointer(&set[0])), uintptr(unsafe.Pointer(&set[1])), uintptr(unsafe.Pointer(&set[2])))
	return set // it can't fail with valid addresses
}

// failure is nil for 0; an error that holds an Errno of 0 would not be.
func failure(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

package ghost

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openTerminal opens a terminal of the ghost's own devpts, whose other end has
// no name there that a session could open.
func openTerminal(size Size) (inner, ends []int, err error) {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
	}
	ends = []int{master}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, ends, os.NewSyscallError("ioctl TIOCSPTLCK", err)
	}
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, ends, os.NewSyscallError("ioctl TIOCGPTPEER", errno)
	}
	inner = []int{int(slave), int(slave), int(slave)}
	if err := setUp(int(slave), size); err != nil {
		closeAll(inner[:1])
		return nil, ends, err
	}
	return inner, ends, nil
}

func setUp(slave int, size Size) error {
	modes, err := unix.IoctlGetTermios(slave, unix.TCGETS)
	if err != nil {
		return os.NewSyscallError("ioctl TCGETS", err)
	}
	modes.Iflag |= unix.IUTF8 // so that erasing removes a character, not a byte
	if err := unix.IoctlSetTermios(slave, unix.TCSETS, modes); err != nil {
		return os.NewSyscallError("ioctl TCSETS", err)
	}
	return setSize(slave, size)
}

func setSize(fd int, size Size) error {
	w := unix.Winsize{Row: size.Rows, Col: size.Columns}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSWINSZ, uintptr(unsafe.Pointer(&w)))
	if errno != 0 {
		return os.NewSyscallError("ioctl TIOCSWINSZ", errno)
	}
	return nil
}

package sys

import (
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Memfd returns a nameless file in RAM, closed on exec (memfd_create(2)). It
// may be swapped: RAMFile is for secrets.
func Memfd(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, &os.PathError{Op: "memfd_create", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), "memfd:"+name), nil
}

// FdPath names descriptor number fd of the process that resolves it, so that a
// child can open what it inherited.
func FdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// Control runs do with f's descriptor, which stays open meanwhile.
func Control(f syscall.Conn, do func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}

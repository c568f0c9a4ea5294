package sys

import (
	"errors"
	"os"
	"strconv"

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
func Control(f *os.File, do func(fd int) error) error {
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

// EachData calls do for every range of f in [from, to) that isn't a hole, in
// order (SEEK_DATA in lseek(2)). A file system that keeps no record of holes
// has one range. It moves f's offset.
func EachData(f *os.File, from, to int64, do func(offset, length int64) error) error {
	for from < to {
		start, end := from, to
		err := Control(f, func(fd int) (err error) {
			if start, err = unix.Seek(fd, from, unix.SEEK_DATA); err == nil {
				end, err = unix.Seek(fd, start, unix.SEEK_HOLE)
			}
			return err
		})
		switch {
		case errors.Is(err, unix.ENXIO): // nothing but a hole up to the end
			return nil
		case errors.Is(err, unix.EINVAL):
			start, end = from, to
		case err != nil:
			return &os.PathError{Op: "lseek", Path: f.Name(), Err: err}
		}
		if start >= to {
			return nil
		}
		end = min(end, to)
		if err := do(start, end-start); err != nil {
			return err
		}
		from = end
	}
	return nil
}

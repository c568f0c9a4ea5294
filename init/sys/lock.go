package sys

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another open file holds the lock.
var ErrLocked = errors.New("locked by another opening")

// Lock takes the write lock of the whole file without waiting. It belongs to
// the open file (F_OFD_SETLK in fcntl(2)): it ends when the last descriptor of
// f closes, however the process ends, and two openings in one process exclude
// each other. f must be open for writing.
func Lock(f *os.File) error {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET}
	err := Control(f, func(fd int) error {
		return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock)
	})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return ErrLocked
	}
	if err != nil {
		return &os.PathError{Op: "fcntl F_OFD_SETLK", Path: f.Name(), Err: err}
	}
	return nil
}

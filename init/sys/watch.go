package sys

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Watch tells whether anything on a file system has changed: content, metadata
// or names, through whatever mount and by whomever, but for what is written
// through a mapping (fanotify(7)).
type Watch struct {
	file   *os.File
	buffer []byte
}

// NewWatch watches the file system that root is on, from now on. It takes
// SYS_ADMIN, and Linux 5.13 for tmpfs. The caller closes it.
func NewWatch(root *os.File) (*Watch, error) {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_REPORT_FID|unix.FAN_NONBLOCK|unix.FAN_CLOEXEC, unix.O_RDONLY)
	if err != nil {
		return nil, os.NewSyscallError("fanotify_init", err)
	}
	w := &Watch{file: os.NewFile(uintptr(fd), "fanotify"), buffer: make([]byte, 16<<10)}
	const changes = unix.FAN_MODIFY | unix.FAN_ATTRIB | unix.FAN_CREATE | unix.FAN_DELETE | unix.FAN_MOVED_FROM | unix.FAN_MOVED_TO | unix.FAN_ONDIR
	err = unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, changes, int(root.Fd()), ".")
	if err != nil {
		return nil, errors.Join(pathError("fanotify_mark", root.Name(), err), w.Close())
	}
	return w, nil
}

// Changed says whether something has changed since it was last called. That the
// kernel dropped events for their number is an event, too.
func (w *Watch) Changed() (changed bool, err error) {
	err = Control(w.file, func(fd int) error {
		for {
			n, err := unix.Read(fd, w.buffer)
			switch {
			case err == unix.EINTR:
			case err == unix.EAGAIN:
				return nil
			case err != nil:
				return os.NewSyscallError("read fanotify", err)
			case n == 0:
				return nil
			default:
				changed = true
			}
		}
	})
	return changed, err
}

// Close ends the watch.
func (w *Watch) Close() error { return w.file.Close() }

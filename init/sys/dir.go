package sys

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Dir is an open directory. Its calls take one name in it, never follow that if
// it is a link, and pass Fault. What they return is an *os.PathError.
type Dir struct{ *os.File }

func (d Dir) path(name string) string { return filepath.Join(d.Name(), name) }

func (d Dir) do(op Op, call func(fd int) error) error {
	path := op.Name
	if op.To != "" {
		path = op.To
	}
	return attempt(op, d.path(path), func(*Op) error { return Control(d.File, call) })
}

// Open opens a file, and doesn't wait for the other end of a FIFO.
func (d Dir) Open(name string, flags int) (*File, error) {
	return d.open("open", name, flags)
}

// Create makes a file of mode 0600, less the umask, for reading and writing.
func (d Dir) Create(name string) (*File, error) {
	return d.open("create", name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
}

func (d Dir) open(call, name string, flags int) (f *File, err error) {
	err = d.do(Op{Call: call, Name: name}, func(dir int) error {
		fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
		if err == nil {
			f = &File{os.NewFile(uintptr(fd), d.path(name)), name}
		}
		return err
	})
	return f, err
}

// Stat describes what has a name.
func (d Dir) Stat(name string) (st unix.Stat_t, err error) {
	err = d.do(Op{Call: "stat", Name: name}, func(fd int) error {
		return unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	return st, err
}

// Names lists the directory.
func (d Dir) Names() (names []string, err error) {
	list, err := d.open("list", ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer list.Close()
	return list.Readdirnames(-1)
}

// Rename replaces what has the name to.
func (d Dir) Rename(from, to string) error {
	return d.do(Op{Call: "rename to", Name: from, To: to}, func(fd int) error {
		return unix.Renameat(fd, from, fd, to)
	})
}

// RenameNew replaces nothing (EEXIST). Not every file system can (EINVAL).
func (d Dir) RenameNew(from, to string) error {
	return d.do(Op{Call: "rename to", Name: from, To: to}, func(fd int) error {
		return unix.Renameat2(fd, from, fd, to, unix.RENAME_NOREPLACE)
	})
}

// Exchange swaps what two names stand for. Not every file system can (EINVAL).
func (d Dir) Exchange(from, to string) error {
	return d.do(Op{Call: "swap with", Name: from, To: to}, func(fd int) error {
		return unix.Renameat2(fd, from, fd, to, unix.RENAME_EXCHANGE)
	})
}

// Link gives a file one more name. It replaces nothing.
func (d Dir) Link(from, to string) error {
	return d.do(Op{Call: "link to", Name: from, To: to}, func(fd int) error {
		return unix.Linkat(fd, from, fd, to, 0)
	})
}

// Remove takes a file's name away.
func (d Dir) Remove(name string) error {
	return d.do(Op{Call: "remove", Name: name}, func(fd int) error {
		return unix.Unlinkat(fd, name, 0)
	})
}

// Sync makes what happened to the names last.
func (d Dir) Sync() error {
	return d.do(Op{Call: "sync", Name: "."}, unix.Fsync)
}

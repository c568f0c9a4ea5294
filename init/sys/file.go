package sys

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// File is a file of a Dir. What follows passes Fault; other methods of os.File
// that read or write don't, and are not for it.
type File struct {
	*os.File
	name string // in its directory, when it was opened
}

func (f *File) do(op Op, call func(op *Op) error) error {
	op.Name = f.name
	return attempt(op, f.File.Name(), call)
}

func (f *File) ReadAt(p []byte, offset int64) (n int, err error) {
	err = f.do(Op{Call: "read", Offset: offset}, func(*Op) (err error) {
		n, err = f.File.ReadAt(p, offset)
		return err
	})
	return n, err
}

// WriteAt writes all of p, in as many calls as the kernel wants.
func (f *File) WriteAt(p []byte, offset int64) (written int, err error) {
	for written < len(p) {
		n := 0
		op := Op{Call: "write", Offset: offset + int64(written), Data: p[written:]}
		err := f.do(op, func(op *Op) error {
			return Control(f.File, func(fd int) (err error) {
				n, err = unix.Pwrite(fd, op.Data, op.Offset)
				return err
			})
		})
		if err == nil && n <= 0 {
			err = pathError("write", f.File.Name(), io.ErrShortWrite)
		}
		if err != nil {
			return written, err
		}
		written += n
	}
	return written, nil
}

func (f *File) Truncate(length int64) error {
	return f.do(Op{Call: "truncate", Offset: length}, func(*Op) error { return f.File.Truncate(length) })
}

func (f *File) Chmod(mode os.FileMode) error {
	return f.do(Op{Call: "chmod"}, func(*Op) error { return f.File.Chmod(mode) })
}

func (f *File) Chown(uid, gid int) error {
	return f.do(Op{Call: "chown"}, func(*Op) error { return f.File.Chown(uid, gid) })
}

// Sync makes the content last, and not the name.
func (f *File) Sync() error {
	return f.do(Op{Call: "sync"}, func(*Op) error { return f.File.Sync() })
}

// Uncache lets what is read next come from the disk. It is only advice.
func (f *File) Uncache() {
	_ = Control(f.File, func(fd int) error { return unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) })
}

// Stat describes an open file in full.
func Stat(f *os.File) (st unix.Stat_t, err error) {
	err = Control(f, func(fd int) error { return unix.Fstat(fd, &st) })
	return st, pathError("stat", f.Name(), err)
}

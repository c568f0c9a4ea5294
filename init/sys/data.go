package sys

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sparse is a file that can have holes: an *os.File or a *File.
type Sparse interface {
	io.ReaderAt
	syscall.Conn
	Name() string
	Stat() (os.FileInfo, error)
}

// EachData calls do for every range of f in [from, to) that isn't a hole, in
// order (SEEK_DATA in lseek(2)): its cost follows the data, however large the
// file says it is. A file system that keeps no record of holes has one range;
// ramfs keeps none, but a page that is no data there has no memory either. It
// moves f's offset, and ends with ctx. f must be open for reading.
func EachData(ctx context.Context, f Sparse, from, to int64, do func(offset, length int64) error) error {
	var fs unix.Statfs_t
	if err := Control(f, func(fd int) error { return unix.Fstatfs(fd, &fs) }); err != nil {
		return pathError("fstatfs", f.Name(), err)
	}
	if fs.Type == unix.RAMFS_MAGIC {
		return eachResident(ctx, f, from, to, do)
	}
	for from < to {
		if err := ctx.Err(); err != nil {
			return err
		}
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
			return pathError("lseek", f.Name(), err)
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

// Punch makes a hole of [from, to), whose bytes are zero from then on (fallocate(2)).
func Punch(f *os.File, from, to int64) error {
	if from >= to {
		return nil
	}
	return Control(f, func(fd int) error {
		err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from)
		return pathError("punch a hole in", f.Name(), err)
	})
}

// eachResident is EachData for ramfs, which calls a whole file data, its holes
// too, and gives a hole that is read a page of memory for good. There a page has
// memory exactly when it is resident. What lies behind the end of the file is a
// hole.
func eachResident(ctx context.Context, f Sparse, from, to int64, do func(offset, length int64) error) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	to = min(to, info.Size())
	page := int64(os.Getpagesize())
	const window = 64 << 20
	resident := make([]byte, window/page)
	for at := from / page * page; at < to; at += window {
		if err := ctx.Err(); err != nil {
			return err
		}
		pages := (min(window, to-at) + page - 1) / page
		if err := mincore(f, at, pages*page, resident); err != nil {
			return err
		}
		for i := int64(0); i < pages; i++ {
			if resident[i]&1 == 0 {
				continue
			}
			first := i
			for i+1 < pages && resident[i+1]&1 != 0 {
				i++
			}
			start, end := max(from, at+first*page), min(to, at+(i+1)*page)
			if err := do(start, end-start); err != nil {
				return err
			}
		}
	}
	return nil
}

// mincore says in resident which pages of a range are (mincore(2)).
func mincore(f Sparse, offset, length int64, resident []byte) error {
	return Control(f, func(fd int) error {
		view, err := unix.Mmap(fd, offset, int(length), unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return pathError("mmap", f.Name(), err)
		}
		_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&view[0])), uintptr(length), uintptr(unsafe.Pointer(&resident[0])))
		if err := unix.Munmap(view); err != nil {
			return pathError("munmap", f.Name(), err)
		}
		if errno != 0 {
			return pathError("mincore", f.Name(), errno)
		}
		return nil
	})
}

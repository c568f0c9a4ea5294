package sys

import (
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// zeroes is what files are overwritten with.
var zeroes [1 << 20]byte

// Zero overwrites a file in place, holes excepted, also one that a process of a
// ghost may have shaped: on ramfs too its holes stay holes, and the rest of its
// last page, which a mapping can write but no read returns, is zeroed with it:
// the file grows to that page's end. Nothing is truncated, so that the pages
// which held the data are the pages which are zeroed. f must be open for reading
// and writing, on tmpfs or ramfs.
func Zero(f *os.File) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return pathError("fstatfs", f.Name(), err)
	}
	if fs.Type == unix.RAMFS_MAGIC {
		return zeroResident(f)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return EachData(f, 0, info.Size(), func(offset, length int64) error {
		return zeroPages(f, offset, offset+length)
	})
}

// zeroPages zeroes the whole pages of which [start, end) has a part.
func zeroPages(f *os.File, start, end int64) error {
	page := int64(os.Getpagesize())
	end = (end + page - 1) / page * page
	for start < end {
		n, err := unix.Pwrite(int(f.Fd()), zeroes[:min(end-start, int64(len(zeroes)))], start)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return pathError("zero", f.Name(), err)
		}
		start += int64(n)
	}
	return nil
}

// zeroResident is Zero for ramfs, which calls a whole file data, its holes too:
// writing to those would take the memory that they spare. There a page has
// memory exactly when it is resident.
func zeroResident(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return pathError("fstat", f.Name(), err)
	}
	page := int64(os.Getpagesize())
	const window = 64 << 20
	resident := make([]byte, window/page)
	for offset := int64(0); offset < st.Size; offset += window {
		length := min(window, st.Size-offset)
		view, err := unix.Mmap(int(f.Fd()), offset, int(length), unix.PROT_READ, unix.MAP_SHARED)
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
		for i := int64(0); i*page < length; i++ {
			if resident[i]&1 == 0 {
				continue
			}
			if err := zeroPages(f, offset+i*page, offset+(i+1)*page); err != nil {
				return err
			}
		}
	}
	return nil
}

package sys

import (
	"context"
	"io"
	"os"

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
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return EachData(context.Background(), f, 0, info.Size(), func(offset, length int64) error {
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

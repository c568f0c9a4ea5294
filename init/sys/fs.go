package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// SyncFS writes to disk all that the file system of f has in RAM (syncfs(2)).
func SyncFS(f *os.File) error {
	return Control(f, func(fd int) error { return pathError("syncfs", f.Name(), unix.Syncfs(fd)) })
}

// Space is what a file system says of its room, in bytes, and of its state.
type Space struct {
	Size, Free int64
	ReadOnly   bool // on the whole, whatever the mount says
}

// SpaceOf looks at the file system of f.
func SpaceOf(f *os.File) (Space, error) {
	var st unix.Statfs_t
	if err := Control(f, func(fd int) error { return unix.Fstatfs(fd, &st) }); err != nil {
		return Space{}, pathError("fstatfs", f.Name(), err)
	}
	return Space{Size: int64(st.Blocks) * st.Bsize, Free: int64(st.Bavail) * st.Bsize, ReadOnly: st.Flags&unix.ST_RDONLY != 0}, nil
}

// Reserve gives a file of size bytes all the blocks that it will ever need
// (fallocate(2)). EOPNOTSUPP: the file system has no such promise.
func Reserve(f *os.File, size int64) error {
	return Control(f, func(fd int) error {
		for {
			err := unix.Fallocate(fd, 0, 0, size)
			if err != unix.EINTR {
				return pathError("fallocate", f.Name(), err)
			}
		}
	})
}

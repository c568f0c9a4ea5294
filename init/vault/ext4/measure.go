package ext4

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// size is what a tree takes at least.
type size struct {
	inodes int
	names  int // without those of directories
	bytes  int64
}

// measure counts a tree's inodes and bytes, up to capacity. An attribute that
// may need an inode of its own counts as one.
func measure(ctx context.Context, tree *os.File, capacity int64) (size, error) {
	m := &measurement{ctx: ctx, capacity: capacity, seen: map[fileID]bool{}}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(tree.Fd()), &fs); err != nil {
		return size{}, os.NewSyscallError("fstatfs", err)
	}
	m.holes = fs.Type == unix.RAMFS_MAGIC
	d, err := openRoot(tree)
	if err != nil {
		return size{}, err
	}
	defer d.Close()
	err = m.dir(d)
	return m.size, err
}

type measurement struct {
	size
	ctx      context.Context
	capacity int64
	// holes count as data: ramfs tells neither how many blocks a file has nor
	// where they are, and mke2fs, reading its holes, would fill them with memory.
	holes bool
	seen  map[fileID]bool
}

// file counts what a file that is no directory takes.
func (m *measurement) file(d folder, name string, st *unix.Stat_t) error {
	if st.Size > MaxFile {
		return d.fail("save", name, ErrTooLong)
	}
	bytes := min(st.Blocks*512, st.Size)
	if m.holes {
		bytes = st.Size
	}
	m.inodes++
	if m.bytes += bytes; m.bytes <= m.capacity {
		return m.attrs(d, name)
	}
	err := fmt.Errorf("%w: more than %d bytes in a vault of %d", ErrFull, m.bytes-1, m.capacity)
	if bytes > m.capacity {
		return d.fail("save", name, err) // no other file is to blame
	}
	return err
}

func (m *measurement) dir(d folder) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	if err := m.attrs(d, "."); err != nil {
		return err
	}
	m.inodes++
	names, err := d.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		if len(d.join(name)) > MaxPath {
			return d.fail("save", name, fmt.Errorf("the path has more than %d bytes", MaxPath))
		}
		st, err := d.stat(name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			sub, err := d.open(name)
			if err == nil {
				err = m.dir(sub)
				sub.Close()
			}
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
			continue
		}
		m.names++
		id := fileID{uint64(st.Dev), st.Ino}
		if st.Nlink > 1 && m.seen[id] {
			continue
		}
		m.seen[id] = st.Nlink > 1
		if err := m.file(d, name, &st); err != nil {
			return err
		}
	}
	return nil
}

// ownInode is the size in bytes of a value from which on it may be kept in an
// inode of its own; smaller ones can end there too, but only a few at a time.
const ownInode = 512

func (m *measurement) attrs(d folder, name string) error {
	attrs, err := d.xattrs(name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	for _, a := range attrs {
		if len(a.value) >= ownInode {
			m.inodes++
		}
	}
	return err
}

package sys

import (
	"bytes"
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// bytesPerInode is how much of a RAM file system's size stands for one file: an
// inode with its name takes about a quarter of it.
const bytesPerInode = 4096

func inodesFor(size int64) int64 { return max(16, size/bytesPerInode) }

// NewRAM makes a file system that never leaves RAM, as a mount that is attached
// nowhere yet: tmpfs with noswap (Linux 6.4), plain tmpfs where nothing is
// swapped anyway, else ramfs, which can't be limited. size is in bytes, tmpfs's
// own limit if 0. Its root belongs to root, mode 0700. what says what it came to
// be, for people.
func NewRAM(size int64) (mount *os.File, what string, err error) {
	const attributes = NoSUID | NoDev
	options := []string{"source=tazpod", "mode=0700"}
	if size > 0 {
		// Empty files take the kernel's memory, which size doesn't count.
		options = append(options, "size="+strconv.FormatInt(size, 10), "nr_inodes="+strconv.FormatInt(inodesFor(size), 10))
	}
	mount, err = NewMount("tmpfs", attributes, append(options, "noswap")...)
	if err == nil {
		return mount, "tmpfs noswap", nil
	}
	if !errors.Is(err, unix.EINVAL) {
		return nil, "", err
	}
	swap, err := Swapping()
	if err != nil {
		return nil, "", err
	}
	if swap {
		mount, err := NewMount("ramfs", attributes, "source=tazpod", "mode=0700")
		return mount, "ramfs: swap is on, and this kernel's tmpfs can't avoid it", err
	}
	mount, err = NewMount("tmpfs", attributes, options...)
	return mount, "tmpfs; swap is off", err
}

// LimitRAM sets the limits of the file system that root is on, one of NewRAM's, to
// size bytes and so many names, but no more than NewRAM has for that size: what is
// in use stays, and ramfs has no limits.
func LimitRAM(root *os.File, size, names int64) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(root.Fd()), &fs); err != nil {
		return pathError("fstatfs", root.Name(), err)
	}
	if fs.Type != unix.TMPFS_MAGIC {
		return nil
	}
	context, err := unix.Fspick(int(root.Fd()), "", unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH)
	if err != nil {
		return pathError("fspick", root.Name(), err)
	}
	defer unix.Close(context)
	for _, limit := range []struct {
		key        string
		want, used int64
	}{
		{"size", size, int64(fs.Blocks-fs.Bfree) * fs.Bsize},
		{"nr_inodes", min(names, inodesFor(size)), int64(fs.Files - fs.Ffree)},
	} {
		value := strconv.FormatInt(max(limit.want, limit.used), 10)
		if err := unix.FsconfigSetString(context, limit.key, value); err != nil {
			return pathError("limit "+limit.key, value, explain(context, err))
		}
	}
	if err := unix.FsconfigReconfigure(context); err != nil {
		return pathError("limit RAM", root.Name(), explain(context, err))
	}
	return nil
}

// RAMFile returns a nameless file that never leaves RAM, for what is secret:
// memfd_create(2) gives one that may be swapped. Where mounting is refused it is
// that all the same, unless the machine has swap. The caller zeroes and closes
// it. size is in bytes the most that it will ever hold, so that whoever writes
// to it gets ENOSPC instead of all of the machine's memory.
func RAMFile(name string, size int64) (*os.File, error) {
	mount, _, err := NewRAM(size)
	if err != nil {
		if swap, swapErr := Swapping(); swap || swapErr != nil {
			return nil, errors.Join(err, swapErr)
		}
		return Memfd(name)
	}
	defer mount.Close()
	fd, err := unix.Openat(int(mount.Fd()), name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, pathError("create in RAM", name, err)
	}
	f := os.NewFile(uintptr(fd), "RAM:"+name)
	if err := unix.Unlinkat(int(mount.Fd()), name, 0); err != nil {
		return nil, errors.Join(pathError("unlink", name, err), f.Close())
	}
	return f, nil
}

// Swapping tells whether the machine has swap.
func Swapping() (bool, error) {
	text, err := os.ReadFile("/proc/swaps")
	if errors.Is(err, os.ErrNotExist) { // a kernel without it
		return false, nil
	}
	return bytes.Count(text, []byte("\n")) > 1, err
}

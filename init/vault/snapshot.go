package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/vault/ext4"
	"golang.org/x/sys/unix"
)

// snapshot is a copy of a tree that nobody else can see: a mount in RAM that is
// attached nowhere. Each file in it is as it was at one moment, if its writer
// ever pauses for as long as copying it takes.
type snapshot struct {
	*os.File
	sieve  *sieve
	names  map[uint64]string // first name of files with several, by inode of the source
	buffer []byte            // while it is made
}

// steadyTries is how often a file that is being written is copied again.
const steadyTries = 3

// takeSnapshot copies tree, which may take limit bytes: that of the vault, for no
// file takes less in ext4 than in tmpfs, and more than that couldn't be saved
// anyway. What no vault can hold is left out. It wraps ErrFull. The caller wipes the snapshot.
func takeSnapshot(ctx context.Context, tree *os.File, limit int64) (*snapshot, error) {
	root, err := emptyRAM("snapshot", limit)
	if err != nil {
		return nil, err
	}
	s := &snapshot{root, newSieve(), map[uint64]string{}, make([]byte, 128<<10)}
	defer clear(s.buffer)
	// Finished last, inner ones first: making entries changes times, and takes over
	// a default access list.
	type directory struct {
		*entry
		attrs []attribute
	}
	var dirs []directory
	err = walk(ctx, tree, func(e *entry) error {
		if err := s.sieve.take(e); err != nil {
			return err
		}
		err := s.copy(ctx, e)
		if err == nil && e.kind() == unix.S_IFDIR {
			var attrs []attribute
			attrs, err = s.sieve.attributes(e)
			dirs = append(dirs, directory{&entry{path: e.path, Stat_t: e.Stat_t}, attrs})
		}
		if gone(err) {
			err = errors.Join(err, s.drop(e))
		}
		return err
	})
	for i := len(dirs) - 1; i >= 0 && err == nil; i-- {
		err = s.finish(dirs[i].entry, dirs[i].attrs)
	}
	if errors.Is(err, unix.ENOSPC) {
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	if err != nil {
		return nil, errors.Join(err, s.wipe())
	}
	return s, nil
}

// emptyRAM returns the top of a file system in RAM of limit bytes, attached
// nowhere: it belongs to root, nobody else can reach it, and it is gone when the
// last of its files is closed.
func emptyRAM(name string, limit int64) (*os.File, error) {
	mount, _, err := sys.NewRAM(limit)
	if err != nil {
		return nil, err
	}
	defer mount.Close() // it only names a place
	fd, err := unix.Openat(int(mount.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("openat", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// at names the copy of path for the calls that take no descriptor. Nobody but
// us makes names in a snapshot, and it has no links that lead out of the last
// component.
func (s *snapshot) at(path string) string { return sys.FdPath(int(s.Fd())) + "/" + path }

func (s *snapshot) fd() int { return int(s.Fd()) }

func (s *snapshot) copy(ctx context.Context, e *entry) error {
	if e.path == "." {
		return nil
	}
	if e.kind() == unix.S_IFDIR {
		return e.fail("mkdir", unix.Mkdirat(s.fd(), e.path, 0o700))
	}
	if first, again := s.names[e.Ino]; again && e.Nlink > 1 {
		return e.fail("link", unix.Linkat(s.fd(), first, s.fd(), e.path, 0))
	}
	if e.kind() == unix.S_IFLNK {
		target := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(int(e.dir.Fd()), e.name, target)
		if err == nil {
			err = unix.Symlinkat(string(target[:n]), s.fd(), e.path)
		}
		if err != nil {
			return e.fail("symlink", err)
		}
	} else if err := s.copyFile(ctx, e); err != nil {
		return err
	}
	s.names[e.Ino] = e.path
	attrs, err := s.sieve.attributes(e)
	if err != nil {
		return err
	}
	return s.finish(e, attrs)
}

// copyFile copies a regular file until it was quiet meanwhile, or often enough.
// It leaves in e what the file was like at the end.
func (s *snapshot) copyFile(ctx context.Context, e *entry) error {
	fd, err := unix.Openat(int(e.dir.Fd()), e.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return e.fail("open", err)
	}
	src := e.file(fd)
	defer src.Close()
	if _, err := regular(src); err != nil {
		return e.fail("open", errMoving)
	}
	fd, err = unix.Openat(s.fd(), e.path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return e.fail("copy", err)
	}
	dst := e.file(fd)
	defer dst.Close()
	for try := 1; ; try++ {
		var before unix.Stat_t
		if err := unix.Fstat(int(src.Fd()), &before); err != nil {
			return e.fail("stat", err)
		}
		if before.Size > ext4.MaxFile {
			return e.fail("copy", errMoving)
		}
		if err := s.copyContent(ctx, dst, src, before.Size); err != nil {
			return err
		}
		if err := unix.Fstat(int(src.Fd()), &e.Stat_t); err != nil {
			return e.fail("stat", err)
		}
		if e.Size == before.Size && e.Mtim == before.Mtim && e.Ctim == before.Ctim || try == steadyTries {
			return nil
		}
		if err := errors.Join(sys.Zero(dst), dst.Truncate(0)); err != nil {
			return err
		}
	}
}

// copyContent makes dst, which is empty, what the first size bytes of src are;
// pages of zeroes become holes.
func (s *snapshot) copyContent(ctx context.Context, dst, src *os.File, size int64) error {
	if err := dst.Truncate(size); err != nil {
		return err
	}
	return eachPiece(ctx, src, size, s.buffer, func(p []byte, offset int64) error {
		_, err := dst.WriteAt(p, offset)
		return err
	})
}

// drop removes the copy of a file that was half made when its name went away.
func (s *snapshot) drop(e *entry) error {
	delete(s.names, e.Ino)
	fd, err := unix.Openat(s.fd(), e.path, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // not made, or without content
	}
	f := e.file(fd)
	defer f.Close()
	return errors.Join(sys.Zero(f), e.fail("remove", unix.Unlinkat(s.fd(), e.path, 0)))
}

func (s *snapshot) setAttributes(path string, attrs []attribute) error {
	for _, a := range attrs {
		if err := unix.Lsetxattr(s.at(path), a.name, a.value, 0); err != nil {
			return &os.PathError{Op: "setxattr " + strconv.Quote(a.name), Path: strconv.Quote(path), Err: err}
		}
	}
	return nil
}

// finish gives the copy its owner, mode, attributes and times, in this order:
// chown drops set-id bits and capabilities, and everything changes times.
func (s *snapshot) finish(e *entry, attrs []attribute) error {
	if err := unix.Fchownat(s.fd(), e.path, int(e.Uid), int(e.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return e.fail("chown", err)
	}
	if e.kind() != unix.S_IFLNK {
		if err := unix.Fchmodat(s.fd(), e.path, e.Mode&0o7777, 0); err != nil {
			return e.fail("chmod", err)
		}
	}
	if err := s.setAttributes(e.path, attrs); err != nil {
		return err
	}
	times := []unix.Timespec{e.Atim, e.Mtim}
	return e.fail("set times", unix.UtimesNanoAt(s.fd(), e.path, times, unix.AT_SYMLINK_NOFOLLOW))
}

// wipe zeroes every file of the snapshot and lets its memory go.
func (s *snapshot) wipe() error {
	err := walk(context.Background(), s.File, func(e *entry) error {
		if e.kind() != unix.S_IFREG {
			return nil
		}
		fd, err := unix.Openat(int(e.dir.Fd()), e.name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return e.fail("open", err)
		}
		f := e.file(fd)
		defer f.Close()
		return sys.Zero(f)
	})
	return errors.Join(err, s.Close())
}

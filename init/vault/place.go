package vault

import (
	"errors"
	"fmt"
	"os"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
	"golang.org/x/sys/unix"
)

// Every file here is reached by one name below Place.Dir, and no link is followed.

// stamp tells one generation on disk from another. A new one always has another
// inode, for the old one keeps its own until after the rename.
type stamp struct {
	dev, ino uint64
	size     int64
	modified unix.Timespec
}

func stampOf(st *unix.Stat_t) stamp {
	return stamp{uint64(st.Dev), st.Ino, st.Size, st.Mtim}
}

// fail wraps what a call on a file of the vault's directory returned.
func (p Place) fail(op, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ELOOP):
		err = ErrLink
	case errors.Is(err, unix.EBUSY):
		err = ErrMountPoint
	}
	return &os.PathError{Op: op, Path: p.path(name), Err: err}
}

func (p Place) fd() int { return int(p.Dir.Fd()) }

func (p Place) stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(p.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, p.fail("stat", name, err)
}

func (p Place) open(name string, flags int) (*os.File, error) {
	// Not blocking, so that a FIFO can't hold us up before it is looked at.
	fd, err := unix.Openat(p.fd(), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, p.fail("open", name, err)
	}
	return os.NewFile(uintptr(fd), p.path(name)), nil
}

// create makes a new file that belongs to the vault's owner.
func (p Place) create(name string) (*os.File, error) {
	f, err := p.open(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return nil, err
	}
	err = errors.Join(p.own(f), p.fail("chmod", name, f.Chmod(0o600))) // whatever the umask
	if err != nil {
		err = errors.Join(err, f.Close(), p.remove(name))
		return nil, err
	}
	return f, nil
}

// own gives a new file to the vault's owner. Where the file system has owners of
// its own (a share of another machine, a squashed root) that is no reason to
// lose a save.
func (p Place) own(f *os.File) error {
	err := f.Chown(p.Owner, p.Group)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

// remove takes a name away; that it isn't there is fine.
func (p Place) remove(name string) error {
	err := unix.Unlinkat(p.fd(), name, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return p.fail("remove", name, err)
}

func (p Place) rename(from, to string) error {
	return p.fail("rename to", to, unix.Renameat(p.fd(), from, p.fd(), to))
}

// sync makes what happened to the names in the directory last.
func (p Place) sync() error {
	err := unix.Fsync(p.fd())
	if errors.Is(err, unix.EINVAL) { // a file system without it
		return nil
	}
	return p.fail("sync", "", err)
}

// openVault opens vault.img for reading and refuses what could not be replaced
// by a save.
func (p Place) openVault() (*os.File, stamp, error) {
	name := wire.VaultFile
	f, err := p.open(name, unix.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return nil, stamp{}, fmt.Errorf("%s: %w", p.path(name), ErrAbsent)
	}
	if errors.Is(err, unix.ENXIO) { // a socket
		return nil, stamp{}, p.fail("open", name, ErrNotAFile)
	}
	if err != nil {
		return nil, stamp{}, err
	}
	s, err := regular(f)
	if err != nil {
		f.Close()
		return nil, s, fmt.Errorf("%s: %w", p.path(name), err)
	}
	return f, s, nil
}

// regular refuses everything but a regular file that isn't a mount point.
func regular(f *os.File) (s stamp, err error) {
	err = sys.Control(f, func(fd int) error {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		s = stampOf(&st)
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			return ErrNotAFile
		}
		var stx unix.Statx_t
		err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, 0, &stx)
		if err == nil && stx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
			return ErrMountPoint
		}
		return nil // an old kernel doesn't tell: the rename will
	})
	return s, err
}

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

func (p Place) dir() sys.Dir { return sys.Dir{File: p.Dir} }

// named gives what a call on a file of the vault's directory returned the names
// of this package.
func named(err error) error {
	var at *os.PathError
	switch {
	case !errors.As(err, &at):
	case errors.Is(at.Err, unix.ELOOP):
		at.Err = ErrLink
	case errors.Is(at.Err, unix.EBUSY):
		at.Err = ErrMountPoint
	}
	return err
}

func (p Place) stat(name string) (unix.Stat_t, error) { return p.dir().Stat(name) }

func (p Place) open(name string, flags int) (*sys.File, error) {
	f, err := p.dir().Open(name, flags)
	return f, named(err)
}

// create makes a new file that belongs to the vault's owner.
func (p Place) create(name string) (*sys.File, error) {
	f, err := p.dir().Create(name)
	if err != nil {
		return nil, named(err)
	}
	if err := errors.Join(p.own(f), f.Chmod(0o600)); err != nil { // whatever the umask
		return nil, errors.Join(err, f.Close(), p.remove(name))
	}
	return f, nil
}

// own gives a new file to the vault's owner. Where the file system has owners of
// its own (a share of another machine, a squashed root) that is no reason to
// lose a save.
func (p Place) own(f *sys.File) error {
	err := f.Chown(p.Owner, p.Group)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

// remove takes a name away; that it isn't there is fine.
func (p Place) remove(name string) error {
	err := p.dir().Remove(name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return named(err)
}

func (p Place) rename(from, to string) error { return named(p.dir().Rename(from, to)) }

// sync makes what happened to the names in the directory last.
func (p Place) sync() error {
	err := p.dir().Sync()
	if errors.Is(err, unix.EINVAL) { // a file system without it
		return nil
	}
	return err
}

// openVault opens vault.img for reading and refuses what could not be replaced
// by a save.
func (p Place) openVault() (*sys.File, stamp, error) {
	name := wire.VaultFile
	f, err := p.open(name, unix.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return nil, stamp{}, fmt.Errorf("%s: %w", p.path(name), ErrAbsent)
	}
	if errors.Is(err, unix.ENXIO) { // a socket
		return nil, stamp{}, fmt.Errorf("%s: %w", p.path(name), ErrNotAFile)
	}
	if err != nil {
		return nil, stamp{}, err
	}
	s, err := regular(f.File)
	if err != nil {
		f.Close()
		return nil, s, fmt.Errorf("%s: %w", p.path(name), err)
	}
	return f, s, nil
}

// regular refuses everything but a regular file that isn't a mount point.
func regular(f *os.File) (stamp, error) {
	st, err := sys.Stat(f)
	if err != nil {
		return stamp{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return stamp{}, ErrNotAFile
	}
	mounted, err := sys.IsMountPoint(f)
	if err == nil && mounted { // an old kernel doesn't tell: the rename will
		return stamp{}, ErrMountPoint
	}
	return stampOf(&st), nil
}

package ghost

import (
	"errors"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
)

// MakeAll opens the directory name below at, through no symbolic link, and makes
// what is missing of it, with a mode and an owner. The caller closes it.
func MakeAll(at *os.File, name string, mode, owner uint32) (*os.File, error) {
	for i, c := range name {
		if c != '/' {
			continue
		}
		dir, err := makeDir(at, name[:i], mode, owner)
		if err != nil {
			return nil, err
		}
		dir.Close()
	}
	return makeDir(at, name, mode, owner)
}

// makeDir opens the directory name below at. When it is missing it is made,
// with a mode that no umask changes and an owner.
func makeDir(at *os.File, name string, mode, owner uint32) (*os.File, error) {
	dir, err := sys.OpenFile(at, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if !errors.Is(err, unix.ENOENT) {
		return dir, err
	}
	parent := at
	if above := path.Dir(name); above != "." {
		if parent, err = sys.OpenPath(at, above, unix.O_DIRECTORY); err != nil {
			return nil, err
		}
		defer parent.Close()
	}
	if err := unix.Mkdirat(int(parent.Fd()), path.Base(name), 0o700); errors.Is(err, unix.EEXIST) { // by another ghost's start
		return sys.OpenFile(at, name, unix.O_RDONLY|unix.O_DIRECTORY)
	} else if err != nil {
		return nil, &os.PathError{Op: "mkdir", Path: path.Join(at.Name(), name), Err: err}
	}
	if dir, err = sys.OpenFile(at, name, unix.O_RDONLY|unix.O_DIRECTORY); err != nil {
		return nil, err
	}
	return dir, errors.Join(own(dir, owner), chmod(dir, mode))
}

func own(f *os.File, owner uint32) error {
	if owner == 0 {
		return nil
	}
	if err := unix.Fchown(int(f.Fd()), int(owner), int(owner)); err != nil {
		return &os.PathError{Op: "chown", Path: f.Name(), Err: err}
	}
	return nil
}

func chmod(f *os.File, mode uint32) error {
	if err := unix.Fchmod(int(f.Fd()), mode); err != nil {
		return &os.PathError{Op: "chmod", Path: f.Name(), Err: err}
	}
	return nil
}

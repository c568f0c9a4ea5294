package ghost

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

// mountHome mounts a home directory in RAM and fills it from root's template,
// never from the pod's live home: a program outside could have planted a line
// in its ~/.bashrc. Without a template it is empty.
func (b *builder) mountHome() error {
	if err := b.mountFresh(directory{"home", wire.Home, 0o700}, b.config.KernelID, sys.NoSUID|sys.NoDev); err != nil {
		return err
	}
	source, err := sys.OpenFile(nil, b.config.Template, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer source.Close()
	if _, err := rootsAlone(source); err != nil {
		return err
	}
	home, err := sys.OpenFile(b.base, "home", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer home.Close()
	return b.copyTemplate(source, home)
}

// rootsAlone is nil when nobody but root could have written f.
func rootsAlone(f *os.File) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return st, &os.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	if st.Uid != 0 || st.Mode&unix.S_IFMT != unix.S_IFLNK && st.Mode&0o022 != 0 {
		return st, fmt.Errorf("%s is not root's alone (owner %d, mode %o): a home directory isn't filled from it", f.Name(), st.Uid, st.Mode&0o7777)
	}
	return st, nil
}

func (b *builder) copyTemplate(source, target *os.File) error {
	entries, err := source.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := b.copyEntry(source, target, e.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) copyEntry(source, target *os.File, name string) error {
	place, err := sys.OpenPath(source, name, unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer place.Close()
	st, err := rootsAlone(place)
	if err != nil {
		return err
	}
	mode := st.Mode & 0o777
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK: // only so with O_NOFOLLOW; where it leads is followed by nobody here
		return b.copyLink(place, target, name)
	case unix.S_IFDIR:
		from, err := sys.OpenFile(source, name, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer from.Close()
		to, err := makeDir(target, name, mode, b.config.KernelID)
		if err != nil {
			return err
		}
		defer to.Close()
		return b.copyTemplate(from, to)
	case unix.S_IFREG:
		from, err := sys.OpenFile(source, name, unix.O_RDONLY)
		if err != nil {
			return err
		}
		defer from.Close()
		to, err := sys.OpenFile(target, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
		if err != nil {
			return err
		}
		defer to.Close()
		_, err = io.Copy(to, from)
		return errors.Join(err, own(to, b.config.KernelID), chmod(to, mode))
	}
	return fmt.Errorf("%s is neither a file, a directory nor a link: a home directory isn't filled with it", place.Name())
}

func (b *builder) copyLink(link, target *os.File, name string) error {
	text := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(link.Fd()), "", text)
	if err == nil {
		err = unix.Symlinkat(string(text[:n]), int(target.Fd()), name)
	}
	if err == nil {
		err = unix.Fchownat(int(target.Fd()), name, int(b.config.KernelID), int(b.config.KernelID), unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return &os.PathError{Op: "copy the link", Path: link.Name(), Err: err}
	}
	return nil
}

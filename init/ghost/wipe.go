package ghost

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
)

// Wipe zeroes in place every regular file below path, a RAM file system,
// whatever its mode and name and however deep it lies. It follows no symbolic
// link, enters no other file system, truncates nothing (a file may grow to the
// end of its last page), and goes on after an error. Call it when nothing
// writes there any more; names, link targets and attributes stay until the file
// system goes.
func Wipe(path string) error {
	root, err := sys.OpenFile(nil, path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := inRAM(root); err != nil {
		return err
	}
	w := wiper{linked: map[uint64]bool{}}
	w.walk(root)
	return errors.Join(w.errs...)
}

type wiper struct {
	linked map[uint64]bool // inodes with several names that are done
	errs   []error
}

// level is a directory on the way down: the subdirectories that are still to
// be visited. No descriptor stays open, so that depth costs none; the way up is
// "..", which must be where the way down came from.
type level struct {
	inode   uint64
	waiting []string
}

const maxErrors = 20 // as many as anybody would read

func (w *wiper) fail(err error) {
	if len(w.errs) < maxErrors {
		w.errs = append(w.errs, err)
	}
}

func (w *wiper) walk(root *os.File) {
	current := root
	waiting, inode := w.files(root)
	levels := []level{{inode, waiting}}
	for {
		here := &levels[len(levels)-1]
		var next *os.File
		var err error
		down := len(here.waiting) > 0
		if down {
			name := here.waiting[len(here.waiting)-1]
			here.waiting = here.waiting[:len(here.waiting)-1]
			if next, err = openChild(current, name, unix.O_RDONLY|unix.O_DIRECTORY); err != nil {
				w.fail(err)
				continue
			}
		} else {
			levels = levels[:len(levels)-1]
			if len(levels) == 0 {
				break
			}
			if next, err = openParent(current, levels[len(levels)-1].inode); err != nil {
				w.fail(err)
				break // the rest can't be reached
			}
		}
		if current != root {
			current.Close()
		}
		current = next
		if down {
			waiting, inode := w.files(current)
			levels = append(levels, level{inode, waiting})
		}
	}
	if current != root {
		current.Close()
	}
}

// files zeroes the regular files of a directory and returns the names of its
// subdirectories.
func (w *wiper) files(dir *os.File) (subdirectories []string, inode uint64) {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		w.fail(&os.PathError{Op: "fstat", Path: dir.Name(), Err: err})
	}
	inode = st.Ino
	entries, err := dir.ReadDir(-1)
	if err != nil {
		w.fail(err)
	}
	for _, e := range entries {
		switch {
		case e.IsDir():
			subdirectories = append(subdirectories, e.Name())
		case e.Type().IsRegular():
			if err := w.zero(dir, e.Name()); err != nil {
				w.fail(err)
			}
		}
	}
	return subdirectories, inode
}

func (w *wiper) zero(dir *os.File, name string) error {
	f, err := openChild(dir, name, unix.O_RDWR|unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || w.linked[st.Ino] {
		return nil
	}
	if err := sys.Zero(f); err != nil {
		return err
	}
	if st.Nlink > 1 {
		w.linked[st.Ino] = true
	}
	return nil
}

func openChild(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open to zero", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func openParent(dir *os.File, inode uint64) (*os.File, error) {
	fd, err := unix.Openat2(int(dir.Fd()), "..", &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open the parent of", Path: dir.Name(), Err: err}
	}
	up := os.NewFile(uintptr(fd), "..")
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Ino != inode {
		up.Close()
		return nil, errors.Join(fmt.Errorf("%s was moved while it was being zeroed", dir.Name()), err)
	}
	return up, nil
}

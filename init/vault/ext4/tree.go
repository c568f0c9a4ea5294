package ext4

import (
	"bytes"
	"errors"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The tree's side: directories as file descriptors, everything in them by name,
// no symbolic link ever followed.

// folder is an open directory of a tree.
type folder struct {
	*os.File
	path string // from the root, for messages
}

func (d folder) fd() int { return int(d.Fd()) }

func (d folder) join(name string) string { return path.Join(d.path, name) }

// fail wraps what a call on an entry returned. Like every name in an error of
// this package the entry's is quoted: a ghost's user chose it, and errors end on
// people's terminals.
func (d folder) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: strconv.Quote(d.join(name)), Err: err}
}

// openRoot opens the tree's root anew, so that the caller's offset and life
// time don't matter.
func openRoot(root *os.File) (folder, error) {
	fd, err := unix.Openat(int(root.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return folder{}, &os.PathError{Op: "open", Path: root.Name(), Err: err}
	}
	return folder{os.NewFile(uintptr(fd), root.Name()), "."}, nil
}

// open opens a directory in d.
func (d folder) open(name string) (folder, error) {
	f, err := d.openFile(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	return folder{f, d.join(name)}, err
}

func (d folder) openFile(name string, flags int, mode uint32) (*os.File, error) {
	fd, err := unix.Openat(d.fd(), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, mode)
	if err != nil {
		return nil, d.fail("open", name, err)
	}
	return os.NewFile(uintptr(fd), strconv.Quote(d.join(name))), nil
}

// names lists a directory in order.
func (d folder) names() ([]string, error) {
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, d.fail("read directory", "", err)
	}
	slices.Sort(names)
	return names, nil
}

// stat describes an entry; "." is the directory itself.
func (d folder) stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, d.fail("stat", name, err)
}

// proc is a path to an entry for the calls on attributes, which have no form
// with a directory's descriptor before Linux 6.13. Only its last component is
// foreign, and none of the calls used here follows that.
func (d folder) proc(name string) string {
	return "/proc/self/fd/" + strconv.Itoa(d.fd()) + "/" + name
}

// attrNames lists the attributes of an entry that an image can hold.
func (d folder) attrNames(name string) ([]string, error) {
	where := d.proc(name)
	size, err := unix.Llistxattr(where, nil)
	if err == unix.ENOTSUP || size == 0 && err == nil {
		return nil, nil
	}
	for err == nil {
		list := make([]byte, size+256)
		if size, err = unix.Llistxattr(where, list); err == nil {
			names := strings.Split(string(bytes.TrimRight(list[:size], "\x00")), "\x00")
			names = slices.DeleteFunc(names, func(n string) bool { return !storable(n) })
			slices.Sort(names)
			return names, nil
		}
		if err == unix.ERANGE { // it grew
			size, err = unix.Llistxattr(where, nil)
		}
	}
	return nil, d.fail("listxattr", name, err)
}

func storable(name string) bool {
	for _, prefix := range attrPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// xattrs returns the attributes of an entry in the order of their names.
func (d folder) xattrs(name string) ([]attr, error) {
	names, err := d.attrNames(name)
	if err != nil {
		return nil, err
	}
	var out []attr
	for _, a := range names {
		value := make([]byte, 256)
		n, err := unix.Lgetxattr(d.proc(name), a, value)
		if err == unix.ERANGE {
			value = make([]byte, attrValueMax)
			n, err = unix.Lgetxattr(d.proc(name), a, value)
		}
		if err == unix.ENODATA {
			continue // removed in between
		}
		if err != nil {
			return nil, d.fail("getxattr "+strconv.Quote(a), name, err)
		}
		out = append(out, attr{a, value[:n]})
	}
	return out, nil
}

// setXattrs sets attributes and returns how many the tree's file system can't
// hold (tmpfs has no user attributes before Linux 6.6).
func (d folder) setXattrs(name string, attrs []attr) (lost int, err error) {
	for _, a := range attrs {
		err := unix.Lsetxattr(d.proc(name), a.name, a.value, 0)
		if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
			lost++
		} else if err != nil {
			return lost, d.fail("setxattr "+strconv.Quote(a.name), name, err)
		}
	}
	return lost, nil
}

package sys

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Mounting here is done with descriptors at both ends (open_tree(2),
// move_mount(2), fsopen(2)): between a check and its mount no path is looked
// up again, and a mount has all its attributes before anybody can see it.
// Linux 5.12.

// Attributes of a mount (mount_setattr(2)).
const (
	ReadOnly = unix.MOUNT_ATTR_RDONLY
	NoSUID   = unix.MOUNT_ATTR_NOSUID
	NoDev    = unix.MOUNT_ATTR_NODEV
	NoExec   = unix.MOUNT_ATTR_NOEXEC
	NoATime  = unix.MOUNT_ATTR_NOATIME
)

// Attributes decodes attribute bits as mount(8) spells them.
func Attributes(bits uint64) string {
	var names []string
	for _, a := range []struct {
		bit  uint64
		name string
	}{{ReadOnly, "ro"}, {NoSUID, "nosuid"}, {NoDev, "nodev"}, {NoExec, "noexec"}, {NoATime, "noatime"}, {unix.MOUNT_ATTR_IDMAP, "idmap"}} {
		if bits&a.bit != 0 {
			names = append(names, a.name)
		}
	}
	if names == nil {
		return "rw"
	}
	return strings.Join(names, ",")
}

// MakePrivate cuts every mount of the namespace off from propagation. AppArmor
// refuses it with EACCES, a missing capability with EPERM.
func MakePrivate() error {
	return pathError("mount MS_REC|MS_PRIVATE", "/", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
}

// MayMount asks whether this process may change mounts, without changing any:
// path must be a directory that is not a mount point. The kernel asks the
// security modules (EACCES) and for the capability (EPERM) before it finds
// that out (EINVAL).
func MayMount(path string) error {
	err := unix.Mount("", path, "", unix.MS_PRIVATE, "")
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return pathError("mount MS_PRIVATE", path, err)
}

// OpenPath opens path, which is relative to dir, as a place (O_PATH) without
// following a symbolic link in any of its components or leaving dir. A nil dir
// and an absolute path mean the process's root. The caller closes it.
func OpenPath(dir *os.File, path string, flags uint64) (*os.File, error) {
	return openBeneath(dir, path, unix.O_PATH|flags)
}

// OpenFile is OpenPath for reading and writing.
func OpenFile(dir *os.File, path string, flags uint64) (*os.File, error) {
	return openBeneath(dir, path, flags)
}

func openBeneath(dir *os.File, path string, flags uint64) (*os.File, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	if flags&unix.O_CREAT != 0 {
		how.Mode = 0o600
	}
	at, name := unix.AT_FDCWD, path
	if dir != nil {
		at, name = int(dir.Fd()), strings.TrimSuffix(dir.Name(), "/")+"/"+path
		how.Resolve |= unix.RESOLVE_BENEATH
	}
	for {
		fd, err := unix.Openat2(at, path, &how)
		if err == unix.EINTR || err == unix.EAGAIN { // EAGAIN: a rename elsewhere raced with the walk
			continue
		}
		if err != nil {
			return nil, pathError("open without symbolic links", name, err)
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

// NewMount mounts a new file system that is attached nowhere yet. Options are
// "key" or "key=value". The error carries what the kernel logged about it.
func NewMount(fstype string, attributes uint64, options ...string) (*os.File, error) {
	op := "mount " + fstype
	context, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, pathError("fsopen", fstype, err)
	}
	defer unix.Close(context)
	for _, option := range options {
		key, value, valued := strings.Cut(option, "=")
		if valued {
			err = unix.FsconfigSetString(context, key, value)
		} else {
			err = unix.FsconfigSetFlag(context, key)
		}
		if err != nil {
			return nil, pathError(op+" option", option, explain(context, err))
		}
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return nil, pathError(op, strings.Join(options, ","), explain(context, err))
	}
	fd, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, int(attributes))
	if err != nil {
		return nil, pathError("fsmount "+fstype, Attributes(attributes), err)
	}
	return os.NewFile(uintptr(fd), fstype), nil
}

// explain adds the kernel's own words, which a file system context keeps for
// read(2), to err.
func explain(context int, err error) error {
	line := make([]byte, 1024)
	n, readErr := unix.Read(context, line)
	if readErr != nil || n <= 0 {
		return err
	}
	_, text, _ := strings.Cut(strings.TrimSpace(string(line[:n])), " ")
	return fmt.Errorf("%w (%s)", err, text)
}

// CloneMount copies the mount at from, with the mounts below it when recursive,
// attached nowhere yet.
func CloneMount(from *os.File, recursive bool) (*os.File, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(int(from.Fd()), "", flags)
	if err != nil {
		return nil, pathError("open_tree OPEN_TREE_CLONE", from.Name(), err)
	}
	return os.NewFile(uintptr(fd), from.Name()), nil
}

// SetAttributes adds attributes to a mount, and to all below it when recursive.
func SetAttributes(mount *os.File, recursive bool, attributes uint64) error {
	return setattr(mount, recursive, &unix.MountAttr{Attr_set: attributes})
}

// SetIDMap makes the ids of a mount that is attached nowhere pass through the
// map of a user namespace: what lies on disk as the inner id appears as, and is
// written by, the outer one. EINVAL means that the file system can't.
func SetIDMap(mount, namespace *os.File) error {
	return setattr(mount, false, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(namespace.Fd())})
}

func setattr(mount *os.File, recursive bool, attr *unix.MountAttr) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return pathError("mount_setattr "+Attributes(attr.Attr_set), mount.Name(), unix.MountSetattr(int(mount.Fd()), "", flags, attr))
}

// Attach puts a mount that NewMount or CloneMount made onto target.
func Attach(mount, target *os.File) error {
	return pathError("move_mount "+mount.Name()+" to", target.Name(), unix.MoveMount(int(mount.Fd()), "", int(target.Fd()), "",
		unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// IsMountPoint tells whether f is the root of a mount.
func IsMountPoint(f *os.File) (bool, error) {
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, 0, &st); err != nil {
		return false, pathError("statx", f.Name(), err)
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// Detach takes the mount at path, and all below it, out of the name space at
// once, whoever still uses it.
func Detach(path string) error {
	return pathError("umount2 MNT_DETACH", path, unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
}

// Unmount takes the mount at path away unless something uses it: EBUSY.
func Unmount(path string) error {
	return pathError("umount2", path, unix.Unmount(path, unix.UMOUNT_NOFOLLOW))
}

// pathError is nil for a nil err.
func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}

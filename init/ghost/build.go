package ghost

import (
	"errors"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
)

// builder holds what the steps of a plan share. Its files are places (O_PATH)
// or directories; names that come after them are resolved below them and
// through no symbolic link.
type builder struct {
	config Config
	base   *os.File // of the RAM file system
	root   *os.File // the ghost's root
	empty  *os.File // an empty directory
	owner  *os.File // the user namespace of the project's idmap; nil without one
}

// directory is one of Base that is mounted somewhere.
type directory struct {
	name, target string
	mode         uint32
}

func newBuilder(config Config) (*builder, error) {
	base, err := sys.OpenFile(nil, config.Base, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	b := &builder{config: config, base: base}
	if err := inRAM(base); err != nil {
		return nil, errors.Join(err, b.close())
	}
	b.empty, err = makeDir(base, "empty", 0o555, 0)
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *builder) close() error {
	var errs []error
	for _, f := range []*os.File{b.base, b.root, b.empty, b.owner} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// mountProc covers the pod's proc, whose process ids are another namespace's.
func (b *builder) mountProc() error {
	mount, err := sys.NewMount("proc", sys.NoSUID|sys.NoDev|sys.NoExec)
	if err != nil {
		return err
	}
	defer mount.Close()
	target, err := sys.OpenPath(nil, "/proc", unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer target.Close()
	return sys.Attach(mount, target)
}

func (b *builder) mountRoot() error {
	point, err := makeDir(b.base, "root", 0o755, 0)
	if err != nil {
		return err
	}
	defer point.Close()
	for _, name := range []string{"upper", "work"} { // the root has upper's mode
		dir, err := makeDir(b.base, name, 0o755, 0)
		if err != nil {
			return err
		}
		dir.Close()
	}
	options := []string{"source=ghost", "lowerdir=/",
		"upperdir=" + path.Join(b.config.Base, "upper"), "workdir=" + path.Join(b.config.Base, "work")}
	mapped, err := sys.MappedIDs("/proc/self/uid_map")
	if err != nil {
		return err
	}
	if !mapped.Full() { // overlay can't use trusted attributes in a user namespace
		options = append(options, "userxattr")
	}
	mount, err := sys.NewMount("overlay", sys.NoSUID|sys.NoDev, options...)
	if err != nil {
		return err
	}
	defer mount.Close()
	if err := sys.Attach(mount, point); err != nil {
		return err
	}
	fd, err := unix.FcntlInt(mount.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	}
	b.root = os.NewFile(uintptr(fd), "/") // so that errors name places as the ghost will
	return nil
}

// bind mounts a copy of what is at source, in the pod, on target, in the ghost.
func (b *builder) bind(source, target string, recursive bool, attributes uint64) error {
	from, err := sys.OpenPath(nil, source, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := b.open(target)
	if err != nil {
		return err
	}
	defer to.Close()
	return attach(from, to, recursive, attributes)
}

// attach mounts a copy of the mount at from, or of the part that begins there,
// on to.
func attach(from, to *os.File, recursive bool, attributes uint64) error {
	mount, err := sys.CloneMount(from, recursive)
	if err != nil {
		return err
	}
	defer mount.Close()
	if attributes != 0 {
		if err := sys.SetAttributes(mount, recursive, attributes); err != nil {
			return err
		}
	}
	return sys.Attach(mount, to)
}

// open opens a place in the ghost.
func (b *builder) open(target string) (*os.File, error) {
	return sys.OpenPath(b.root, strings.TrimPrefix(target, "/"), 0)
}

// mountFresh mounts a new directory of the RAM file system on d.target, which
// is made when the image lacks it.
func (b *builder) mountFresh(d directory, owner uint32, attributes uint64) error {
	from, err := makeDir(b.base, d.name, d.mode, owner)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := b.makeTarget(d.target)
	if err != nil {
		return err
	}
	defer to.Close()
	return attach(from, to, false, attributes)
}

// makeTarget opens a directory of the ghost to mount on, making root's what is
// missing of it.
func (b *builder) makeTarget(target string) (*os.File, error) {
	return MakeAll(b.root, strings.TrimPrefix(target, "/"), 0o755, 0)
}

package ghost

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
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
	return makeAll(b.root, strings.TrimPrefix(target, "/"), 0o755, 0)
}

// makeAll is makeDir with every directory above that is missing.
func makeAll(at *os.File, name string, mode, owner uint32) (*os.File, error) {
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
	if err := unix.Mkdirat(int(parent.Fd()), path.Base(name), 0o700); err != nil {
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

// readOnly binds a part of the ghost's proc over itself.
func (b *builder) readOnly(target string) error {
	at, err := b.open(target)
	if errors.Is(err, unix.ENOENT) { // this kernel has none
		return nil
	}
	if err != nil {
		return err
	}
	defer at.Close()
	return attach(at, at, false, sys.ReadOnly|sys.NoSUID|sys.NoDev|sys.NoExec)
}

// mask covers a file with /dev/null and a directory with an empty one.
func (b *builder) mask(target string) error {
	at, err := b.open(target)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer at.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(at.Fd()), &st); err != nil {
		return &os.PathError{Op: "fstat", Path: target, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return attach(b.empty, at, false, sys.ReadOnly|sys.NoSUID|sys.NoDev|sys.NoExec)
	}
	null, err := b.open("/dev/null")
	if err != nil {
		return err
	}
	defer null.Close()
	return attach(null, at, false, sys.NoSUID|sys.NoExec)
}

// setHostname also writes the files by which programs find the name's address.
func (b *builder) setHostname() error {
	name := b.config.Hostname
	if err := unix.Sethostname([]byte(name)); err != nil {
		return os.NewSyscallError("sethostname", err)
	}
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for file, text := range map[string]string{
		"hostname": name + "\n",
		"hosts":    fmt.Sprintf("%s127.0.1.1\t%s\n", hosts, name),
	} {
		source, err := sys.OpenFile(b.base, file, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
		if err != nil {
			return err
		}
		_, err = source.WriteString(text)
		err = errors.Join(err, chmod(source, 0o644))
		if err == nil {
			err = b.cover(source, "/etc/"+file)
		}
		if err := errors.Join(err, source.Close()); err != nil {
			return err
		}
	}
	return nil
}

// cover mounts a file of the RAM file system over one of the ghost, if that has
// it.
func (b *builder) cover(source *os.File, target string) error {
	to, err := b.open(target)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer to.Close()
	return attach(source, to, false, sys.ReadOnly|sys.NoSUID|sys.NoDev)
}

// bindSecrets mounts the vault's content in the fresh home directory.
func (b *builder) bindSecrets() error {
	tree, err := b.openTree()
	if err != nil {
		return err
	}
	defer tree.Close()
	return b.bindHome(tree, strings.TrimPrefix(wire.Secrets, wire.Home+"/"))
}

func (b *builder) openTree() (*os.File, error) {
	tree, err := sys.OpenFile(nil, b.config.Tree, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	if err := inRAM(tree); err != nil {
		tree.Close()
		return nil, err
	}
	return tree, nil
}

// bridge mounts a directory of the vault, made if missing, in the home
// directory.
func (b *builder) bridge(name string) error {
	tree, err := b.openTree()
	if err != nil {
		return err
	}
	defer tree.Close()
	from, err := makeAll(tree, name, 0o700, b.config.KernelID)
	if err != nil {
		return err
	}
	defer from.Close()
	return b.bindHome(from, name)
}

func (b *builder) bindHome(from *os.File, name string) error {
	home, err := b.open(wire.Home)
	if err != nil {
		return err
	}
	defer home.Close()
	to, err := makeAll(home, name, 0o700, b.config.KernelID)
	if err != nil {
		return err
	}
	defer to.Close()
	return attach(from, to, false, sys.NoSUID|sys.NoDev)
}

package ghost

import (
	"fmt"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

// devices are all that a ghost has: those that every program may expect and
// that hold nothing (Linux's Documentation/admin-guide/devices.txt). They are
// bound from the pod, since making one takes a capability that pods lack.
var devices = []struct {
	name         string
	major, minor uint32
}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}}

type links map[string]string

var deviceLinks = links{
	"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
}

func (l links) names() []string {
	var names []string
	for name := range l {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (b *builder) bindDevice(d struct {
	name         string
	major, minor uint32
}) error {
	from, err := sys.OpenPath(nil, "/dev/"+d.name, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return &os.PathError{Op: "fstat", Path: from.Name(), Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(d.major, d.minor) {
		return fmt.Errorf("%s is not the device %d:%d", from.Name(), d.major, d.minor)
	}
	dev, err := b.open("/dev")
	if err != nil {
		return err
	}
	defer dev.Close()
	to, err := sys.OpenFile(dev, d.name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	defer to.Close()
	return attach(from, to, false, sys.NoSUID|sys.NoExec)
}

// fillDev makes the links, and the directories that are mounted on next.
func (b *builder) fillDev() error {
	dev, err := b.open("/dev")
	if err != nil {
		return err
	}
	defer dev.Close()
	for _, name := range deviceLinks.names() {
		if err := unix.Symlinkat(deviceLinks[name], int(dev.Fd()), name); err != nil {
			return &os.PathError{Op: "symlink", Path: "/dev/" + name, Err: err}
		}
	}
	for _, name := range []string{"pts", "mqueue", "shm"} {
		dir, err := makeDir(dev, name, 0o755, 0)
		if err != nil {
			return err
		}
		dir.Close()
	}
	return nil
}

// mountPts makes terminals of its own: their names and numbers mean nothing in
// the pod. Group 5 is Debian's tty.
func (b *builder) mountPts() error {
	return b.mountNew("devpts", "/dev/pts", sys.NoSUID|sys.NoExec, "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
}

// mountQueues shows the POSIX message queues of the ghost's own IPC namespace.
func (b *builder) mountQueues() error {
	return b.mountNew("mqueue", "/dev/mqueue", sys.NoSUID|sys.NoDev|sys.NoExec)
}

func (b *builder) mountNew(fstype, target string, attributes uint64, options ...string) error {
	mount, err := sys.NewMount(fstype, attributes, options...)
	if err != nil {
		return err
	}
	defer mount.Close()
	to, err := b.open(target)
	if err != nil {
		return err
	}
	defer to.Close()
	return sys.Attach(mount, to)
}

// fillRun makes what programs expect in an otherwise empty /run.
func (b *builder) fillRun() error {
	run, err := b.open("/run")
	if err != nil {
		return err
	}
	defer run.Close()
	for _, d := range []struct {
		name        string
		mode, owner uint32
	}{{"lock", 0o1777, 0}, {"user", 0o755, 0}, {fmt.Sprintf("user/%d", wire.UserID), 0o700, b.config.KernelID}} {
		dir, err := makeDir(run, d.name, d.mode, d.owner)
		if err != nil {
			return err
		}
		dir.Close()
	}
	return nil
}

// bindSocket shows the socket by which sessions reach serve. It lies in RAM of
// the ghost: no other process of the pod has a name for it.
func (b *builder) bindSocket() error {
	from, err := sys.OpenPath(b.base, b.config.Socket, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	run, err := b.open("/run")
	if err != nil {
		return err
	}
	defer run.Close()
	dir, err := makeDir(run, path.Base(wire.RuntimeDir), 0o755, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	to, err := sys.OpenFile(dir, path.Base(wire.GhostSocket), unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	defer to.Close()
	return attach(from, to, false, sys.NoSUID|sys.NoDev|sys.NoExec)
}

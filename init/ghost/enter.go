package ghost

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

// enter makes the ghost's root this process's, and takes every other mount out
// of the namespace: neither a path nor a mount keeps the pod, another ghost or
// serve's directories within reach.
func (b *builder) enter(mounts []*mountinfo.Info) error {
	old, err := sys.OpenPath(nil, "/", unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer old.Close()
	if err := unix.Fchdir(int(b.root.Fd())); err != nil {
		return &os.PathError{Op: "chdir", Path: "the ghost's root", Err: err}
	}
	switch err := unix.PivotRoot(".", "."); {
	case err == nil: // the old root lies on top of the new one now, and "." is it
		if err := sys.Detach("."); err != nil {
			return err
		}
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOSYS): // Docker's default seccomp profile
		if err := b.move(old, mounts); err != nil {
			return err
		}
	default:
		return &os.PathError{Op: "pivot_root", Path: "the ghost's root", Err: err}
	}
	if err := unix.Chdir("/"); err != nil {
		return &os.PathError{Op: "chdir", Path: "/", Err: err}
	}
	return nil
}

// move mounts the ghost's root over the old one and changes into it. The old
// root itself stays below, the mounts on it go: what is left of it is the layer
// that the ghost reads from anyway.
func (b *builder) move(old *os.File, mounts []*mountinfo.Info) error {
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return &os.PathError{Op: "mount MS_MOVE", Path: "the ghost's root to /", Err: err}
	}
	if err := unix.Chroot("."); err != nil {
		return &os.PathError{Op: "chroot", Path: "the ghost's root", Err: err}
	}
	if err := unix.Fchdir(int(old.Fd())); err != nil {
		return &os.PathError{Op: "chdir", Path: "the old root", Err: err}
	}
	for _, point := range topmost(mounts) {
		// Several mounts can lie on one point; not a mount point is EINVAL.
		for n := 0; ; n++ {
			err := sys.Detach(point[1:])
			if errors.Is(err, unix.EINVAL) && n > 0 {
				break
			}
			if err != nil || n > 100 {
				return fmt.Errorf("let go of the pod's %s: %w", point, err)
			}
		}
	}
	return nil
}

// topmost are the mount points below no other, the root aside.
func topmost(mounts []*mountinfo.Info) []string {
	var points []string
	for _, m := range mounts {
		if m.Mountpoint == "/" {
			continue
		}
		if !slices.ContainsFunc(mounts, func(o *mountinfo.Info) bool {
			return o.Mountpoint != "/" && o.Mountpoint != m.Mountpoint && wire.Within(m.Mountpoint, o.Mountpoint)
		}) {
			points = append(points, m.Mountpoint)
		}
	}
	slices.Sort(points)
	return slices.Compact(points)
}

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

// persist mounts a directory of the volume in the home directory. It is on disk
// in clear, for what is large and not secret, and stays out of reach of the
// pod's other programs: what lies there is run in ghosts. On the volume it has
// one name, so that nobody but root can put a link on the way to it, and belongs
// to the pod's user where its file system can be idmapped, else to the ghost's
// kernel id.
func (b *builder) persist(name string) error {
	volume, err := sys.OpenFile(nil, b.config.Volume, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) {
		return b.noVolume(name)
	}
	if err != nil {
		return err
	}
	defer volume.Close()
	mounted, err := sys.IsMountPoint(volume)
	if err != nil {
		return err
	}
	if !mounted { // the container's own layer would keep it for nobody
		return b.noVolume(name)
	}
	if template, err := sys.OpenPath(nil, path.Join(b.config.Template, name), unix.O_NOFOLLOW); err == nil {
		template.Close()
		return &RefusedError{Detail: fmt.Sprintf("what persists on %s would hide what every home has there", path.Join(wire.Home, name)),
			Hint: "let a directory below it persist"}
	}
	dir, err := makeDir(volume, strings.ReplaceAll(strings.ReplaceAll(name, "%", "%25"), "/", "%2F"), 0o700, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	mount, err := sys.CloneMount(dir, false)
	if err != nil {
		return err
	}
	defer mount.Close()
	if err := b.ownPersistent(dir, mount); err != nil {
		return err
	}
	if err := sys.SetAttributes(mount, false, sys.NoSUID|sys.NoDev); err != nil {
		return err
	}
	to, err := b.makeHome(name)
	if err != nil {
		return err
	}
	defer to.Close()
	return sys.Attach(mount, to)
}

// ownPersistent makes dir the ghost user's: by an idmap of its mount, or by its
// owner where that is what it was made with or the file system knows no idmap.
func (b *builder) ownPersistent(dir, mount *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return &os.PathError{Op: "fstat", Path: dir.Name(), Err: err}
	}
	if st.Uid == b.config.KernelID {
		return nil
	}
	ids := sys.IDs{Inside: wire.UserID, Outside: b.config.KernelID}
	namespace, err := idmapNamespace(ids, ids)
	if err != nil {
		return err
	}
	defer namespace.Close()
	err = sys.SetIDMap(mount, namespace)
	switch {
	case err == nil:
		return own(dir, wire.UserID)
	case st.Uid == 0 && errors.Is(err, unix.EINVAL): // new
		return own(dir, b.config.KernelID)
	}
	return err
}

func (b *builder) noVolume(name string) error {
	return &RefusedError{Detail: fmt.Sprintf("%s is to be kept, and there is no volume to keep it on", path.Join(wire.Home, name)),
		Hint: "start the pod with a volume, as in -v tazpod-home:" + b.config.Volume}
}

package ghost

import (
	"errors"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

// bindWorkspace mounts the project: what belongs to the owner of source on disk
// is the ghost user's inside, and what that user makes is the owner's on disk.
func (b *builder) bindWorkspace(source, target string, idmap bool) error {
	from, err := sys.OpenPath(nil, source, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer from.Close()
	mount, err := sys.CloneMount(from, false)
	if err != nil {
		return err
	}
	defer mount.Close()
	if idmap {
		if err := mapOwner(mount, b.config.KernelID); err != nil {
			return err
		}
	}
	if err := sys.SetAttributes(mount, false, sys.NoSUID|sys.NoDev); err != nil {
		return err
	}
	to, err := b.makeTarget(target)
	if err != nil {
		return err
	}
	defer to.Close()
	return sys.Attach(mount, to)
}

// mapOwner makes the owner and group of a mount's directory appear as id.
func mapOwner(mount *os.File, id uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(mount.Fd()), &st); err != nil {
		return &os.PathError{Op: "fstat", Path: mount.Name(), Err: err}
	}
	namespace, err := idmapNamespace(sys.IDs{Inside: st.Uid, Outside: id}, sys.IDs{Inside: st.Gid, Outside: id})
	if err != nil {
		return err
	}
	defer namespace.Close()
	return sys.SetIDMap(mount, namespace)
}

// bindWithin mounts what the pod has mounted inside the project. A file system
// that can't be idmapped appears as it is: readable, and writable as its own
// modes allow.
func (b *builder) bindWithin(source, target string) error {
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
	mount, err := sys.CloneMount(from, false)
	if err != nil {
		return err
	}
	defer mount.Close()
	if b.config.Idmap {
		if err := mapOwner(mount, b.config.KernelID); err != nil && !errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	if err := sys.SetAttributes(mount, false, sys.NoSUID|sys.NoDev); err != nil {
		return err
	}
	return sys.Attach(mount, to)
}

// hideVault covers the vault's directory, so that a slip in the ghost can't
// destroy the file that the ghost lives from. serve still has it: this is the
// ghost's mount namespace.
func (b *builder) hideVault() error {
	to, err := sys.OpenPath(b.root, path.Join(wire.Workspace, b.config.Vault)[1:], unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer to.Close()
	return attach(b.empty, to, false, sys.ReadOnly|sys.NoSUID|sys.NoDev|sys.NoExec)
}

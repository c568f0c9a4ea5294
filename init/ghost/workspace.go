package ghost

import (
	"errors"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

// bindWorkspace mounts the project: what belongs to the owner of the directory
// on disk is the ghost user's inside, and what that user makes is the owner's on
// disk. Other people's files stay other people's.
func (b *builder) bindWorkspace() error {
	from, err := sys.OpenPath(nil, b.config.Workspace, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer from.Close()
	if b.config.Idmap {
		if b.owner, err = ownerNamespace(from, b.config.KernelID); err != nil {
			return err
		}
	}
	to, err := b.makeTarget(wire.Workspace)
	if err != nil {
		return err
	}
	defer to.Close()
	return b.attachProject(from, to)
}

// bindWithin mounts what the pod has mounted inside the project.
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
	err = b.attachProject(from, to)
	if b.owner != nil && errors.Is(err, unix.EINVAL) { // a file system that can't be idmapped appears as it is
		return attach(from, to, false, sys.NoSUID|sys.NoDev)
	}
	return err
}

func (b *builder) attachProject(from, to *os.File) error {
	mount, err := sys.CloneMount(from, false)
	if err != nil {
		return err
	}
	defer mount.Close()
	if b.owner != nil {
		if err := sys.SetIDMap(mount, b.owner); err != nil {
			return err
		}
	}
	if err := sys.SetAttributes(mount, false, sys.NoSUID|sys.NoDev); err != nil {
		return err
	}
	return sys.Attach(mount, to)
}

// ownerNamespace is a user namespace for an idmap that shows the owner and group
// of dir as id.
func ownerNamespace(dir *os.File, id uint32) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return nil, &os.PathError{Op: "fstat", Path: dir.Name(), Err: err}
	}
	return idmapNamespace(sys.IDs{Inside: st.Uid, Outside: id}, sys.IDs{Inside: st.Gid, Outside: id})
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

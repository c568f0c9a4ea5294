package ghost

import (
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

const secretsName = "secrets" // of wire.Secrets, in the home directory

// bindSecrets mounts the vault's content, or the part of it that this ghost
// shows, in the fresh home directory.
func (b *builder) bindSecrets() error {
	tree, err := b.openTree()
	if err != nil {
		return err
	}
	defer tree.Close()
	return b.bindHome(tree, secretsName)
}

// bindFile shows one file of the vault, in a directory of secrets that has
// nothing else: what a session makes there is RAM of its ghost. A file that is
// mounted can be written, not replaced.
func (b *builder) bindFile(file File) error {
	tree, err := b.openTree()
	if err != nil {
		return err
	}
	defer tree.Close()
	from, err := sys.OpenPath(tree, file.Path, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return &os.PathError{Op: "fstat", Path: file.Path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s is not a regular file of the vault", file.Path)
	}
	secrets, err := b.open(wire.Secrets)
	if err != nil {
		return err
	}
	defer secrets.Close()
	if above := path.Dir(file.Name); above != "." {
		dir, err := MakeAll(secrets, above, 0o700, b.config.KernelID)
		if err != nil {
			return err
		}
		dir.Close()
	}
	to, err := sys.OpenFile(secrets, file.Name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	defer to.Close()
	return attach(from, to, false, sys.NoSUID|sys.NoDev)
}

// openTree opens the part of the vault's content that this ghost shows.
func (b *builder) openTree() (*os.File, error) {
	tree, err := sys.OpenFile(nil, b.config.Tree, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	if err := b.hasContent(tree); err != nil {
		tree.Close()
		return nil, err
	}
	if b.config.Part == "" {
		return tree, nil
	}
	defer tree.Close()
	return MakeAll(tree, b.config.Part, 0o700, b.config.KernelID)
}

// hasContent is nil when tree is a file system that can be the vault's content:
// not the directory on disk that it was to be mounted on.
func (b *builder) hasContent(tree *os.File) error {
	if !b.config.Device {
		return inRAM(tree)
	}
	mounted, err := sys.IsMountPoint(tree)
	if err == nil && !mounted {
		err = fmt.Errorf("nothing is mounted on %s", tree.Name())
	}
	return err
}

// VaultNamespace is a user namespace for an idmap that shows what is the vault
// user's on disk as id. The caller closes it.
func VaultNamespace(id uint32) (*os.File, error) {
	ids := sys.IDs{Inside: wire.UserID, Outside: id}
	return idmapNamespace(ids, ids)
}

// bridge mounts a directory of the vault, made if missing, in the home
// directory.
func (b *builder) bridge(name string) error {
	tree, err := b.openTree()
	if err != nil {
		return err
	}
	defer tree.Close()
	from, err := MakeAll(tree, name, 0o700, b.config.KernelID)
	if err != nil {
		return err
	}
	defer from.Close()
	return b.bindHome(from, name)
}

func (b *builder) bindHome(from *os.File, name string) error {
	to, err := b.makeHome(name)
	if err != nil {
		return err
	}
	defer to.Close()
	return attach(from, to, false, sys.NoSUID|sys.NoDev)
}

// makeHome opens a directory below the home to mount on, making the user's what
// is missing of it.
func (b *builder) makeHome(name string) (*os.File, error) {
	home, err := b.open(wire.Home)
	if err != nil {
		return nil, err
	}
	defer home.Close()
	return MakeAll(home, name, 0o700, b.config.KernelID)
}

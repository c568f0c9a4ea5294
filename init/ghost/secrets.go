package ghost

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

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

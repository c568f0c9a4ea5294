package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/init/steps"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/vault/ext4"
	"github.com/tazzo/tazpod/init/wire"
)

const (
	defaultSize  = 256 << 20 // bytes
	smallestSize = wire.MinVault
	largestSize  = 1 << 40 // bytes; more is a mistake in the unit
	sizeUnit     = 4096    // bytes
	// longestPassphrase is what cryptsetup's own prompt takes: longer ones
	// could never be typed there.
	longestPassphrase = 512 // bytes
)

// newKDF is the cost of new keyslots; tests lower it.
var newKDF = luks.DefaultKDF

// Create makes a vault of size bytes (256 MiB if 0) without files, in the order
// of a save. It never replaces a file: ErrExists. A passphrase that stock tools
// could not be given is ErrWeak.
func Create(ctx context.Context, p Place, pass *locked.Buffer, size int64, cost Cost) error {
	if err := checkPassphrase(pass); err != nil {
		return err
	}
	if size == 0 {
		size = defaultSize
	}
	size, err := checkSize(size)
	if err != nil {
		return err
	}
	lock, err := p.takeLock()
	if err != nil {
		return err
	}
	defer unlock(lock)
	p.sweep()
	if exists, err := Exists(p); err != nil || exists {
		return errors.Join(err, existing(p, exists))
	}
	if err := create(ctx, p, pass, size, cost); err != nil {
		return fmt.Errorf("create %s: %w", p.path(wire.VaultFile), err)
	}
	return nil
}

// checkSize rounds a vault's size up to whole blocks.
func checkSize(size int64) (int64, error) {
	if size < smallestSize || size > largestSize {
		return 0, fmt.Errorf("%w: %d bytes; between %d MiB and %d TiB", ErrSize, size, smallestSize>>20, largestSize>>40)
	}
	return (size + sizeUnit - 1) / sizeUnit * sizeUnit, nil
}

func existing(p Place, exists bool) error {
	if !exists {
		return nil
	}
	return fmt.Errorf("%s: %w", p.path(wire.VaultFile), ErrExists)
}

func checkPassphrase(pass *locked.Buffer) error {
	switch {
	case pass.Len() == 0:
		return fmt.Errorf("%w: it is empty", ErrWeak)
	case pass.Len() > longestPassphrase:
		return fmt.Errorf("%w: it is longer than %d bytes", ErrWeak, longestPassphrase)
	case bytes.ContainsAny(pass.Bytes(), "\n\x00"):
		return fmt.Errorf("%w: it contains a line break or a zero byte", ErrWeak)
	}
	return nil
}

func create(ctx context.Context, p Place, pass *locked.Buffer, size int64, cost Cost) error {
	kdf, err := cost.kdf()
	if err != nil {
		return err
	}
	header, key, err := luks.Format(ctx, size, kdf, pass)
	if err != nil {
		return err
	}
	defer key.Destroy()
	defer header.Close()
	root, err := emptyTree(p)
	if err != nil {
		return err
	}
	defer root.Close() // read from alone
	image, err := ext4.Build(ctx, root, header.Segment.Size, p.ids())
	if err != nil {
		return err
	}
	// No secret is in an empty image. That it can't be zeroed must not make a vault
	// look failed that is there.
	defer func() { _, _ = sys.Zero(image), image.Close() }()
	d := &draft{place: p, header: header, key: key, size: size}
	err = steps.List{
		{Name: "create", Do: d.create, Undo: d.discard},
		{Name: "write", Do: func() error { return d.write(ctx, image) }},
		{Name: "sync", Do: func() error { return d.syncAndRecheck(ctx) }},
		{Name: "verify", Do: func() error { return d.verify(ctx, root) }},
		{Name: "rename", Do: d.publish},
	}.Do()
	if err != nil {
		return err
	}
	defer d.file.Close() // synced before
	return p.sync()
}

// emptyTree makes an empty directory that is what a vault's user wants at its
// top: theirs alone. It is where nobody can reach it, so that nothing gets into
// a new vault that way. The caller closes it, and nothing is left.
func emptyTree(p Place) (*os.File, error) {
	root, err := emptyRAM("empty tree", 1<<20)
	if err != nil {
		return nil, err
	}
	id := int(p.TreeID)
	if err := errors.Join(root.Chown(id, id), root.Chmod(0o700)); err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

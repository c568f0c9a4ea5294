package vault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/vault/ext4"
	"github.com/tazzo/tazpod/init/wire"
	"golang.org/x/sys/unix"
)

// draft is a new generation that nobody sees as a vault yet.
type draft struct {
	place  Place
	name   string
	file   *sys.File
	header *luks.Header // its own; the vault's once it is published
	key    *locked.Buffer
	size   int64 // bytes, of the file
	sealed bool
	parked bool // it is kept under another name
}

// create makes the file, under a name that nothing has.
func (d *draft) create() error {
	d.name = draftPrefix + randomName()
	f, err := d.place.create(d.name)
	if err != nil {
		return err
	}
	d.file = f
	if err := f.Truncate(d.size); err != nil {
		return errors.Join(err, d.discard())
	}
	return nil
}

// randomName is a part of a name that nobody can have thought of.
func randomName() string {
	random := make([]byte, 6)
	rand.Read(random) // never fails
	return hex.EncodeToString(random)
}

// discard removes the file unless it has become the vault or is parked.
func (d *draft) discard() error {
	if d.file == nil {
		return nil
	}
	err := d.file.Close()
	if d.parked {
		return err
	}
	return errors.Join(err, d.place.remove(d.name))
}

// park keeps the file under a name that no opening looks at. The caller syncs
// the directory.
func (d *draft) park(name string) error {
	if err := d.place.rename(d.name, name); err != nil {
		return err
	}
	d.parked = true
	return nil
}

// write encrypts the used blocks of image, and puts the header with their seal
// in front of them.
func (d *draft) write(ctx context.Context, image *os.File) error {
	used, err := ext4.Allocated(image)
	if err != nil {
		return err
	}
	seal, err := newSealer(d.key, d.header, image)
	if err != nil {
		return err
	}
	cipher, err := luks.NewCipher(d.key, d.header.Segment.SectorSize)
	if err != nil {
		return err
	}
	defer cipher.Destroy()
	for _, r := range used {
		if err := cipher.WriteRange(ctx, d.file, d.header.Segment, image, r.Off, r.Len, seal.add); err != nil {
			return err
		}
	}
	// A header whose tokens are all others' has no room for a seal.
	err = d.header.SetToken(ctx, sealKind, seal.token())
	if d.sealed = err == nil; !d.sealed && !errors.Is(err, luks.ErrNoToken) {
		return err
	}
	return d.header.WriteTo(d.file)
}

// sync brings it to the disk, and drops it from the page cache so that what is
// read back comes from there.
func (d *draft) sync() error {
	if err := d.file.Sync(); err != nil {
		return err
	}
	d.file.Uncache()
	return nil
}

// syncAndRecheck has cryptsetup read the header in RAM while the disk works.
func (d *draft) syncAndRecheck(ctx context.Context) error {
	return both(ctx, d.header.Recheck, func(context.Context) error { return d.sync() })
}

// verify reads it all back and compares it with tree. Of the header it compares
// the bytes: syncAndRecheck had cryptsetup read the very same ones.
func (d *draft) verify(ctx context.Context, tree *os.File) error {
	if same, err := d.header.SameAs(d.file); err != nil || !same {
		return errors.Join(err, errors.New("the header differs"))
	}
	cipher, err := luks.NewCipher(d.key, d.header.Segment.SectorSize)
	if err != nil {
		return err
	}
	defer cipher.Destroy()
	plain := cipher.Sectors(d.file, d.header.Segment)
	return both(ctx, func(ctx context.Context) error {
		seal, err := checkSeal(ctx, d.file, d.header, d.key, plain)
		if err == nil && seal != SealIntact && (d.sealed || seal != SealAbsent) {
			err = fmt.Errorf("its seal is %s", seal)
		}
		return err
	}, func(ctx context.Context) error {
		fs, err := ext4.Open(plain, plain.Size())
		if err != nil {
			return err
		}
		return fs.Verify(ctx, tree, d.place.ids())
	})
}

// replace makes it the vault, in the place of the generation that is there.
func (d *draft) replace() error { return d.place.rename(d.name, wire.VaultFile) }

// publish makes it the vault where there is none: ErrExists if there is.
func (d *draft) publish() error {
	dir := d.place.dir()
	err := dir.RenameNew(d.name, wire.VaultFile)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // the file system can't
		if err = dir.Link(d.name, wire.VaultFile); err == nil {
			err = d.place.remove(d.name)
		}
	}
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%s: %w", d.place.path(wire.VaultFile), ErrExists)
	}
	return named(err)
}

// stamp describes the file as it is now.
func (d *draft) stamp() (stamp, error) { return regular(d.file.File) }

package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/init/steps"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
	"golang.org/x/sys/unix"
)

// Another file becomes the vault: an earlier generation, or a backup. It must open
// with the passphrase that is given for it, and its file system must be sound. What
// is the vault until then stays as an earlier generation.

// Rollback makes earlier generation n the vault, and the vault the newest of the
// earlier ones, in steps that each leave all files under some name of theirs. pass
// is that generation's.
func Rollback(ctx context.Context, p Place, n int, pass *locked.Buffer) error {
	lock, err := p.takeLock()
	if err != nil {
		return err
	}
	defer unlock(lock)
	if n < 1 || n > generations {
		return fmt.Errorf("%w: %d", ErrNoGeneration, n)
	}
	img, err := p.open(generation(n), unix.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %d", ErrNoGeneration, n)
	}
	if err != nil {
		return err
	}
	defer img.Close()
	if _, err := regular(img.File); err != nil {
		return fmt.Errorf("%s: %w", img.Name(), err)
	}
	if err := fit(ctx, img, pass); err != nil {
		return fmt.Errorf("%s: %w", img.Name(), classify(err))
	}
	err = p.goBack(ctx, n)
	return errors.Join(err, p.sync())
}

// goBack swaps names. Where the file system can't, the vault is kept as it is before
// a save, and the oldest generation goes.
func (p Place) goBack(ctx context.Context, n int) error {
	if _, err := p.stat(wire.VaultFile); errors.Is(err, os.ErrNotExist) {
		return p.rename(generation(n), wire.VaultFile)
	}
	err := p.dir().Exchange(generation(n), wire.VaultFile)
	if err == nil && n > 1 { // so that it isn't the next to be dropped
		return named(p.dir().Exchange(generation(n), generation(1)))
	}
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return named(err)
	}
	held := suspectPrefix + randomName() // a name that nothing else drops
	if err := p.rename(generation(n), held); err != nil {
		return err
	}
	if err := p.rotate(ctx); err != nil {
		return errors.Join(err, p.rename(held, generation(n)))
	}
	return p.rename(held, wire.VaultFile)
}

// fit tells whether img is a vault that pass opens and whose file system is sound.
// A broken seal is no reason to refuse what can be read: opening it tells.
func fit(ctx context.Context, img *sys.File, pass *locked.Buffer) error {
	h, err := luks.Read(ctx, img)
	if err != nil {
		return err
	}
	defer h.Close()
	key, known, err := unlockHeader(ctx, h, pass)
	if err != nil {
		return err
	}
	known.destroy()
	defer key.Destroy()
	rows, err := inspect(ctx, img, h, key)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.Name == fileSystem && !row.OK && !row.Beyond {
			return kind{errors.New(row.Found), ErrDamaged}
		}
	}
	return nil
}

// Backup opens the vault as it is on disk, a complete generation whatever is saved
// meanwhile.
func Backup(p Place) (*sys.File, error) {
	img, _, err := p.openVault()
	return img, err
}

// BackupHeader returns the vault's header alone: enough to open the data again when
// the header is damaged, and to everyone who knows a passphrase of today. The caller
// closes it.
func BackupHeader(ctx context.Context, p Place) (*luks.Header, error) {
	img, _, err := p.openVault()
	if err != nil {
		return nil, err
	}
	defer img.Close()
	h, err := luks.Read(ctx, img)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", img.Name(), classify(err))
	}
	return h, nil
}

// Restore makes a backup of size bytes the vault. pass is the backup's.
func Restore(ctx context.Context, p Place, backup io.Reader, size int64, pass *locked.Buffer) error {
	return p.install(ctx, func(d *draft) error {
		d.size = size
		return nil
	}, func(d *draft) error {
		return receive(d.file, backup, size)
	}, pass)
}

// RestoreHeader puts a header that BackupHeader gave, of size bytes, in front of the
// vault's data. pass is that header's.
func RestoreHeader(ctx context.Context, p Place, backup io.Reader, size int64, pass *locked.Buffer) error {
	return p.install(ctx, func(d *draft) error {
		now, err := p.stat(wire.VaultFile)
		if err == nil && size > now.Size {
			err = fmt.Errorf("%w: the header is longer than the vault", ErrDamaged)
		}
		d.size = now.Size
		return err
	}, func(d *draft) error {
		img, _, err := p.openVault()
		if err != nil {
			return err
		}
		defer img.Close()
		if err := receive(d.file, backup, size); err != nil {
			return err
		}
		h, err := luks.Read(ctx, d.file)
		if err != nil {
			return err
		}
		defer h.Close()
		if h.Length != size {
			return fmt.Errorf("%w: a header of %d bytes in a file of %d: is it a whole backup?", ErrUnsupported, h.Length, size)
		}
		return copyData(ctx, d.file, img, size, d.size)
	}, pass)
}

// install publishes a draft that write fills, once pass opens it. size says how long
// it is.
func (p Place) install(ctx context.Context, size, write func(*draft) error, pass *locked.Buffer) error {
	lock, err := p.takeLock()
	if err != nil {
		return err
	}
	defer unlock(lock)
	p.sweep()
	d := &draft{place: p}
	if err := size(d); err != nil {
		return err
	}
	err = steps.List{
		{Name: "create", Do: d.create, Undo: d.discard},
		{Name: "write", Do: func() error { return write(d) }},
		{Name: "sync", Do: d.sync},
		{Name: "verify", Do: func() error { return classify(fit(ctx, d.file, pass)) }},
		{Name: "keep", Do: func() error { return p.rotate(ctx) }},
		{Name: "rename", Do: d.replace},
	}.Do()
	if err != nil {
		return fmt.Errorf("restore %s: %w", p.path(wire.VaultFile), err)
	}
	defer d.file.Close() // synced before
	return p.sync()
}

// receive writes size bytes of r to f, a fresh file of that length at least, and
// leaves out pages of zeroes. Fewer are io.ErrUnexpectedEOF.
func receive(f *sys.File, r io.Reader, size int64) error {
	buffer := make([]byte, 64*pageSize)
	for offset := int64(0); offset < size; {
		p := buffer[:min(int64(len(buffer)), size-offset)]
		_, err := io.ReadFull(r, p)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("read the backup: %w", err)
		}
		for page := range slices.Chunk(p, pageSize) {
			if !allZero(page) {
				if _, err := f.WriteAt(page, offset); err != nil {
					return err
				}
			}
			offset += int64(len(page))
		}
	}
	return nil
}

package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/init/steps"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
	"golang.org/x/sys/unix"
)

// A new header in front of the same data is a generation of its own, published as
// a save's is: what is killed or fails leaves the old one.
//
//	create   vault.img.new-…
//	copy     the encrypted data of vault.img, then the header
//	sync, verify, check as in a save
//	keep     as in a save; or forget
//	rename, publish as in a save
//
// No data are written anew, and changes of the tree stay to be saved.

// rewrite gives the vault a header that change has made of the present one.
// forget is for changes after which an old passphrase shall not open anything any
// more: the earlier generations, which it would open, are removed before the new one
// is there, for whoever is interrupted in between has a passphrase to try again with.
// That takes a vault without damage, whose earlier generations nobody needs.
func (v *Vault) rewrite(ctx context.Context, forget bool, change func(*luks.Header) error) error {
	header, err := v.header.Clone()
	if err != nil {
		return err
	}
	if err := change(header); err != nil {
		return errors.Join(err, header.Close())
	}
	img, _, err := v.place.openVault()
	if err != nil {
		return errors.Join(err, header.Close())
	}
	defer img.Close()
	if forget {
		if err := sound(ctx, img, v.header, v.key); err != nil {
			return errors.Join(err, header.Close())
		}
	}
	d := &draft{place: v.place, header: header, key: v.key, size: v.onDisk.size}
	err = steps.List{
		{Name: "create", Do: d.create, Undo: d.discard},
		{Name: "copy", Do: func() error { return d.copy(ctx, img) }},
		{Name: "sync", Do: d.sync},
		{Name: "verify", Do: func() error { return d.verifyCopy(ctx, img) }},
		{Name: "check", Do: v.check},
		{Name: "keep", Do: func() error {
			if forget {
				v.kept = time.Time{}
				return v.place.forgetGenerations()
			}
			return v.keep(ctx)
		}},
		{Name: "rename", Do: d.replace},
	}.Do()
	if err != nil {
		return errors.Join(err, header.Close())
	}
	err = v.adopt(d)
	v.verifiers.keep(d.header.Keyslots()) // whatever comes now, the others open nothing
	return errors.Join(err, v.place.sync())
}

// adopt makes the draft what is known to be on disk.
func (v *Vault) adopt(d *draft) error {
	now, err := d.stamp()
	err = errors.Join(err, v.header.Close(), d.file.Close())
	v.header, v.onDisk = d.header, now
	v.header.Repaired = "" // both copies are what was written
	return err
}

// copy fills the draft with the data of img, behind a header of its own.
func (d *draft) copy(ctx context.Context, img *sys.File) error {
	if err := copyData(ctx, d.file, img, d.header.Length, d.size); err != nil {
		return err
	}
	return d.header.WriteTo(d.file)
}

// verifyCopy reads the draft back from disk: its header must be the one that was
// meant, and its data those of img.
func (d *draft) verifyCopy(ctx context.Context, img *sys.File) error {
	header, err := luks.Read(ctx, d.file)
	if err != nil {
		return err
	}
	defer header.Close()
	if same, err := d.header.SameAs(d.file); err != nil || !same || header.Repaired != "" || header.Segment != d.header.Segment {
		return errors.Join(err, errors.New("the header differs"))
	}
	const chunk = 256 << 10 // bytes
	ours, theirs := make([]byte, chunk), make([]byte, chunk)
	return sys.EachData(ctx, img, header.Length, d.size, func(offset, length int64) error {
		for length > 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(length, chunk)
			for f, p := range map[io.ReaderAt][]byte{d.file: ours[:n], img: theirs[:n]} {
				if _, err := f.ReadAt(p, offset); err != nil {
					return err
				}
			}
			if !bytes.Equal(ours[:n], theirs[:n]) {
				return fmt.Errorf("the data at %d differ", offset)
			}
			offset, length = offset+n, length-n
		}
		return nil
	})
}

// forgetGenerations removes the earlier generations, whose keyslots are those of
// their time, and makes that last. What has such a name and is no file opens
// nothing.
func (p Place) forgetGenerations() error {
	var errs []error
	for n := 1; n <= generations; n++ {
		st, err := p.stat(generation(n))
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG:
			err = p.remove(generation(n))
			fallthrough
		default:
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, p.sync())...)
}

// failed says what could not be done to the vault.
func (v *Vault) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, v.place.path(wire.VaultFile), classify(err))
}

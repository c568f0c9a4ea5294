package control

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strconv"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/vault"
	"github.com/tazzo/tazpod/init/wire"
)

// Commands about other states and copies of the vault.

func (d *dialogue) generations() error {
	place, err := d.pod.findVault(false)
	if err != nil {
		return err
	}
	defer place.Dir.Close()
	list, err := vault.Generations(d.ctx, place)
	for _, g := range list {
		d.result.Generations = append(d.result.Generations, wire.VaultGeneration(g))
	}
	return err
}

func (d *dialogue) rollback() error {
	if err := d.closed(func(vault.Place) error { return nil }); err != nil {
		return err
	}
	n := strconv.Itoa(d.request.Number)
	err := d.withPassphrase("Passphrase of generation "+n+": ", func(pass *locked.Buffer) error {
		return d.closed(func(place vault.Place) error { return vault.Rollback(d.ctx, place, d.request.Number, pass) })
	})
	if err == nil {
		err = d.tell("Generation " + n + " is the vault now; what was the vault is generation 1.")
	}
	return err
}

// backup saves what is open first, so that the copy has it.
func (d *dialogue) backup() error {
	o, err := d.pod.acquire()
	if err != nil {
		return err
	}
	if o != nil {
		_, err := o.inRAM() // a file that is written in place is not whole
		if err == nil {
			err = o.save()
		}
		if err := errors.Join(err, d.pod.release()); err != nil {
			return err
		}
	}
	place, err := d.pod.findVault(false)
	if err != nil {
		return err
	}
	defer place.Dir.Close()
	if d.request.Header {
		h, err := vault.BackupHeader(d.ctx, place)
		if err != nil {
			return err
		}
		defer h.Close()
		return d.give(h.Reader())
	}
	f, err := vault.Backup(place)
	if err != nil {
		return err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return err
	}
	if err := d.give(f); err != nil {
		return err
	}
	after, err := f.Stat()
	if err == nil && !after.ModTime().Equal(before.ModTime()) {
		err = errInPlace
	}
	return err
}

// give sends all of r, and its sum with the result.
func (d *dialogue) give(r io.Reader) error {
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(data{d}, sum), r); err != nil {
		return err
	}
	d.result.Sum = hex.EncodeToString(sum.Sum(nil))
	return nil
}

func (d *dialogue) restore() error {
	exists := false
	err := d.closed(func(place vault.Place) (err error) {
		exists, err = vault.Exists(place)
		if errors.Is(err, vault.ErrMissing) { // what a backup is for
			err = nil
		}
		return err
	})
	if err != nil {
		return err
	}
	what, install := "vault", vault.Restore
	if d.request.Header {
		what, install = "header", vault.RestoreHeader
	}
	if exists {
		if err := d.confirm("The present vault becomes generation 1. Put the backup's " + what + " in its place?"); err != nil {
			return err
		}
	}
	// Once: the file would have to come again.
	return d.onePassphrase("Passphrase of the backup: ", func(pass *locked.Buffer) error {
		return d.closed(func(place vault.Place) error {
			if err := d.send(wire.VaultMessage{Send: true}); err != nil {
				return err
			}
			return install(d.ctx, place, data{d}, d.request.Size, pass)
		})
	})
}

func (d *dialogue) export() error {
	to := strconv.Quote(d.request.To)
	if err := d.confirm("This writes every secret of the vault in clear to " + to + ", where other programs can read it. Go on?"); err != nil {
		return err
	}
	return d.authorized(func(pass *locked.Buffer) error {
		if err := d.confirm("In clear, to " + to + ", for good. Are you sure?"); err != nil {
			return err
		}
		return d.content(pass, func(o *opened) error {
			sum := sha256.New()
			err := vault.Export(d.ctx, o.tree, io.MultiWriter(data{d}, sum))
			d.result.Sum = hex.EncodeToString(sum.Sum(nil))
			return err
		})
	})
}

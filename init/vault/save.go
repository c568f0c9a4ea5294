package vault

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/init/steps"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/vault/ext4"
	"github.com/tazzo/tazpod/init/wire"
)

// A save, under the lock. Killed before the rename it leaves the old generation
// and perhaps a draft, which the next opening removes; after it, the new one.
//
//	snapshot tree → a copy in RAM that stands still and that nobody else sees
//	digest   nothing to do if the content is what is on disk
//	build    snapshot → plain image in RAM (mke2fs), meanwhile
//	create   vault.img.new-…, O_EXCL
//	write    encrypted blocks, then the header with their seal
//	sync     fsync of the draft; cryptsetup reads the header, in RAM, anew
//	verify   read back from disk: the header is the one in RAM, the data are as
//	         sealed, and decrypted they are the snapshot
//	check    vault.img is still the generation that we opened; if it isn't, the
//	         draft stays beside it as vault.img.conflict-…
//	keep     vault.img → vault.img.1 by link, as well as that goes
//	rename   vault.img.new-… → vault.img
//	publish  fsync of the directory
//
// The tree may change meanwhile: its metadata from before the copy is what the
// next one is compared with. mke2fs never sees the tree itself, whose owner could
// swap names under it: it runs as root and trusts what it reads.

// Changed says whether the tree may differ from what is on disk, by metadata: it
// is cheap and misses writes through a shared mapping, which Save finds. Of what was
// saved within a tick of its last change metadata don't tell: it is read once more.
func (v *Vault) Changed() (bool, error) {
	v.saving.Lock()
	defer v.saving.Unlock()
	if v.key == nil {
		return false, ErrClosed
	}
	now, err := takeFingerprint(context.Background(), v.tree)
	if err == nil && !v.clean.settled && now.settled && now.sum == v.clean.sum {
		digest, _, err := digestTree(context.Background(), v.tree)
		v.clean.settled = err == nil && digest == v.digest
	}
	return !v.clean.settled || now.sum != v.clean.sum, err
}

// Moved says whether the tree's metadata differ from when it was last called.
func (v *base) Moved() (bool, error) {
	v.saving.Lock()
	defer v.saving.Unlock()
	if v.key == nil {
		return false, ErrClosed
	}
	now, err := takeFingerprint(context.Background(), v.tree)
	moved := now.sum != v.looked
	v.looked = now.sum
	return moved, err
}

// Save writes the tree's files to disk as a new generation. saved is false when
// the content is already there. What no vault can hold is left out, which Info
// tells, and counts as saved. An error means that the generation on disk is
// the old one, whole, unless it comes from the last fsync. ErrParked among it
// means that the content is on disk beside it, and stays what a retry returns
// until the content changes. ctx ends a save at any point before the rename.
func (v *Vault) Save(ctx context.Context) (saved bool, err error) {
	v.saving.Lock()
	defer v.saving.Unlock()
	if v.key == nil {
		return false, ErrClosed
	}
	saved, err = v.save(ctx)
	if err != nil {
		return false, fmt.Errorf("save %s: %w", v.place.path(wire.VaultFile), classify(err))
	}
	return saved, nil
}

func (v *Vault) save(ctx context.Context) (saved bool, err error) {
	before, err := takeFingerprint(ctx, v.tree)
	if err != nil {
		return false, err
	}
	if before.sum == v.clean.sum {
		// A tree that is read while it changes can't look like the one on disk
		// without having been like it file by file.
		s := newSieve()
		if digest, _, err := s.digest(ctx, v.tree); err == nil && digest == v.digest {
			v.clean = before
			v.leftOut(s)
			return false, nil
		}
	}
	header, err := v.header.Clone()
	if err != nil {
		return false, err
	}
	return v.saveAs(ctx, header, v.onDisk.size, before)
}

// saveAs saves the tree, whose metadata was before, behind header, which it takes
// over, in a file of size bytes.
func (v *Vault) saveAs(ctx context.Context, header *luks.Header, size int64, before fingerprint) (saved bool, err error) {
	defer func() {
		if !saved {
			err = errors.Join(err, header.Close())
		}
	}()
	snap, err := takeSnapshot(ctx, v.tree, header.Segment.Size)
	if err != nil {
		return false, fmt.Errorf("copy the files to save: %w", err)
	}
	defer func() { err = errors.Join(err, snap.wipe()) }()
	v.leftOut(snap.sieve)
	return v.saveSnapshot(ctx, snap.File, &draft{place: v.place, header: header, key: v.key, size: size}, before)
}

// saveSnapshot makes d of a copy of the tree, whose metadata was before.
func (v *Vault) saveSnapshot(ctx context.Context, tree *os.File, d *draft, before fingerprint) (saved bool, err error) {
	var image *os.File
	var digest [sha256.Size]byte
	var used int64
	var needless error
	err = both(ctx, func(ctx context.Context) (err error) {
		image, err = ext4.Build(ctx, tree, d.header.Segment.Size, v.place.ids())
		return err
	}, func(ctx context.Context) (err error) {
		if digest, used, err = digestTree(ctx, tree); err == nil {
			needless = v.needless(d, digest) // not returned: mke2fs, killed, would leave some of the content in free memory
		}
		return err
	})
	if err == nil {
		err = needless
	}
	if image != nil {
		defer func() { err = errors.Join(err, sys.Zero(image), image.Close()) }()
	}
	if err == errSaved {
		v.clean = before
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = v.steps(ctx, d, image, tree).Do()
	if errors.Is(err, ErrParked) {
		v.parked.digest, v.parked.err = digest, err
	}
	if err != nil {
		return false, err
	}
	return true, v.published(d, digest, used, before)
}

// errSaved says that the content is on disk already.
var errSaved = errors.New("saved before")

// needless is an error when d with that content would be of no use.
func (v *Vault) needless(d *draft, content [sha256.Size]byte) error {
	if content == v.digest && d.size == v.onDisk.size {
		return errSaved
	}
	if v.isParked(content) {
		return v.parked.err
	}
	return nil
}

// steps are the part of a save that touches the disk.
func (v *Vault) steps(ctx context.Context, d *draft, image, tree *os.File) steps.List {
	return steps.List{
		{Name: "create", Do: d.create, Undo: d.discard},
		{Name: "write", Do: func() error { return d.write(ctx, image) }},
		{Name: "sync", Do: func() error { return d.syncAndRecheck(ctx) }},
		{Name: "verify", Do: func() error { return d.verify(ctx, tree) }},
		{Name: "check", Do: func() error { return v.park(d, v.check()) }},
		{Name: "keep", Do: func() error { return v.keep(ctx) }},
		{Name: "rename", Do: func() error { return v.park(d, d.replace()) }},
	}
}

// check refuses to replace anything but the generation that we know: a save by
// another machine, whose locks don't reach us, or another tool's work.
func (v *Vault) check() error {
	f, now, err := v.place.openVault()
	if errors.Is(err, ErrAbsent) {
		return nil // nothing would be lost
	}
	if err != nil {
		return err
	}
	defer f.Close()
	same, err := v.header.SameAs(f)
	if err == nil && (now != v.onDisk || !same) {
		err = fmt.Errorf("%s: %w", f.Name(), ErrChangedOnDisk)
	}
	return err
}

// published takes note of the new generation, then makes its name last.
func (v *Vault) published(d *draft, digest [sha256.Size]byte, used int64, before fingerprint) error {
	err := v.adopt(d)
	v.digest, v.clean, v.suspect = digest, before, false
	v.state.Lock()
	v.info.Saved, v.info.Used, v.info.Size = time.Now(), used, v.onDisk.size
	v.info.Room, v.info.Names = ext4.Room(v.header.Segment.Size)
	v.state.Unlock()
	if err = errors.Join(err, v.place.sync()); err != nil {
		v.digest, v.clean = [sha256.Size]byte{}, fingerprint{} // so that it is tried again
	}
	return err
}

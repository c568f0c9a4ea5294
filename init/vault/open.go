package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/vault/ext4"
	"github.com/tazzo/tazpod/init/wire"
	"golang.org/x/sys/unix"
)

// Open fills the empty directory tree with the vault's files and holds the
// vault's lock until Close. tree must stay open as long; on an error it may
// hold a part of the files.
func Open(ctx context.Context, p Place, pass *locked.Buffer, tree *os.File) (*Vault, error) {
	return p.withLock(ctx, pass, func(v *Vault, img *sys.File) error {
		v.tree = tree
		return v.fill(ctx, img)
	})
}

// Unlock is Open without files: what it returns takes commands about keys, and
// must not be saved.
func Unlock(ctx context.Context, p Place, pass *locked.Buffer) (*Vault, error) {
	return p.withLock(ctx, pass, func(*Vault, *sys.File) error { return nil })
}

// withLock takes the lock and the volume key, and lets go of them if fill fails.
func (p Place) withLock(ctx context.Context, pass *locked.Buffer, fill func(*Vault, *sys.File) error) (*Vault, error) {
	lock, err := p.takeLock()
	if err != nil {
		return nil, err
	}
	p.sweep()
	v := &Vault{base: base{place: p, lock: lock}}
	v.info.Path = p.path(wire.VaultFile)
	if err := v.open(ctx, pass, fill); err != nil {
		return nil, errors.Join(err, v.forget())
	}
	return v, nil
}

func (v *Vault) open(ctx context.Context, pass *locked.Buffer, fill func(*Vault, *sys.File) error) error {
	img, now, err := v.place.openVault()
	if err != nil {
		return err
	}
	defer img.Close()
	v.onDisk = now
	if err := v.unlock(ctx, img, pass); err != nil {
		return fmt.Errorf("%s: %w", img.Name(), classify(err))
	}
	v.info.UUID, v.info.Size, v.info.Opened = v.header.UUID, now.size, time.Now()
	v.info.Room, v.info.Names = ext4.Room(v.header.Segment.Size)
	return fill(v, img)
}

// fill loads the files, and notes what they are like now.
func (v *Vault) fill(ctx context.Context, img *sys.File) (err error) {
	if err := v.load(ctx, img); err != nil {
		return fmt.Errorf("%s: %w", img.Name(), classify(err))
	}
	s := newSieve()
	if v.digest, v.info.Used, err = s.digest(ctx, v.tree); err != nil {
		return err
	}
	if v.leftOut(s); len(s.out) > 0 {
		v.suspect = true
		v.note("some of what is in the vault can't be saved again, and is gone after the next save")
	}
	if v.clean, err = takeFingerprint(ctx, v.tree); err != nil {
		return err
	}
	v.clean.settled = true // nobody else has the tree yet
	return nil
}

// unlock gets the volume key.
func (v *base) unlock(ctx context.Context, img *sys.File, pass *locked.Buffer) (err error) {
	if v.header, err = luks.Read(ctx, img); err != nil {
		return err
	}
	if v.header.Repaired != "" {
		v.note("the %s copy of the vault's header was damaged; the other was used, and the next save by the engine memory mends it", v.header.Repaired)
	}
	start := time.Now()
	key, known, err := unlockHeader(ctx, v.header, pass)
	if err != nil {
		return err
	}
	v.key = key
	v.verifiers.add(known)
	v.info.KDF = time.Since(start)
	return nil
}

// unlockHeader returns the volume key, and what recognises the passphrase, or the
// recovery code however it was typed, from then on.
func unlockHeader(ctx context.Context, h *luks.Header, pass *locked.Buffer) (*locked.Buffer, *verifier, error) {
	list, wrong, err := forms(pass)
	if err != nil {
		return nil, nil, err
	}
	var key *locked.Buffer
	var known *verifier
	for i, form := range list {
		if i == 0 || errors.Is(err, ErrPassphrase) {
			key, known, err = unlockBy(ctx, h, form)
		}
		form.Destroy()
	}
	if wrong > 0 && errors.Is(err, ErrPassphrase) {
		err = &MistypedError{wrong}
	}
	return key, known, err
}

// unlockBy is unlockHeader for one form of the passphrase.
func unlockBy(ctx context.Context, h *luks.Header, pass *locked.Buffer) (*locked.Buffer, *verifier, error) {
	// Its derivation takes as long as everything behind the keyslot's: let it
	// run beside that one.
	var known *verifier
	made := make(chan error, 1)
	go func() {
		var err error
		known, err = newVerifier(pass)
		made <- err
	}()
	key, slot, err := h.Unlock(ctx, pass)
	if err = errors.Join(err, <-made); err != nil {
		key.Destroy()
		known.destroy()
		return nil, nil, err
	}
	known.slot = slot
	return key, known, nil
}

// load extracts the files.
func (v *Vault) load(ctx context.Context, img *sys.File) error {
	cipher, err := luks.NewCipher(v.key, v.header.Segment.SectorSize)
	if err != nil {
		return err
	}
	defer cipher.Destroy()
	plain := cipher.Sectors(img, v.header.Segment)
	// What the seal says decides nothing about what is extracted.
	err = both(ctx, func(ctx context.Context) (err error) {
		v.info.Seal, err = checkSeal(ctx, img, v.header, v.key, plain)
		return err
	}, func(ctx context.Context) error { return v.extractFrom(ctx, img, plain) })
	if err != nil {
		return err
	}
	v.suspect = v.info.Seal == SealForeign || v.info.Seal == SealBroken
	switch v.info.Seal {
	case SealForeign:
		v.note("another program has written to the vault since it was sealed here")
	case SealBroken:
		v.note("the vault's data differ from their seal: they were damaged or tampered with")
	}
	return nil
}

func (v *Vault) extractFrom(ctx context.Context, img *sys.File, plain *luks.Sectors) error {
	fs, err := ext4.Open(plain, plain.Size())
	if errors.Is(err, ext4.ErrNeedsReplay) {
		return v.extractReplayed(ctx, plain, img)
	}
	if err != nil {
		return err
	}
	return v.extract(ctx, fs)
}

// extractReplayed extracts from a copy in RAM on which e2fsck has finished what
// another program was in the middle of.
func (v *Vault) extractReplayed(ctx context.Context, plain *luks.Sectors, img *sys.File) (err error) {
	image, err := inRAM(ctx, img, plain)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sys.Zero(image), image.Close()) }()
	if err := ext4.Replay(ctx, image); err != nil {
		return kind{err, ErrDamaged}
	}
	v.note("the vault was not closed cleanly by another program; its journal was replayed")
	fs, err := ext4.Open(image, plain.Size())
	if err != nil {
		return err
	}
	return v.extract(ctx, fs)
}

func (v *Vault) extract(ctx context.Context, fs *ext4.FS) error {
	stats, err := fs.Extract(ctx, v.tree, v.place.ids())
	if err != nil {
		return err
	}
	if stats.Special > 0 {
		v.note("%d devices, sockets or FIFOs in the vault are left out, and gone after the next save", stats.Special)
	}
	if stats.LostAttrs > 0 {
		v.note("%d extended attributes can't be held in RAM on this kernel, and are gone after the next save", stats.LostAttrs)
	}
	return adoptRoot(v.tree, v.place.TreeID)
}

// adoptRoot makes the top of the tree writable for the vault's user: in a file
// system as mke2fs makes it by itself, it belongs to root.
func adoptRoot(tree *os.File, owner uint32) error {
	return sys.Control(tree, func(fd int) error {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Uid != 0 {
			return err
		}
		id := int(owner)
		if err := unix.Fchown(fd, id, id); err != nil {
			return err
		}
		return unix.UtimesNanoAt(fd, "", []unix.Timespec{st.Atim, st.Mtim}, unix.AT_EMPTY_PATH)
	})
}

// note adds something that people should know.
func (v *base) note(format string, args ...any) {
	v.state.Lock()
	defer v.state.Unlock()
	v.info.Notes = append(v.info.Notes, fmt.Sprintf(format, args...))
}

package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/vault/device"
	"github.com/tazzo/tazpod/init/vault/ext4"
	"github.com/tazzo/tazpod/init/wire"
	"golang.org/x/sys/unix"
)

// The engine dmcrypt, for vaults whose content is larger than a pod's memory: the
// kernel mounts vault.img, and writes go to the file where they belong. What keeps
// them whole is the file system's journal; saves make no generations. In order,
// under the lock:
//
//	unlock   as for the engine memory; nothing was changed if the passphrase is wrong
//	alone    vault.img gets an inode of its own, for an earlier generation may be a
//	         link to the same one
//	reserve  it gets all its blocks: a full disk must not stop writes half way
//	device   see package device; from here on the key is the kernel's alone
//	unseal   the seal goes, which these writes don't keep
//	check    by e2fsck, all of it: the kernel never mounts a broken file system
//	mount    from the descriptor of the device, in this mount namespace
//
// Killed anywhere, nothing stays but vault.img, which both engines open.

// Mounted is a vault that the kernel has mounted. Its methods may be called from
// several goroutines.
type Mounted struct {
	base
	path string

	// Guarded by saving.
	device *device.Device
	clean  fingerprint // of the tree when it was last synced
	failed error       // what can't be made good any more
}

// Mount mounts the vault on path, an empty directory, and holds its lock until
// Close. ids is the user namespace that shows what belongs to wire.UserID on disk
// as Place.TreeID; nil where both are the same.
func Mount(ctx context.Context, p Place, pass *locked.Buffer, path string, ids *os.File) (*Mounted, error) {
	lock, err := p.takeLock()
	if err != nil {
		return nil, err
	}
	// Nothing else keeps two machines apart: writes in place have no generation to
	// compare. Who has the lock gets it again.
	if err := sys.Lock(lock.File); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: the file system of %s has no locks: %v", ErrUnsupported, p.Dir.Name(), err), unlock(lock))
	}
	p.sweep()
	m := &Mounted{base: base{place: p, lock: lock}, path: path}
	m.info.Path, m.info.Opened = p.path(wire.VaultFile), time.Now()
	if err := m.open(ctx, pass, ids); err != nil {
		return nil, errors.Join(err, m.end())
	}
	return m, nil
}

func (m *Mounted) open(ctx context.Context, pass *locked.Buffer, ids *os.File) error {
	img, now, err := m.place.openVault()
	if err != nil {
		return err
	}
	defer img.Close()
	wrap := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s: %w", img.Name(), classify(err))
	}
	if err := m.unlock(ctx, img, pass); err != nil {
		return wrap(err)
	}
	m.info.UUID, m.info.Size, m.info.Seal = m.header.UUID, now.size, SealAbsent
	alone, err := m.alone(ctx)
	if err != nil {
		return err
	}
	defer alone.Close()
	if same, err := m.header.SameAs(alone); err != nil || !same {
		return errors.Join(err, wrap(ErrChangedOnDisk))
	}
	if err := m.reserve(alone.File, now.size); err != nil {
		return wrap(err)
	}
	if m.device, err = device.Open(alone.File, m.header.UUID, m.header.Segment, m.key); err != nil {
		if errors.Is(err, device.ErrOpen) {
			err = kind{err, ErrInUse}
		}
		return wrap(err)
	}
	m.key.Destroy()
	if err := m.check(ctx, func() error { return m.header.RemoveToken(ctx, alone.File, sealKind) }); err != nil {
		return wrap(err)
	}
	if err := m.mount(ids); err != nil {
		return wrap(err)
	}
	return m.look(ctx)
}

// alone opens vault.img for writing, after a copy of it has taken its place if it
// has other names.
func (m *Mounted) alone(ctx context.Context) (*sys.File, error) {
	f, err := m.place.open(wire.VaultFile, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	err = plain(f.File)
	if err == nil {
		return f, nil
	}
	f.Close()
	if !errors.Is(err, errSeveralNames) {
		return nil, err
	}
	err = m.place.copyVault(ctx, func(name string) error { return m.place.rename(name, wire.VaultFile) })
	if err := errors.Join(err, m.place.sync()); err != nil {
		return nil, err
	}
	return m.place.open(wire.VaultFile, unix.O_RDWR)
}

// errNoRoom is of this engine alone: another one needs less.
var errNoRoom = errors.New("the disk has no room for all of the vault, whose blocks are written in place")

// reserve makes sure that no write of the kernel's needs a new block of the disk,
// and takes none when there are too few.
func (m *Mounted) reserve(img *os.File, size int64) error {
	st, err := sys.Stat(img)
	if err != nil {
		return err
	}
	space, err := sys.SpaceOf(img)
	if err != nil {
		return err
	}
	if missing := size - st.Blocks*512; missing > space.Free { // stat(2): whatever the block size is
		return fmt.Errorf("%w: %d MiB are free, %d more are needed", errNoRoom, space.Free>>20, missing>>20)
	}
	err = sys.Reserve(img, size)
	switch {
	case errors.Is(err, unix.ENOSPC):
		return kind{err, errNoRoom}
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		m.note("the disk of the vault can't reserve its blocks: should it be full, writes fail and are lost")
		return nil
	}
	return err
}

// check has e2fsck look at everything. A vault that is more than a little broken
// is kept as it is before it is repaired. unseal is called before anything is written.
func (m *Mounted) check(ctx context.Context, unseal func() error) error {
	_, found := ext4.Open(m.device, m.header.Segment.Size)
	replay := errors.Is(found, ext4.ErrNeedsReplay)
	if errors.Is(found, ext4.ErrUnsupported) {
		return found
	}
	if err := unseal(); err != nil {
		return err
	}
	corrected, err := ext4.Preen(ctx, m.device.File)
	if errors.Is(err, ext4.ErrCorrupt) {
		name := m.besideName(suspectPrefix)
		if err := errors.Join(m.device.Sync(), m.place.copyAs(ctx, name), m.place.sync()); err != nil {
			return fmt.Errorf("keep the broken vault before it is repaired: %w", err)
		}
		m.note("the vault's file system was broken and is repaired; as it was, the vault is kept as %s", m.place.path(name))
		corrected, err = false, ext4.Replay(ctx, m.device.File)
		if err != nil {
			return kind{err, ErrDamaged}
		}
	}
	switch {
	case err != nil && errors.Is(found, ext4.ErrCorrupt): // says more than that e2fsck failed
		return found
	case err != nil:
		return err
	case replay:
		m.note("the vault was not closed cleanly; its journal was replayed")
	case corrected:
		m.note("small errors of the vault's file system were corrected")
	}
	fs, err := ext4.Open(m.device, m.header.Segment.Size)
	if err == nil && !fs.Journaled() {
		err = fmt.Errorf("%w: a file system without a journal, which a crash would break", ErrUnsupported)
	}
	return err
}

// mount attaches the file system with options that are stronger than those that
// its superblock may ask for, which could stop the machine.
func (m *Mounted) mount(ids *os.File) error {
	mount, err := sys.NewMount("ext4", sys.NoSUID|sys.NoDev|sys.NoATime,
		"source="+sys.FdPath(int(m.device.Fd())), "errors=remount-ro", "data=ordered", "barrier")
	if err != nil {
		return err
	}
	defer mount.Close()
	if ids != nil {
		if err := sys.SetIDMap(mount, ids); err != nil {
			return err
		}
	}
	target, err := sys.OpenPath(nil, m.path, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer target.Close()
	if err := sys.Attach(mount, target); err != nil {
		return err
	}
	m.tree, err = os.Open(m.path)
	if err != nil {
		return errors.Join(err, sys.Detach(m.path))
	}
	return adoptRoot(m.tree, m.place.TreeID)
}

// look takes note of what is on disk.
func (m *Mounted) look(ctx context.Context) error {
	space, err := sys.SpaceOf(m.tree)
	if err != nil {
		return err
	}
	m.state.Lock()
	m.info.Used = space.Size - space.Free
	m.state.Unlock()
	m.clean, err = takeFingerprint(ctx, m.tree)
	m.clean.settled = true // nobody else has the tree yet
	return err
}

// Changed says whether something may not be on disk yet, by the files' metadata.
func (m *Mounted) Changed() (bool, error) {
	m.saving.Lock()
	defer m.saving.Unlock()
	if m.tree == nil {
		return false, ErrClosed
	}
	now, err := takeFingerprint(context.Background(), m.tree)
	if err == nil && !m.clean.settled && now.settled && now.sum == m.clean.sum && m.failed == nil {
		_, err = m.sync() // of what came within a tick of the last one
		m.clean.settled = err == nil
	}
	return !m.clean.settled || now.sum != m.clean.sum, err
}

var errStopped = errors.New("the kernel has stopped writing to the vault's file system after an error")

// Save brings to disk what the kernel has only in RAM; saved is false when that
// was nothing. After an error there are no others but that one: the kernel tells
// of each lost write once, and forgets it.
func (m *Mounted) Save(ctx context.Context) (saved bool, err error) {
	m.saving.Lock()
	defer m.saving.Unlock()
	if m.tree == nil {
		return false, ErrClosed
	}
	if err = m.failed; err == nil {
		saved, err = m.save(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("save %s: %w", m.place.path(wire.VaultFile), err)
	}
	return saved, nil
}

func (m *Mounted) save(ctx context.Context) (saved bool, err error) {
	before, err := takeFingerprint(ctx, m.tree)
	if err != nil {
		return false, err
	}
	space, err := m.sync()
	if err != nil {
		return false, err
	}
	saved = before.sum != m.clean.sum
	m.clean = before
	m.state.Lock()
	defer m.state.Unlock()
	if m.info.Used = space.Size - space.Free; saved {
		m.info.Saved = time.Now()
	}
	return saved, nil
}

// sync returns when all is on disk. An error stays.
func (m *Mounted) sync() (space sys.Space, err error) {
	if err = sys.SyncFS(m.tree); err == nil {
		space, err = sys.SpaceOf(m.tree)
	}
	if err == nil && space.ReadOnly {
		err = errStopped
	}
	m.failed = err
	return space, err
}

// Close unmounts the vault, which brings everything to disk, and releases the
// lock. It returns when neither mapping nor key is left, and device.ErrHeld, with
// the key gone all the same, when something could not be made to let go.
func (m *Mounted) Close() error {
	m.saving.Lock()
	defer m.saving.Unlock()
	if m.tree == nil {
		return nil
	}
	return m.end()
}

// end undoes as much as was done, whatever fails.
func (m *Mounted) end() error {
	var errs []error
	if m.tree != nil {
		errs = append(errs, m.tree.Close())
		m.tree = nil
		err := sys.Unmount(m.path)
		if errors.Is(err, unix.EBUSY) { // by the pod's root; the device's end takes the key from them
			err = sys.Detach(m.path)
		}
		errs = append(errs, err)
	}
	if m.device != nil {
		errs = append(errs, m.device.Close())
	}
	return errors.Join(append(errs, m.forget())...)
}

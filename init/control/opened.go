package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/ghost"
	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/vault"
	"github.com/tazzo/tazpod/init/wire"
)

// treePath is where the open vault's content lies, in serve's private mount
// namespace, where nobody else sees it, and in a directory that only root enters:
// the content's own root may let others in.
const treePath = wire.RuntimeDir + "/vault/tree"

// opened is a vault whose content is at treePath.
type opened struct {
	pod    *pod
	vault  engine
	tree   *os.File
	closed chan struct{} // closed when nothing of it is left

	refs     int  // guarded by pod.mu
	retrying bool // likewise: retryClose runs

	saving sync.Mutex      // held by who reads the tree, one after the other
	wiped  bool            // guarded by saving
	told   []vault.LeftOut // likewise: what people know of
	quit   chan struct{}   // closed by wipe: no more autosaves
	watch  *sys.Watch      // of the tree; nil where the kernel has none

	mu        sync.Mutex
	saveError error // of the last attempt
	bound     bound // of the tree
}

// openVault opens the vault with the pod's engine; create makes the vault first
// when there is none. Nothing is left behind on failure.
func openVault(ctx context.Context, p *pod, passphrase *locked.Buffer, create bool) (_ *opened, err error) {
	place, err := p.findVault(create)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			place.Dir.Close()
		}
	}()
	exists, err := vault.Exists(place)
	if err != nil {
		return nil, err
	}
	if !exists && !create {
		return nil, vault.ErrAbsent
	}
	if err := os.MkdirAll(treePath, 0o700); err != nil {
		return nil, err
	}
	o := &opened{pod: p, closed: make(chan struct{}), quit: make(chan struct{})}
	ensure := func() error {
		if exists {
			return nil
		}
		if err := vault.Create(ctx, place, passphrase, p.config.VaultSize, vault.Cost{}); err != nil {
			return err
		}
		p.log.Info().Str("event", "created").Str("vault", p.vaultPath()).Msg("")
		return nil
	}
	if p.config.Engine == wire.EngineDMCrypt {
		err = o.mount(ctx, place, passphrase, ensure)
	} else {
		err = o.load(ctx, place, passphrase, ensure)
	}
	if err != nil {
		return nil, err
	}
	o.prepare()
	return o, nil
}

// prepare limits the tree and begins to watch it, before anybody has it. Kernels
// and pods that can't do without: a save may fail, and looking costs more.
func (o *opened) prepare() {
	if err := o.limit(); err != nil {
		o.pod.log.Warn().Str("event", "not limited").Err(err).Msg("")
	}
	watch, err := sys.NewWatch(o.tree)
	if err != nil {
		o.pod.log.Info().Str("event", "not watched").Err(err).Msg("")
		return
	}
	o.watch = watch
}

// bound is what limits the tree, and the way out, for people.
type bound struct{ what, way string }

func (o *opened) bounded() bound {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bound
}

// limit keeps a tree in RAM from growing beyond what the vault holds: who fills it
// learns that from write(2) as on any full disk, and not from a save that fails.
func (o *opened) limit() error {
	if _, ok := o.vault.(inRAM); !ok { // the file system does
		o.mu.Lock()
		defer o.mu.Unlock()
		o.bound = bound{"the vault", "delete some in ~/secrets"}
		return nil
	}
	info, memory := o.vault.Info(), ghost.Memory()/treeShare
	b := bound{"the RAM for the vault's content", "delete some in ~/secrets, or give the pod more memory"}
	if info.Room < memory {
		b = bound{"the vault", "delete some in ~/secrets, or make it larger: tazpod vault resize"}
	}
	o.mu.Lock()
	o.bound = b
	o.mu.Unlock()
	return sys.LimitRAM(o.tree, min(info.Room, memory), info.Names)
}

// save writes a new generation if the content differs from the last one.
func (o *opened) save() error {
	o.saving.Lock()
	defer o.saving.Unlock()
	if o.wiped {
		return nil // it was saved before that, or its loss was told
	}
	start := time.Now()
	saved, err := o.vault.Save(o.pod.saves)
	o.note(err)
	o.tellLeftOut()
	switch log := o.pod.log; {
	case err != nil:
		log.Error().Str("event", "save failed").Str("vault", o.pod.vaultPath()).Err(err).Msg("nothing is given up; trying again")
	case saved:
		log.Info().Str("event", "saved").Str("vault", o.pod.vaultPath()).Dur("took", time.Since(start)).Msg("")
	}
	return err
}

// resize gives the vault another size, and its content with it.
func (o *opened) resize(ctx context.Context, size int64) error {
	o.saving.Lock()
	defer o.saving.Unlock()
	if o.wiped {
		return errLocked
	}
	v, err := o.inRAM()
	if err != nil {
		return err
	}
	return errors.Join(v.Resize(ctx, size), o.limit())
}

// note keeps how a save went, and tells the ghosts why one failed, unless that is
// what they were told last, and when that is over.
func (o *opened) note(err error) {
	o.mu.Lock()
	before := o.saveError
	o.saveError = err
	o.mu.Unlock()
	switch {
	case err == nil && before != nil:
		o.pod.warn("the vault is saved again")
	case reason(err) != reason(before):
		o.pod.warn("%v: %s", err, cmp.Or(vault.Hint(err), "your changes are only in RAM; it is tried again"))
	}
}

// reason is what stays the same about an error when something is tried again.
func reason(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return fmt.Sprint(err)
}

func (o *opened) lastError() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.saveError
}

// wipe makes an end of the content and forgets the key. It runs every step
// whatever fails.
func (o *opened) wipe() error {
	close(o.quit)
	o.saving.Lock()
	defer o.saving.Unlock()
	o.wiped = true
	return errors.Join(o.tree.Close(), o.vault.Close())
}

// findVault opens the vault's directory, and says whose its files are; create makes
// it if need be. The caller closes it.
func (p *pod) findVault(create bool) (vault.Place, error) {
	place, err := findPlace(p.config.Vault, create)
	place.TreeID, place.Pod = p.support.KernelID, p.config.Name
	return place, err
}

// findPlace opens the vault's directory: where the launcher mounted it, out of
// reach of the pod's user, else in the project. There no symbolic link is
// followed, for the project is writable by programs that nobody vetted. create
// makes what is missing, as the project's owner.
func findPlace(dir string, create bool) (vault.Place, error) {
	at, err := os.OpenFile(wire.Workspace, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return vault.Place{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(at.Fd()), &st); err != nil {
		return vault.Place{}, &os.PathError{Op: "stat", Path: wire.Workspace, Err: err}
	}
	place := vault.Place{Owner: int(st.Uid), Group: int(st.Gid)}
	if mounted, err := mountedPlace(filepath.Join(wire.Workspace, dir)); err != nil || mounted != nil {
		place.Dir = mounted
		return place, errors.Join(err, at.Close())
	}
	path := wire.Workspace
	for _, name := range splitPath(dir) {
		path += "/" + name
		next, err := enter(at, name, path, create, place.Owner, place.Group)
		at.Close()
		if errors.Is(err, unix.ENOENT) {
			return vault.Place{}, vault.ErrAbsent
		}
		if err != nil {
			return vault.Place{}, err
		}
		at = next
	}
	place.Dir = at
	return place, nil
}

// mountedPlace opens wire.VaultMount if something is mounted there. Errors about
// what lies in it shall speak of the path that people know.
func mountedPlace(known string) (*os.File, error) {
	fd, err := unix.Open(wire.VaultMount, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: wire.VaultMount, Err: err}
	}
	f := os.NewFile(uintptr(fd), known)
	if mounted, err := sys.IsMountPoint(f); err != nil || !mounted {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func enter(at *os.File, name, path string, create bool, uid, gid int) (*os.File, error) {
	if create {
		switch err := unix.Mkdirat(int(at.Fd()), name, 0o755); {
		case err == nil:
			if err := unix.Fchownat(int(at.Fd()), name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return nil, &os.PathError{Op: "chown", Path: path, Err: err}
			}
		case !errors.Is(err, unix.EEXIST):
			return nil, &os.PathError{Op: "mkdir", Path: path, Err: err}
		}
	}
	fd, err := unix.Openat(int(at.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("%s is not a directory of its own (a symbolic link?): refusing to keep a vault there", path)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

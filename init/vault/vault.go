// Package vault opens and saves vaults: a vault.img, LUKS2 holding ext4. With the
// engine memory (Vault) its files live in a tree in RAM while it is open; that
// needs no device and no mount, and its cost follows the content. With the engine
// dmcrypt (Mounted) the kernel mounts it: dmcrypt.go says how, and what of the
// following is different then.
//
// What it writes to disk is only ever encrypted: plain text is in the tree, in
// files that have no name outside RAM, and nowhere else. The file on disk is at
// every instant a complete generation (see save.go for the order). It trusts
// the directory that it is given no further than to hold files: none of them is
// followed if it is a link, and everything read from them is checked.
//
// Headers are read and made by cryptsetup, images are made by mke2fs: both must
// be installed.
package vault

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/vault/ext4"
	"github.com/tazzo/tazpod/init/wire"
)

// Place is where a vault is and whose its files are.
type Place struct {
	Dir          *os.File // the vault's directory, opened without following links
	Owner, Group int      // of new files in it
	TreeID       uint32   // uid and gid in the tree of what belongs to wire.UserID in the vault
	Pod          string   // the pod's name for vault.lock; the host name if empty
}

func (p Place) path(name string) string { return filepath.Join(p.Dir.Name(), name) }

func (p Place) ids() ext4.IDMap { return ext4.IDMap{Disk: wire.UserID, Tree: p.TreeID} }

// Vault is a vault that is open in RAM. Its methods may be called from several goroutines.
type Vault struct {
	base

	// Guarded by saving.
	onDisk stamp             // the generation that we opened or wrote
	digest [sha256.Size]byte // of the content of that generation; zero if unknown
	clean  fingerprint       // of the tree when it had that content
	kept   time.Time         // when a generation was last kept

	suspect bool            // the generation that we opened is to be kept beside, and not kept yet
	noted   map[string]bool // which trouble with keeping generations is in the notes
	parked  parked
}

// base is what every engine has of an open vault.
type base struct {
	place     Place
	lock      *sys.File
	verifiers verifiers

	saving sync.Mutex     // held by what uses key and header, and the engine's own fields
	key    *locked.Buffer // nil once it is closed
	header *luks.Header
	tree   *os.File
	looked [sha256.Size]byte // the tree's fingerprint when Moved was last called

	state sync.Mutex // held for moments only
	info  Info
}

// Info describes an open vault.
type Info struct {
	Path   string
	UUID   string
	Size   int64 // bytes, of the file and so of the content at most
	Used   int64 // bytes of content at the last save
	Room   int64 // bytes that the tree may grow to
	Names  int64 // and so many files
	Opened time.Time
	KDF    time.Duration // what deriving the keys from the passphrase took when it was opened
	Saved  time.Time     // zero if nothing was saved since
	Seal   Seal
	Notes  []string // what people should know
	// LeftOut is what the last save did without, or the next one will.
	LeftOut []LeftOut
	special int // devices, sockets and FIFOs in the tree, at the last save
}

// Info answers at once, also during a save.
func (v *base) Info() Info {
	v.state.Lock()
	defer v.state.Unlock()
	info := v.info
	info.Notes = slices.Clone(info.Notes)
	info.LeftOut = slices.Clone(info.LeftOut)
	if info.special > 0 {
		info.Notes = append(info.Notes, fmt.Sprintf("%d devices, sockets or FIFOs are not saved: there is nothing in them", info.special))
	}
	return info
}

// leftOut takes note of what a save did without.
func (v *Vault) leftOut(s *sieve) {
	v.state.Lock()
	defer v.state.Unlock()
	v.info.LeftOut, v.info.special = s.list(), s.special
}

// Close zeroes the keys and releases the lock. It neither saves nor touches the
// tree, and waits for a save that is under way.
func (v *Vault) Close() error {
	v.saving.Lock()
	defer v.saving.Unlock()
	if v.key == nil {
		return nil
	}
	return v.forget()
}

// forget zeroes the keys and releases the lock.
func (v *base) forget() error {
	v.key.Destroy()
	v.key = nil
	v.verifiers.destroy()
	var err error
	if v.header != nil {
		err = v.header.Close()
	}
	return errors.Join(err, unlock(v.lock))
}

// Exists says whether there is a vault file, whatever is in it. It is ErrMissing
// when there isn't but an earlier generation is: an empty vault in the place of
// a lost one would in time push those out, too.
func Exists(p Place) (bool, error) {
	_, err := p.stat(wire.VaultFile)
	if !errors.Is(err, os.ErrNotExist) {
		return err == nil, err
	}
	names, err := p.beside()
	names = slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, draftPrefix) })
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("%s: %w: %q", p.path(wire.VaultFile), ErrMissing, names)
	}
	return false, err
}

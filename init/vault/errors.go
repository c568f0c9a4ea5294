package vault

import (
	"errors"
	"fmt"

	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/init/vault/ext4"
	"golang.org/x/sys/unix"
)

var (
	ErrPassphrase    = luks.ErrPassphrase
	ErrNotLUKS       = luks.ErrNotLUKS
	ErrLUKS1         = luks.ErrLUKS1
	ErrAbsent        = errors.New("no vault yet")
	ErrMissing       = errors.New("missing, though others of its kind are there")
	ErrExists        = errors.New("there is a vault already")
	ErrInUse         = errors.New("in use")
	ErrChangedOnDisk = errors.New("changed by something else since it was opened")
	ErrDamaged       = errors.New("damaged vault")     // wraps details
	ErrUnsupported   = errors.New("unsupported vault") // wraps details
	ErrMountPoint    = errors.New("a mount point: it can't be replaced by rename")
	ErrNotAFile      = errors.New("not a regular file")
	ErrLink          = errors.New("a symbolic link, which is not followed")
	ErrWeak          = errors.New("unusable passphrase")
	ErrNoKeyslot     = luks.ErrNoSlot
	ErrLastKeyslot   = luks.ErrLastSlot
	ErrNoRoom        = luks.ErrNoRoom
	ErrKeyExists     = errors.New("this passphrase opens the vault already")
	ErrSize          = errors.New("unusable size")
	ErrNoGeneration  = errors.New("no such earlier generation")
	ErrHoles         = errors.New("the file is mostly holes, which an archive can't have")
	ErrLabel         = errors.New("unusable label")
	ErrFull          = ext4.ErrFull
	// ErrParked says that what was to be saved must not become the vault, whose
	// file something else has changed, and is instead beside it, whole and on
	// disk, under a name of its own. It wraps the reason.
	ErrParked = errors.New("kept beside the vault")
	ErrClosed = errors.New("the vault is closed")
)

// MemoryError says that unlocking takes more memory than the pod may use.
type MemoryError = luks.MemoryError

// RoomError says that replaying or checking takes more memory than the pod may use.
type RoomError struct{ Need, Have int64 } // bytes

func (e *RoomError) Error() string {
	return fmt.Sprintf("a copy of the vault's file system takes up to %d MiB of memory, the pod may use %d MiB", e.Need>>20, e.Have>>20)
}

func (e *RoomError) Unwrap() error { return ErrUnsupported }

// MistypedError says in which group a recovery code has a mistake. It is an
// ErrPassphrase.
type MistypedError struct{ Group int }

func (e *MistypedError) Error() string {
	return fmt.Sprintf("group %d of that recovery code has a mistake in it", e.Group)
}

func (e *MistypedError) Unwrap() error { return ErrPassphrase }

// kind adds a sentinel to an error without adding words to it.
type kind struct {
	error
	is error
}

func (k kind) Unwrap() []error { return []error{k.error, k.is} }

// classify gives what the packages below report the names of this one.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, luks.ErrDamaged), errors.Is(err, luks.ErrTruncated), errors.Is(err, ext4.ErrCorrupt):
		return kind{err, ErrDamaged}
	case errors.Is(err, luks.ErrUnsupported), errors.Is(err, ext4.ErrUnsupported):
		return kind{err, ErrUnsupported}
	}
	return err
}

// hints are the ways out, the most specific error first.
var hints = []struct {
	is   error
	hint string
}{
	{ErrPassphrase, "passphrases are case-sensitive; a recovery code works in their place, if you have made one"},
	{ErrWeak, "choose another one"},
	{ErrHoles, "remove it, or make it shorter: truncate -s SIZE FILE"},
	{ErrNoGeneration, "vault generations shows which there are"},
	{ErrKeyExists, "choose another one"},
	{ErrNoKeyslot, "vault key list shows which there are"},
	{ErrLastKeyslot, "add another one first: vault key add"},
	{ErrNoRoom, "remove one that nobody uses: vault key list, vault key remove"},
	{ErrInUse, "close it there first: tazpod lock"},
	{ErrExists, "open it, or move the file away first"},
	{ErrMissing, "go on with the newest: tazpod vault rollback 1; or move all of them away for a new vault"},
	{ErrAbsent, "open a ghost to create one, or put a vault.img there"},
	{ErrLUKS1, "convert a copy of it: cryptsetup convert --type luks2 FILE"},
	{ErrNotLUKS, "put the right file there, or an earlier generation: vault.img.1; a header in a file of its own (cryptsetup --header) is not supported"},
	{ErrMountPoint, "mount the directory that holds it instead of the file"},
	{ErrLink, "move the file itself there"},
	{ErrNotAFile, "move it away"},
	{ErrChangedOnDisk, "find out what wrote to it; vault.img.conflict-… beside it opens with the same passphrase: put one in the place of the other, or copy files over"},
	{ErrUnsupported, "open it with cryptsetup and mount, and copy its files into a new vault"},
	{ErrDamaged, "go back to an earlier generation, tazpod vault rollback 1, or to a backup, tazpod vault restore"},
	{errNoRoom, "free some space there, or open the vault with the engine memory"},
	{errStopped, "copy what you need out of the ghost, then: tazpod down; the host's log (dmesg) tells more"},
	{ErrFull, "remove something from the vault, or make it larger: vault resize SIZE"},
	{luks.ErrNoProgram, "install the package cryptsetup-bin in the image"},
	{unix.ENOSPC, "free some space on the disk of the vault; nothing is lost, what was to be saved is still in RAM"},
	{unix.EDQUOT, "free some of your quota on the disk of the vault; what was to be saved is still in RAM"},
	{unix.EROFS, "mount the project's directory read-write"},
	{unix.EACCES, "let the pod's root write to the vault's directory"},
	{unix.EPERM, "let the pod's root write to the vault's directory"},
	{unix.ENOENT, "the vault's directory was removed while it was in use; put it back"},
}

// Hint returns what to do about an error of this package, or "".
func Hint(err error) string {
	var memory *MemoryError
	if errors.As(err, &memory) {
		return "give the pod more memory (docker run --memory), or lower the cost of the vault's passphrase elsewhere: cryptsetup luksConvertKey --pbkdf-memory 65536 FILE"
	}
	for _, h := range hints {
		if errors.Is(err, h.is) {
			return h.hint
		}
	}
	return ""
}

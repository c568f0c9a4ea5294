package vault

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/luks"
	"golang.org/x/crypto/argon2"
)

// The cost of a verifier: a guess at it must not be cheap for whoever gets hold
// of this process's memory, and not slow for who joins a ghost.
const (
	verifierPasses = 2
	verifierLanes  = 2
	saltLength     = 16
	hashLength     = 32
)

var verifierMemory uint32 = 16 << 10 // KiB; tests lower it

// verifiers recognise the passphrases that opened the vault, without their
// keyslots. The zero value knows none.
type verifiers struct {
	mu    sync.Mutex // one derivation at a time: they add up in memory
	known []*verifier
}

// verifier recognises the passphrase of one keyslot.
type verifier struct {
	slot int
	hash *locked.Buffer // salt, then argon2id of the passphrase
}

// Verify says whether pass opens the vault. For a passphrase that has done so it
// takes about 50 ms, one call after the other; for others as long as the
// keyslots, if there are any that nobody has used yet.
func (v *base) Verify(ctx context.Context, pass *locked.Buffer) error {
	if _, err := v.Slot(pass); !errors.Is(err, ErrPassphrase) {
		return err
	}
	v.saving.Lock()
	defer v.saving.Unlock()
	switch {
	case v.key == nil:
		return ErrClosed
	case len(v.header.Keyslots()) == v.verifiers.count():
		return ErrPassphrase
	}
	key, known, err := unlockHeader(ctx, v.header, pass)
	if err != nil {
		return err
	}
	key.Destroy()
	v.verifiers.add(known)
	return nil
}

func newVerifier(pass *locked.Buffer) (*verifier, error) {
	b, err := locked.New(saltLength + hashLength)
	if err != nil {
		return nil, err
	}
	if err := b.Fill(io.LimitReader(rand.Reader, saltLength)); err != nil {
		b.Destroy()
		return nil, err
	}
	hash := derive(pass, b.Bytes()[:saltLength])
	_, err = b.Write(hash)
	clear(hash)
	if err != nil {
		b.Destroy()
		return nil, err
	}
	return &verifier{hash: b}, nil
}

func (v *verifier) check(pass *locked.Buffer) bool {
	got, err := locked.Take(derive(pass, v.hash.Bytes()[:saltLength]))
	if err != nil {
		return false
	}
	defer got.Destroy()
	want, err := locked.New(hashLength)
	if err != nil {
		return false
	}
	defer want.Destroy()
	_, err = want.Write(v.hash.Bytes()[saltLength:])
	return err == nil && want.Equal(got)
}

func (v *verifier) destroy() {
	if v != nil {
		v.hash.Destroy()
	}
}

// slot returns the keyslot of a passphrase that is known, or ErrPassphrase.
func (l *verifiers) slot(pass *locked.Buffer) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.known, func(v *verifier) bool { return v.check(pass) })
	if i < 0 || pass.Len() == 0 {
		return 0, ErrPassphrase
	}
	return l.known[i].slot, nil
}

func (l *verifiers) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.known)
}

// add takes v over, in the place of what is known of its keyslot.
func (l *verifiers) add(v *verifier) {
	l.drop(func(slot int) bool { return slot == v.slot })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = append(l.known, v)
}

// keep forgets the passphrases of all but these keyslots.
func (l *verifiers) keep(slots []luks.Keyslot) {
	l.drop(func(slot int) bool {
		return !slices.ContainsFunc(slots, func(k luks.Keyslot) bool { return k.Number == slot })
	})
}

func (l *verifiers) drop(which func(slot int) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = slices.DeleteFunc(l.known, func(v *verifier) bool {
		if which(v.slot) {
			v.destroy()
		}
		return which(v.slot)
	})
}

func (l *verifiers) destroy() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range l.known {
		v.destroy()
	}
	l.known = nil
}

// derive gives its memory back to the system at once: it is several times what
// the process has otherwise.
func derive(pass *locked.Buffer, salt []byte) []byte {
	defer debug.FreeOSMemory()
	return argon2.IDKey(pass.Bytes(), salt, verifierPasses, verifierMemory, verifierLanes, hashLength)
}

package vault

import (
	"crypto/rand"
	"io"
	"runtime/debug"
	"sync"

	"github.com/tazzo/tazpod/init/locked"
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

// verifier recognises a passphrase again without its keyslot.
type verifier struct {
	mu   sync.Mutex     // one derivation at a time: they add up in memory
	hash *locked.Buffer // salt, then argon2id of the passphrase; nil after destroy
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
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.hash == nil || pass.Len() == 0 {
		return false
	}
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
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hash.Destroy()
	v.hash = nil
}

// derive gives its memory back to the system at once: it is several times what
// the process has otherwise.
func derive(pass *locked.Buffer, salt []byte) []byte {
	defer debug.FreeOSMemory()
	return argon2.IDKey(pass.Bytes(), salt, verifierPasses, verifierMemory, verifierLanes, hashLength)
}

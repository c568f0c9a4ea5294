package luks

import (
	"encoding/binary"
	"runtime"
	"sync"
)

// XTS is AES between two exclusive-ors with a tweak, which doubles from block to
// block in GF(2^128) (IEEE 1619-2018, section 5.3; sectors are whole blocks, so
// that no ciphertext is stolen). It is written out here because x/crypto/xts goes
// byte by byte, at well under half of this speed, and that was most of what opening and
// saving a large vault took. A test holds the two against each other.

const (
	aesBlock = 16   // bytes
	doubled  = 0x87 // x^7 + x^2 + x + 1, what x^128 is
	// worthSharing is how much one processor does alone: less takes it no longer
	// than to wake another.
	worthSharing = 64 << 10 // bytes
)

// xts lets do, a method of the data key's block cipher, work on the sectors in p,
// whose first has the number n in units of ivUnit. All processors take part.
func (c *Cipher) xts(p []byte, n uint64, do func(dst, src []byte)) {
	share := (len(p)/int(c.sector) + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0) * int(c.sector)
	share = max(share, worthSharing)
	var others sync.WaitGroup
	for ; len(p) > share; p, n = p[share:], n+uint64(share/ivUnit) {
		part, first := p[:share], n
		others.Go(func() { c.xtsAlone(part, first, do) })
	}
	c.xtsAlone(p, n, do)
	others.Wait()
}

func (c *Cipher) xtsAlone(p []byte, n uint64, do func(dst, src []byte)) {
	le := binary.LittleEndian
	tweak := make([]byte, aesBlock)
	for ; len(p) > 0; p, n = p[c.sector:], n+uint64(c.sector/ivUnit) {
		le.PutUint64(tweak, n)
		le.PutUint64(tweak[8:], 0)
		c.tweak.Encrypt(tweak, tweak)
		low, high := le.Uint64(tweak), le.Uint64(tweak[8:])
		for rest := p[:c.sector]; len(rest) >= aesBlock; rest = rest[aesBlock:] {
			b := rest[:aesBlock]
			le.PutUint64(b, le.Uint64(b)^low)
			le.PutUint64(b[8:], le.Uint64(b[8:])^high)
			do(b, b)
			le.PutUint64(b, le.Uint64(b)^low)
			le.PutUint64(b[8:], le.Uint64(b[8:])^high)
			low, high = low<<1^(high>>63)*doubled, high<<1|low>>63
		}
	}
}

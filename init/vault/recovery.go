package vault

import (
	"bytes"
	"crypto/rand"
	"io"
	"strings"

	"github.com/tazzo/tazpod/init/locked"
)

// A recovery code is a passphrase that nobody invents and everybody can write
// down: six groups of four letters and digits, which are random, and a fifth that
// checks the group, so that a mistake is found where it is.
//
//	7KQM4-0XZ9E-…
//
// It has 120 random bits. Letters are those of Crockford's base 32: none of I, L,
// O and U, and who writes down or types them for 1, 1, 0 and V is understood. A
// keyslot has the code as it is printed, so that cryptsetup takes it, too.
const (
	codeLetters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	codeGroups  = 6
	groupLength = 5 // letters, the last of which is the check
	codeLength  = codeGroups*(groupLength+1) - 1
)

// NewRecoveryCode makes a code, which opens nothing yet (SetRecovery); the caller
// destroys it.
func NewRecoveryCode() (*locked.Buffer, error) {
	random, err := locked.New(codeLength)
	if err != nil {
		return nil, err
	}
	defer random.Destroy()
	if err := random.Fill(io.LimitReader(rand.Reader, codeGroups*(groupLength-1))); err != nil {
		return nil, err
	}
	code, err := locked.New(codeLength)
	if err != nil {
		return nil, err
	}
	var group [groupLength]byte
	defer clear(group[:])
	for n := range codeGroups {
		for i, b := range random.Bytes()[n*(groupLength-1):][:groupLength-1] {
			group[i] = b % byte(len(codeLetters)) // 256 is a multiple: none is likelier
		}
		group[groupLength-1] = groupCheck(n, group[:groupLength-1])
		if n > 0 {
			_, _ = code.Write([]byte{'-'}) // all of it fits
		}
		for _, v := range group {
			_, _ = code.Write([]byte{codeLetters[v]})
		}
	}
	return code, nil
}

// groupCheck is a polynomial over GF(32): it changes with every single letter,
// with two that changed places, and with the group's own place.
func groupCheck(n int, letters []byte) byte {
	sum := byte(n + 1)
	for _, v := range letters {
		sum = double(sum) ^ v
	}
	return double(sum)
}

// double multiplies by x modulo x⁵+x²+1.
func double(v byte) byte {
	v <<= 1
	if v&32 != 0 {
		v ^= 32 | 5
	}
	return v
}

// forms are what a keyslot may have for what somebody typed: a recovery code as it
// was printed, if it is one, and what was typed as it is. The caller destroys them.
func forms(pass *locked.Buffer) (list []*locked.Buffer, wrong int, err error) {
	clean, wrong, err := typed(pass)
	if err != nil {
		return nil, 0, err
	}
	if clean.Equal(pass) {
		return []*locked.Buffer{clean}, wrong, nil
	}
	raw, err := pass.Clone()
	if err != nil {
		clean.Destroy()
		return nil, 0, err
	}
	return []*locked.Buffer{clean, raw}, wrong, nil
}

// typed returns what a keyslot would take for what somebody typed: a recovery code
// as it was printed, whatever its case and its gaps, or else the same. wrong is the
// group, from 1, in which something that looks like a code has a mistake, or 0.
// The caller destroys the buffer.
func typed(pass *locked.Buffer) (clean *locked.Buffer, wrong int, err error) {
	code, err := locked.New(codeLength)
	if err != nil {
		return nil, 0, err
	}
	for _, c := range pass.Bytes() {
		if c == ' ' || c == '-' {
			continue
		}
		if code.Len()%(groupLength+1) == groupLength {
			_, _ = code.Write([]byte{'-'}) // one too many shows below
		}
		if v := letterValue(c); v < 0 || code.Len() == codeLength {
			code.Destroy()
			clean, err = pass.Clone()
			return clean, 0, err
		} else if _, err := code.Write([]byte{codeLetters[v]}); err != nil {
			code.Destroy()
			return nil, 0, err
		}
	}
	if code.Len() == codeLength {
		wrong = wrongGroup(code.Bytes())
	}
	if code.Len() == codeLength && wrong == 0 {
		return code, 0, nil
	}
	code.Destroy()
	if !bytes.ContainsAny(pass.Bytes(), "-") { // thirty letters in a row may be anything
		wrong = 0
	}
	clean, err = pass.Clone()
	return clean, wrong, err
}

func letterValue(c byte) int {
	switch {
	case c >= 'a' && c <= 'z':
		c -= 'a' - 'A'
	}
	switch c {
	case 'I', 'L':
		c = '1'
	case 'O':
		c = '0'
	case 'U':
		c = 'V'
	}
	return strings.IndexByte(codeLetters, c)
}

// wrongGroup checks a whole code, and returns the first wrong group from 1 on.
func wrongGroup(code []byte) int {
	var values [groupLength]byte
	defer clear(values[:])
	for n := range codeGroups {
		for i := range values {
			values[i] = byte(strings.IndexByte(codeLetters, code[n*(groupLength+1)+i]))
		}
		if groupCheck(n, values[:groupLength-1]) != values[groupLength-1] {
			return n + 1
		}
	}
	return 0
}

package vault

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/init/sys"
)

// A seal is a keyed hash over a vault's encrypted blocks, kept in a token of
// its header: neither LUKS nor ext4 notices when a byte of a file's data flips.
// Its key comes from the volume key, so that a change of passphrase keeps it.
//
//	key  = HMAC-SHA256("tazpod seal 1", volume key padded to 64 bytes)
//	seal = HMAC-SHA256(key, UUID, segment, write fields, then for every block
//	       that isn't all zero: number (8 bytes), content)
//
// Blocks of zeroes are left out because they and holes are the same to whoever
// copies the file. The write fields are those of the ext4 superblock that a
// kernel or e2fsck changes as it writes: they tell a vault that another program
// has used from a damaged one.

// Seal says what became of a vault since it was sealed.
type Seal string

const (
	SealAbsent  Seal = "absent"  // not made here, or made without
	SealIntact  Seal = "intact"  // not a bit differs
	SealForeign Seal = "foreign" // another program has written to it, by the file system's own account
	SealBroken  Seal = "broken"  // it differs, and no file system wrote it: damage or tampering
)

const (
	sealKind    = "tazpod-seal"
	sealBlock   = 4096 // bytes
	sealLabel   = "tazpod seal 1"
	writeFields = 0x400 + 0x2c // mount and write time, mount counts, state, check time
	writeLength = 0x18
)

// sealToken is the token's JSON.
type sealToken struct {
	Type     string   `json:"type"`
	Keyslots []string `json:"keyslots"` // none: the format wants the field
	Seal     string   `json:"seal"`     // hexadecimal
	Written  string   `json:"written"`  // the write fields, hexadecimal
}

// sealer hashes a vault's blocks in the order of their numbers.
type sealer struct {
	mac     hash.Hash
	written string
}

// newSealer reads the write fields from plain, the decrypted segment.
func newSealer(key *locked.Buffer, h *luks.Header, plain io.ReaderAt) (*sealer, error) {
	fields := make([]byte, writeLength)
	if _, err := plain.ReadAt(fields, writeFields); err != nil {
		return nil, err
	}
	padded, err := locked.New(64) // a whole block of SHA-256: no part of the key stays behind in it
	if err != nil {
		return nil, err
	}
	defer padded.Destroy()
	for _, part := range [][]byte{key.Bytes(), make([]byte, 64-key.Len())} {
		if _, err := padded.Write(part); err != nil {
			return nil, err
		}
	}
	derived := hmac.New(sha256.New, []byte(sealLabel))
	derived.Write(padded.Bytes())
	s := &sealer{mac: hmac.New(sha256.New, derived.Sum(nil)), written: hex.EncodeToString(fields)}
	io.WriteString(s.mac, h.UUID)
	s.number(h.Segment.Offset)
	s.number(h.Segment.Size)
	s.number(int64(h.Segment.SectorSize))
	s.mac.Write(fields)
	return s, nil
}

func (s *sealer) number(n int64) { s.mac.Write(binary.BigEndian.AppendUint64(nil, uint64(n))) }

// add hashes whole blocks of encrypted data, offset bytes into the segment.
// Only its last block may be shorter.
func (s *sealer) add(p []byte, offset int64) {
	for len(p) > 0 {
		block := p[:min(sealBlock, len(p))]
		if !allZero(block) {
			s.number(offset / sealBlock)
			s.mac.Write(block)
		}
		p, offset = p[len(block):], offset+sealBlock
	}
}

func (s *sealer) token() sealToken {
	return sealToken{Type: sealKind, Keyslots: []string{}, Seal: hex.EncodeToString(s.mac.Sum(nil)), Written: s.written}
}

// checkSeal compares a vault with its seal, reading all of it but holes.
func checkSeal(ctx context.Context, img sys.Sparse, h *luks.Header, key *locked.Buffer, plain io.ReaderAt) (Seal, error) {
	var want sealToken
	found, err := h.Token(sealKind, &want)
	if err != nil || !found {
		return SealAbsent, err
	}
	s, err := newSealer(key, h, plain)
	if err != nil {
		return SealAbsent, err
	}
	if err := s.addAll(ctx, img, h.Segment); err != nil {
		return SealAbsent, err
	}
	got := s.token()
	switch {
	case hmac.Equal([]byte(got.Seal), []byte(want.Seal)):
		return SealIntact, nil
	case got.Written != want.Written:
		return SealForeign, nil
	}
	return SealBroken, nil
}

// addAll hashes a whole segment. Holes begin and end where the file system
// likes, so that each range is widened to whole blocks, none of them twice.
func (s *sealer) addAll(ctx context.Context, img sys.Sparse, segment luks.Segment) error {
	buffer := make([]byte, 64*sealBlock)
	next := int64(0)
	return sys.EachData(ctx, img, segment.Offset, segment.Offset+segment.Size, func(offset, length int64) error {
		from := max(next, (offset-segment.Offset)/sealBlock*sealBlock)
		to := min(segment.Size, (offset-segment.Offset+length+sealBlock-1)/sealBlock*sealBlock)
		for from < to {
			if err := ctx.Err(); err != nil {
				return err
			}
			p := buffer[:min(to-from, int64(len(buffer)))]
			if _, err := io.ReadFull(io.NewSectionReader(img, segment.Offset+from, int64(len(p))), p); err != nil {
				return err
			}
			s.add(p, from)
			from += int64(len(p))
		}
		next = max(next, to)
		return nil
	})
}

func allZero(p []byte) bool {
	for ; len(p) >= 8; p = p[8:] {
		if binary.NativeEndian.Uint64(p) != 0 {
			return false
		}
	}
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

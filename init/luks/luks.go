// Package luks reads and makes LUKS2 headers, and encrypts and decrypts the
// sectors behind them.
//
// Headers and keyslots are the work of the reference tool, cryptsetup, which
// only ever sees a copy of the header in RAM: it can neither change a vault nor
// lose one. Its passphrases come by pipe, its environment is empty. Sectors are
// this package's own work (aes-xts-plain64 alone), so that no device is needed.
//
// What a vault's header says is foreign input: it is checked strictly, and what
// isn't known is refused by name.
package luks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/tazzo/tazpod/init/sys"
)

// The binary header, LUKS2 specification section 2.1. Both copies look alike
// but for the magic; numbers are big-endian.
const (
	magicLength     = 6
	versionOffset   = 6
	sizeOffset      = 8   // of this copy: binary header and JSON
	uuidOffset      = 168 // 40 bytes, padded with zeroes
	uuidLength      = 40
	maxMetadata     = 4 << 20   // bytes, of one copy
	maxKeyslots     = 128 << 20 // bytes
	smallestVault   = 4096      // bytes: less holds no binary header
	secondaryOffset = 16 << 10  // the first place where the second copy can be
)

var (
	primaryMagic   = []byte("LUKS\xba\xbe")
	secondaryMagic = []byte("SKUL\xba\xbe")
)

// Header is a vault's header: a copy of its own in RAM.
type Header struct {
	UUID     string
	Segment  Segment
	Length   int64  // bytes from the vault's start to the end of the keyslots
	Repaired string // which copy of the metadata was damaged and is mended here: "first", "second" or ""

	file     *os.File // sparse, as long as the vault
	size     int64
	metadata *metadata
	stored   [sha256.Size]byte // of the header as it is on disk
}

// Segment is where a vault's encrypted sectors are.
type Segment struct {
	Offset     int64 // bytes from the vault's start
	Size       int64 // bytes, a multiple of SectorSize
	SectorSize int   // bytes
	KeySize    int   // bytes, both halves
}

// Read copies the header of the vault img and checks it. It wraps ErrNotLUKS,
// ErrLUKS1, ErrTruncated, ErrDamaged or ErrUnsupported.
func Read(ctx context.Context, img sys.Sparse) (*Header, error) {
	info, err := img.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	metadataSize, err := probe(img, size)
	if err != nil {
		return nil, err
	}
	file, err := sys.Memfd("luks-header")
	if err != nil {
		return nil, err
	}
	h := &Header{file: file, size: size}
	if err := h.load(ctx, img, metadataSize); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// probe tells a LUKS2 header from everything else and returns the length of
// one copy of its metadata, the longest possible if the first copy is unusable.
func probe(img io.ReaderAt, size int64) (int64, error) {
	if size == 0 {
		return 0, fmt.Errorf("%w: the file is empty", ErrNotLUKS)
	}
	first := make([]byte, 16)
	if err := readPart(img, first, 0); err != nil {
		return 0, err
	}
	if bytes.HasPrefix(first, primaryMagic) {
		version := binary.BigEndian.Uint16(first[versionOffset:])
		if version == 1 {
			return 0, ErrLUKS1
		}
		n := binary.BigEndian.Uint64(first[sizeOffset:])
		if version == 2 && n >= secondaryOffset && n <= maxMetadata && n&(n-1) == 0 {
			return int64(n), nil
		}
		return maxMetadata, nil
	}
	magic := make([]byte, magicLength)
	for offset := int64(secondaryOffset); offset <= maxMetadata; offset *= 2 {
		if err := readPart(img, magic, offset); err != nil {
			return 0, err
		}
		if bytes.Equal(magic, secondaryMagic) {
			return offset, nil
		}
	}
	return 0, ErrNotLUKS
}

// readPart fills p with what there is at offset, and zeroes behind the end.
func readPart(r io.ReaderAt, p []byte, offset int64) error {
	clear(p)
	if _, err := r.ReadAt(p, offset); err != nil && err != io.EOF {
		return err
	}
	return nil
}

func (h *Header) load(ctx context.Context, img sys.Sparse, metadataSize int64) error {
	if h.size < smallestVault {
		return fmt.Errorf("%w: %d bytes", ErrTruncated, h.size)
	}
	if err := h.file.Truncate(h.size); err != nil {
		return err
	}
	both := min(2*metadataSize, h.size)
	err := copyData(ctx, h.file, img, 0, both)
	if err != nil {
		return err
	}
	if err := h.reload(ctx); err != nil {
		return err
	}
	if err := h.compare(img, both); err != nil {
		return err
	}
	if h.Length > h.size {
		return fmt.Errorf("%w: %d bytes, the header alone has %d", ErrTruncated, h.size, h.Length)
	}
	if err := copyData(ctx, h.file, img, both, h.Length); err != nil {
		return err
	}
	h.stored, err = h.sum(img)
	return err
}

// reload takes the metadata out of the copy in RAM.
func (h *Header) reload(ctx context.Context) error {
	text, err := h.dumpMetadata(ctx)
	if err != nil {
		return err
	}
	m, err := parseMetadata(text)
	if err != nil {
		return err
	}
	h.metadata = m
	if h.Segment, err = m.segment(h.size); err != nil {
		return err
	}
	binaryHeader := make([]byte, uuidOffset+uuidLength)
	if err := readPart(h.file, binaryHeader, 0); err != nil {
		return err
	}
	uuid, _, _ := bytes.Cut(binaryHeader[uuidOffset:], []byte{0})
	if !isUUID(uuid) {
		return fmt.Errorf("%w: its UUID is not one", ErrDamaged)
	}
	h.UUID = string(uuid)
	n := binary.BigEndian.Uint64(binaryHeader[sizeOffset:])
	if n > maxMetadata || m.keyslotsSize > maxKeyslots {
		return fmt.Errorf("%w: a header of %d and keyslots of %d bytes", ErrDamaged, n, m.keyslotsSize)
	}
	h.Length = int64(2*n) + m.keyslotsSize
	if h.Length > h.Segment.Offset {
		return fmt.Errorf("%w: the keyslots reach into the data", ErrDamaged)
	}
	return nil
}

// compare finds out whether cryptsetup mended the copy in RAM: it rewrites a
// damaged copy of the metadata from the sound one as it loads a header.
func (h *Header) compare(img io.ReaderAt, length int64) error {
	was, is := make([]byte, length), make([]byte, length)
	if err := errors.Join(readPart(img, was, 0), readPart(h.file, is, 0)); err != nil {
		return err
	}
	half := int(binary.BigEndian.Uint64(is[sizeOffset:]))
	switch {
	case half > len(is) || !bytes.Equal(was[:half], is[:half]):
		h.Repaired = "first"
	case !bytes.Equal(was, is):
		h.Repaired = "second"
	}
	return nil
}

// SameAs says whether img still begins with the header that was read from it or
// written to it. Keyslots count: a passphrase changed by another tool shows.
func (h *Header) SameAs(img sys.Sparse) (bool, error) {
	sum, err := h.sum(img)
	return sum == h.stored, err
}

// sum hashes the header as img has it: the pages that aren't all zero, with their
// places. Most of a header is room for keyslots.
func (h *Header) sum(img sys.Sparse) (sum [sha256.Size]byte, err error) {
	hash := sha256.New()
	buffer := make([]byte, 16*pageSize)
	next := int64(0)
	err = sys.EachData(context.Background(), img, 0, h.Length, func(offset, length int64) error {
		at := max(next, offset/pageSize*pageSize) // holes end where the file system likes
		next = min(h.Length, (offset+length+pageSize-1)/pageSize*pageSize)
		for at < next {
			p := buffer[:min(int64(len(buffer)), next-at)]
			if err := readPart(img, p, at); err != nil {
				return err
			}
			for page := range slices.Chunk(p, pageSize) {
				if !allZero(page) {
					hash.Write(binary.BigEndian.AppendUint64(nil, uint64(at)))
					hash.Write(page)
				}
				at += int64(len(page))
			}
		}
		return nil
	})
	hash.Sum(sum[:0])
	return sum, err
}

// Recheck has cryptsetup read the copy in RAM as an opening would, and refuses one
// that isn't what WriteTo wrote, or that cryptsetup has to mend.
func (h *Header) Recheck(ctx context.Context) error {
	if err := h.reload(ctx); err != nil {
		return err
	}
	same, err := h.SameAs(h.file)
	if err == nil && !same {
		err = damaged("its metadata are not as they were made")
	}
	return err
}

// Clone returns a copy with a life of its own.
func (h *Header) Clone() (*Header, error) {
	file, err := sys.Memfd("luks-header")
	if err != nil {
		return nil, err
	}
	c := *h
	c.file = file
	if err := errors.Join(file.Truncate(h.size), copyData(context.Background(), file, h.file, 0, h.Length)); err != nil {
		c.Close()
		return nil, err
	}
	return &c, nil
}

// WriteTo writes the header to the start of a new vault, which has only holes
// there.
func (h *Header) WriteTo(img io.WriterAt) (err error) {
	if err := copyData(context.Background(), img, h.file, 0, h.Length); err != nil {
		return err
	}
	h.stored, err = h.sum(h.file)
	return err
}

// Reader reads the header's bytes from the first one on.
func (h *Header) Reader() *io.SectionReader { return io.NewSectionReader(h.file, 0, h.Length) }

// Close gives the copy's pages back. There is nothing in them that isn't on disk.
func (h *Header) Close() error { return h.file.Close() }

// copyData copies [from, to) and leaves holes and pages of zeroes out.
func copyData(ctx context.Context, dst io.WriterAt, src sys.Sparse, from, to int64) error {
	const chunk = 256 << 10 // bytes
	buffer := make([]byte, min(chunk, max(0, to-from)))
	return sys.EachData(ctx, src, from, to, func(offset, length int64) error {
		for length > 0 {
			n, err := src.ReadAt(buffer[:min(length, int64(len(buffer)))], offset)
			if n == 0 {
				if err == io.EOF { // shorter by now than when its size was asked for
					return nil
				}
				return err
			}
			start := 0 // of pages that aren't all zero, to be written at once
			for end := 0; start < n; end += pageSize {
				if end < n && !allZero(buffer[end:min(end+pageSize, n)]) {
					continue
				}
				if _, err := dst.WriteAt(buffer[start:min(end, n)], offset+int64(start)); err != nil {
					return err
				}
				start = end + pageSize
			}
			offset, length = offset+int64(n), length-int64(n)
		}
		return nil
	})
}

const pageSize = 4096 // bytes

func allZero(p []byte) bool {
	for len(p) >= 8 {
		if binary.NativeEndian.Uint64(p) != 0 {
			return false
		}
		p = p[8:]
	}
	return !slices.ContainsFunc(p, func(b byte) bool { return b != 0 })
}

func isUUID(p []byte) bool {
	return len(p) == 36 && !slices.ContainsFunc(p, func(b byte) bool {
		return b != '-' && (b < '0' || b > '9') && (b < 'a' || b > 'f') && (b < 'A' || b > 'F')
	})
}

package luks

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"sync"
	"unsafe"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/sys"
	"golang.org/x/crypto/xts"
)

// Cipher is aes-xts-plain64 over the sectors of a segment, as dm-crypt does it:
// the IV is the number of the sector's first 512-byte unit, at every sector
// size. It may be used by several goroutines at once, until Destroy.
type Cipher struct {
	xts    *xts.Cipher
	blocks []cipher.Block
	sector int64 // bytes
}

// ivUnit is what plain64 counts (drivers/md/dm-crypt.c, without iv_large_sectors).
const ivUnit = 512 // bytes

// NewCipher expands key, which it doesn't keep. The caller destroys the cipher.
func NewCipher(key *locked.Buffer, sectorSize int) (*Cipher, error) {
	c := &Cipher{sector: int64(sectorSize)}
	var err error
	c.xts, err = xts.NewCipher(func(half []byte) (cipher.Block, error) {
		b, err := aes.NewCipher(half)
		c.blocks = append(c.blocks, b)
		return b, err
	}, key.Bytes())
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Encrypt and Decrypt work on whole sectors in place, on all processors. offset is in bytes from
// the segment's start, a multiple of the sector size like len(p).
func (c *Cipher) Encrypt(p []byte, offset int64) { c.each(p, offset, c.xts.Encrypt) }

func (c *Cipher) Decrypt(p []byte, offset int64) { c.each(p, offset, c.xts.Decrypt) }

func (c *Cipher) each(p []byte, offset int64, do func(dst, src []byte, n uint64)) {
	if offset%c.sector != 0 || int64(len(p))%c.sector != 0 {
		panic(fmt.Sprintf("luks: %d bytes at %d are not whole sectors", len(p), offset))
	}
	sectors := int64(len(p)) / c.sector
	processors := int64(runtime.GOMAXPROCS(0))
	share := max(worthSharing, (sectors+processors-1)/processors*c.sector)
	var others sync.WaitGroup
	for int64(len(p)) > share {
		part, at := p[:share], offset
		others.Go(func() { c.alone(part, at, do) })
		p, offset = p[share:], offset+share
	}
	c.alone(p, offset, do)
	others.Wait()
}

// worthSharing is how much one processor does alone: less takes it no longer than
// to wake another.
const worthSharing = 64 << 10 // bytes

func (c *Cipher) alone(p []byte, offset int64, do func(dst, src []byte, n uint64)) {
	for len(p) > 0 {
		do(p[:c.sector], p[:c.sector], uint64(offset/ivUnit))
		p, offset = p[c.sector:], offset+c.sector
	}
}

// Destroy zeroes the expanded keys, which hold the key itself.
func (c *Cipher) Destroy() {
	for _, b := range c.blocks {
		zeroBlock(b)
	}
	c.blocks = nil
}

// zeroBlock zeroes what crypto/aes has no way to forget. It relies on a block
// being a pointer to memory without pointers in it, and leaves others alone;
// a test sees to it that those are none of Go's.
func zeroBlock(b cipher.Block) (zeroed bool) {
	v := reflect.ValueOf(b)
	if v.Kind() != reflect.Pointer || v.IsNil() || hasPointers(v.Type().Elem()) {
		return false
	}
	clear(unsafe.Slice((*byte)(v.UnsafePointer()), v.Type().Elem().Size()))
	return true
}

func hasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if hasPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	case reflect.Array:
		return hasPointers(t.Elem())
	}
	return t.Kind() > reflect.Complex128
}

// Sectors is a segment of a vault, decrypted on demand: an io.ReaderAt.
type Sectors struct {
	r       io.ReaderAt
	cipher  *Cipher
	segment Segment
}

// Sectors returns a reader of r's segment. It keeps nothing that it decrypts.
func (c *Cipher) Sectors(r io.ReaderAt, segment Segment) *Sectors {
	return &Sectors{r, c, segment}
}

// Size returns the segment's length in bytes.
func (s *Sectors) Size() int64 { return s.segment.Size }

// ReadAt decrypts straight into p; only the parts of sectors at both ends pass
// through a buffer, which is zeroed.
func (s *Sectors) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset < 0 {
		return 0, fmt.Errorf("read at %d", offset)
	}
	if offset >= s.segment.Size {
		return 0, io.EOF
	}
	if left := s.segment.Size - offset; int64(len(p)) > left {
		p, err = p[:left], io.EOF
	}
	sector := s.cipher.sector
	for n < len(p) {
		at := offset + int64(n)
		inside := at % sector
		if whole := int64(len(p)-n) / sector * sector; inside == 0 && whole > 0 {
			if e := s.sectors(p[n:n+int(whole)], at); e != nil {
				return n, e
			}
			n += int(whole)
			continue
		}
		var buffer [4096]byte
		if e := s.sectors(buffer[:sector], at-inside); e != nil {
			return n, e
		}
		n += copy(p[n:], buffer[inside:sector])
		clear(buffer[:])
	}
	return n, err
}

// sectors reads and decrypts whole sectors.
func (s *Sectors) sectors(p []byte, offset int64) error {
	n, err := s.r.ReadAt(p, s.segment.Offset+offset)
	if n < len(p) {
		clear(p)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	s.cipher.Decrypt(p, offset)
	return nil
}

// WriteRange encrypts [offset, offset+length) of the plain image src into the
// segment of the vault dst. Both numbers are multiples of the sector size.
// Every encrypted piece is shown to seen before it is overwritten by the next.
func (c *Cipher) WriteRange(ctx context.Context, dst io.WriterAt, segment Segment, src io.ReaderAt, offset, length int64, seen func(p []byte, offset int64)) error {
	buffer := make([]byte, min(length, 256<<10)) // encrypted in place: no plain text stays in it
	for length > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buffer[:min(length, int64(len(buffer)))]
		if n, err := src.ReadAt(p, offset); n < len(p) {
			clear(p)
			return fmt.Errorf("read the new image at %d: %w", offset, err)
		}
		c.Encrypt(p, offset)
		if _, err := dst.WriteAt(p, segment.Offset+offset); err != nil {
			return err
		}
		seen(p, offset)
		offset, length = offset+int64(len(p)), length-int64(len(p))
	}
	return nil
}

// DecryptTo writes the plain segment of the vault src to dst, a file in RAM.
// Holes stay holes: a sector that was never written has nothing to say.
func (s *Sectors) DecryptTo(ctx context.Context, dst *os.File, src sys.Sparse) error {
	if err := dst.Truncate(s.segment.Size); err != nil {
		return err
	}
	sector := s.cipher.sector
	buffer := make([]byte, 256<<10)
	defer clear(buffer)
	start, end := s.segment.Offset, s.segment.Offset+s.segment.Size
	return sys.EachData(ctx, src, start, end, func(offset, length int64) error {
		from := (offset - start) / sector * sector
		to := min((offset-start+length+sector-1)/sector*sector, s.segment.Size)
		for from < to {
			if err := ctx.Err(); err != nil {
				return err
			}
			p := buffer[:min(to-from, int64(len(buffer)))]
			if err := s.sectors(p, from); err != nil {
				return err
			}
			if _, err := dst.WriteAt(p, from); err != nil {
				return err
			}
			from += int64(len(p))
		}
		return nil
	})
}

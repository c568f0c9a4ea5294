package luks

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/sys"
	"golang.org/x/crypto/xts"
)

// vector is one line of testdata/dm-crypt.txt.
type vector struct {
	bits, sector int
	key          []byte
	sum, first   string
}

func vectors(t *testing.T) (list []vector) {
	t.Helper()
	text, err := os.ReadFile("testdata/dm-crypt.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var v vector
		var key string
		if _, err := fmt.Sscan(line, &v.bits, &v.sector, &key, &v.sum, &v.first); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		v.key, _ = hex.DecodeString(key)
		list = append(list, v)
	}
	return list
}

func plainVector() []byte {
	p := make([]byte, 64<<10)
	for i := range p {
		p[i] = byte(i*7 + i>>9)
	}
	return p
}

func newCipher(t testing.TB, key []byte, sector int) *Cipher {
	t.Helper()
	b, err := locked.Take(bytes.Clone(key))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Destroy()
	c, err := NewCipher(b, sector)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The sectors are what the kernel's dm-crypt makes of them.
func TestSameAsDMCrypt(t *testing.T) {
	list := vectors(t)
	if len(list) != 8 {
		t.Fatalf("%d vectors; want 8", len(list))
	}
	for _, v := range list {
		t.Run(fmt.Sprintf("%d-%d", v.bits, v.sector), func(t *testing.T) {
			c := newCipher(t, v.key, v.sector)
			defer c.Destroy()
			p := plainVector()
			c.Encrypt(p, 0)
			sum := sha256.Sum256(p)
			if got := hex.EncodeToString(p[:16]); got != v.first {
				t.Errorf("first bytes = %s; want %s", got, v.first)
			}
			if got := hex.EncodeToString(sum[:]); got != v.sum {
				t.Errorf("SHA-256 = %s; want %s", got, v.sum)
			}
			c.Decrypt(p, 0)
			if !bytes.Equal(p, plainVector()) {
				t.Error("Decrypt(Encrypt(p)) != p")
			}
		})
	}
}

// TestShares: sectors are the same wherever they are and however many processors
// share them.
func TestShares(t *testing.T) {
	for _, v := range vectors(t) {
		c := newCipher(t, v.key, v.sector)
		defer c.Destroy()
		reference, err := xts.NewCipher(aes.NewCipher, v.key)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{v.sector, worthSharing, worthSharing + v.sector, 5 * worthSharing, 1<<20 - v.sector} {
			for _, offset := range []int64{0, int64(v.sector), 1 << 41} {
				plain := bytes.Repeat(plainVector(), 1+size>>16)[:size]
				got, want := bytes.Clone(plain), bytes.Clone(plain)
				c.Encrypt(got, offset)
				for at := 0; at < size; at += v.sector {
					sector := want[at:][:v.sector]
					reference.Encrypt(sector, sector, uint64(offset+int64(at))/ivUnit)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%d bytes at %d in sectors of %d are encrypted otherwise", size, offset, v.sector)
				}
				c.Decrypt(got, offset)
				if !bytes.Equal(got, plain) {
					t.Errorf("%d bytes at %d in sectors of %d don't come back", size, offset, v.sector)
				}
			}
		}
	}
}

func TestReadAtAnyOffset(t *testing.T) {
	for _, v := range vectors(t) {
		c := newCipher(t, v.key, v.sector)
		const offset = 3 * 512
		stored := append(make([]byte, offset), plainVector()...)
		c.Encrypt(stored[offset:], 0)
		want := plainVector()
		s := c.Sectors(bytes.NewReader(stored), Segment{Offset: offset, Size: int64(len(want)), SectorSize: v.sector})
		for _, r := range [][2]int{{0, 1}, {0, 65536}, {511, 2}, {4095, 8194}, {65535, 1}, {1000, 0}, {4096, 4096}, {5000, 60000}} {
			got := make([]byte, r[1])
			n, err := s.ReadAt(got, int64(r[0]))
			end := min(r[0]+r[1], len(want))
			if !bytes.Equal(got[:n], want[r[0]:end]) || (n < r[1]) != (err == io.EOF) {
				t.Errorf("sectors of %d: ReadAt(%d bytes, %d) = %d, %v, or other bytes", v.sector, r[1], r[0], n, err)
			}
		}
		if n, err := s.ReadAt(make([]byte, 1), s.Size()); n != 0 || err != io.EOF {
			t.Errorf("ReadAt behind the end = %d, %v; want 0, EOF", n, err)
		}
		short := c.Sectors(bytes.NewReader(stored[:20000]), Segment{Offset: offset, Size: int64(len(want)), SectorSize: v.sector})
		if _, err := short.ReadAt(make([]byte, 32<<10), 0); err != io.ErrUnexpectedEOF {
			t.Errorf("ReadAt of a shorter file = %v; want %v", err, io.ErrUnexpectedEOF)
		}
		c.Destroy()
	}
}

func TestWriteRangeAndDecryptTo(t *testing.T) {
	v := vectors(t)[7]
	c := newCipher(t, v.key, v.sector)
	defer c.Destroy()
	vault, image, back := memfd(t), memfd(t), memfd(t)
	plain := plainVector()
	segment := Segment{Offset: 8192, Size: 1 << 20, SectorSize: v.sector}
	if err := vault.Truncate(segment.Offset + segment.Size); err != nil {
		t.Fatal(err)
	}
	if _, err := image.WriteAt(plain, 512<<10); err != nil {
		t.Fatal(err)
	}
	seen := 0
	if err := c.WriteRange(context.Background(), vault, segment, image, 512<<10, int64(len(plain)), func(p []byte, _ int64) { seen += len(p) }); err != nil {
		t.Fatal(err)
	}
	if seen != len(plain) {
		t.Errorf("%d bytes were seen; want %d", seen, len(plain))
	}
	if err := c.Sectors(vault, segment).DecryptTo(context.Background(), back, vault); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 1<<20)
	if _, err := back.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[512<<10:][:len(plain)], plain) || !allZero(got[:512<<10]) {
		t.Error("what was decrypted is not what was encrypted, or holes were filled")
	}
}

func TestDestroyForgetsTheKey(t *testing.T) {
	block, err := aes.NewCipher([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	if !zeroBlock(block) {
		t.Fatal("crypto/aes has changed: its expanded key can't be zeroed")
	}
	forgotten := make([]byte, 16)
	zero := make([]byte, 16)
	func() {
		defer func() { recover() }() // without its number of rounds it may panic
		block.Encrypt(forgotten, zero)
	}()
	fresh, _ := aes.NewCipher([]byte("0123456789abcdef0123456789abcdef"))
	want := make([]byte, 16)
	fresh.Encrypt(want, zero)
	if bytes.Equal(forgotten, want) {
		t.Error("a destroyed cipher still has its key")
	}
}

func memfd(t testing.TB) *os.File {
	t.Helper()
	f, err := sys.Memfd("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// BenchmarkSectors has pieces that one processor does, and such that all share.
func BenchmarkSectors(b *testing.B) {
	c := newCipher(b, bytes.Repeat([]byte("k"), 32+32), 4096)
	for _, size := range []int{4 << 10, 1 << 20} {
		p := make([]byte, size)
		for name, do := range map[string]func([]byte, int64){"Encrypt": c.Encrypt, "Decrypt": c.Decrypt} {
			b.Run(fmt.Sprintf("%s/%dKiB", name, size>>10), func(b *testing.B) {
				b.SetBytes(int64(size))
				for b.Loop() {
					do(p, 0)
				}
			})
		}
	}
}

package luks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tazzo/tazpod/test/need"
)

// fastKDFs are each of the reference's key derivations, as quick as it lets them
// be.
var fastKDFs = []string{
	"--pbkdf=pbkdf2 --pbkdf-force-iterations=1000",
	"--pbkdf=argon2i --pbkdf-memory=64 --pbkdf-parallel=1 --pbkdf-force-iterations=4",
	"--pbkdf=argon2id --pbkdf-memory=64 --pbkdf-parallel=1 --pbkdf-force-iterations=4",
}

// sameKey unlocks a stock vault and compares the key with the one that stock
// tools dump.
func sameKey(t *testing.T, path string) *Header {
	t.Helper()
	h, err := readFile(t, path)
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := h.Unlock(context.Background(), secret(t, "pass"))
	if err != nil {
		t.Fatal(err)
	}
	defer key.Destroy()
	file := filepath.Join(t.TempDir(), "key")
	stock(t, "pass", "luksDump", "--batch-mode", "--dump-volume-key", "--volume-key-file="+file, "--key-file=-", path)
	if want, err := os.ReadFile(file); err != nil || !bytes.Equal(key.Bytes(), want) {
		t.Errorf("Unlock() returned another key than stock tools (%v)", err)
	}
	return h
}

// TestConformance unlocks what stock cryptsetup makes with every key size, sector
// size and key derivation.
func TestConformance(t *testing.T) {
	for _, bits := range []int{256, 512} {
		for _, sector := range []int{512, 4096} {
			for _, kdf := range fastKDFs {
				name := fmt.Sprintf("%d %d %s", bits, sector, strings.Fields(kdf)[0])
				t.Run(name, func(t *testing.T) {
					args := append(strings.Fields(kdf), fmt.Sprint("--key-size=", bits), fmt.Sprint("--sector-size=", sector))
					h := sameKey(t, formatted(t, args...))
					if want := (Segment{16 << 20, 16 << 20, sector, bits / 8}); h.Segment != want {
						t.Errorf("Segment = %+v; want %+v", h.Segment, want)
					}
				})
			}
		}
	}
}

// TestHeaderSizes reads headers from the smallest to one of 16 MiB.
func TestHeaderSizes(t *testing.T) {
	const kib = 1 << 10
	for _, c := range []struct{ metadata, keyslots int64 }{ // bytes
		{16 * kib, 256 * kib}, {16 * kib, 16*kib*kib - 32*kib}, {32 * kib, 512 * kib}, {64 * kib, 1 << 20},
		{128 * kib, 1 << 20}, {256 * kib, 2 << 20}, {512 * kib, 4 << 20}, {1 << 20, 8 << 20}, {2 << 20, 12 << 20}, {4 << 20, 8 << 20},
	} {
		length := 2*c.metadata + c.keyslots
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			h := sameKey(t, formatted(t, fmt.Sprint("--luks2-metadata-size=", c.metadata/kib, "k"),
				fmt.Sprint("--luks2-keyslots-size=", c.keyslots/kib, "k"), fmt.Sprint("--offset=", length/512), "--key-size=256"))
			if h.Length != length || h.Segment.Offset != length {
				t.Errorf("Length, Offset = %d, %d; want %d", h.Length, h.Segment.Offset, length)
			}
		})
	}
}

// TestKeyslots fills a header with keyslots, each of which unlocks it.
func TestKeyslots(t *testing.T) {
	path := formatted(t, "--luks2-keyslots-size=16352k", "--key-size=512", "--sector-size=4096")
	dir := t.TempDir()
	for slot := 1; slot < 32; slot++ {
		key := filepath.Join(dir, strconv.Itoa(slot))
		if err := os.WriteFile(key, fmt.Appendf(nil, "pass %d", slot), 0o600); err != nil {
			t.Fatal(err)
		}
		kdf := strings.Fields(fastKDFs[slot%len(fastKDFs)])
		stock(t, "pass", append(append([]string{"luksAddKey", "--batch-mode", "--key-file=-"}, kdf...), path, key)...)
		if !slices.Contains([]int{1, 7, 8, 30, 31}, slot) {
			continue
		}
		h := sameKey(t, path)
		if n := len(h.metadata.keyslots); n != slot+1 {
			t.Errorf("%d keyslots; want %d", n, slot+1)
		}
		pass, n, err := h.Unlock(context.Background(), secret(t, fmt.Sprint("pass ", slot)))
		if err != nil || n != slot {
			t.Errorf("Unlock() by keyslot %d = %d, %v", slot, n, err)
		}
		pass.Destroy()
		if _, _, err := h.Unlock(context.Background(), secret(t, fmt.Sprint("pass ", slot+1))); !errors.Is(err, ErrPassphrase) {
			t.Errorf("Unlock() by none of %d = %v; want %v", slot+1, err, ErrPassphrase)
		}
	}
}

// TestDetachedHeader refuses both of its files, and says why.
func TestDetachedHeader(t *testing.T) {
	need.Command(t, "cryptsetup")
	dir := t.TempDir()
	header, data := filepath.Join(dir, "header"), filepath.Join(dir, "data")
	for _, path := range []string{header, data} {
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 32<<20)); err != nil {
			t.Fatal(err)
		}
	}
	stock(t, "pass", "luksFormat", "--batch-mode", "--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000", "--key-file=-", "--header", header, data)
	if _, err := readFile(t, header); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "detached") {
		t.Errorf("Read() of the header = %v; want %v: detached", err, ErrUnsupported)
	}
	if _, err := readFile(t, data); !errors.Is(err, ErrNotLUKS) {
		t.Errorf("Read() of the data = %v; want %v", err, ErrNotLUKS)
	}
}

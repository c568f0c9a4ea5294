package luks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/test/need"
)

var fastKDF = KDF{Type: "argon2id", Memory: 1 << 20, Lanes: 1, Iterations: 4}

func secret(t testing.TB, text string) *locked.Buffer {
	t.Helper()
	b, err := locked.Take([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Destroy)
	return b
}

// stock runs the reference tool as a user would, the passphrase on its input.
func stock(t testing.TB, input string, args ...string) string {
	t.Helper()
	cmd := exec.Command("cryptsetup", args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("cryptsetup %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// formatted returns a file of 32 MiB that stock luksFormat has made.
func formatted(t testing.TB, args ...string) string {
	t.Helper()
	need.Command(t, "cryptsetup")
	path := filepath.Join(t.TempDir(), "vault.img")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 32<<20)); err != nil {
		t.Fatal(err)
	}
	args = append([]string{"luksFormat", "--batch-mode", "--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000", "--key-file=-"}, args...)
	stock(t, "pass", append(args, path)...)
	return path
}

func readFile(t testing.TB, path string) (*Header, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := Read(context.Background(), f)
	if err == nil {
		t.Cleanup(func() { h.Close() })
	}
	return h, err
}

func TestFormatUnlockAndStock(t *testing.T) {
	need.Command(t, "cryptsetup")
	ctx := context.Background()
	h, key, err := Format(ctx, 32<<20, fastKDF, secret(t, "pass phrase"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	defer key.Destroy()
	if want := (Segment{2 << 20, 30 << 20, 4096, 64}); h.Segment != want || h.Length != 2<<20 {
		t.Errorf("Segment, Length = %+v, %d; want %+v, %d", h.Segment, h.Length, want, 2<<20)
	}
	path := filepath.Join(t.TempDir(), "vault.img")
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(f.Truncate(32<<20), h.WriteTo(f), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	stock(t, "pass phrase", "open", "--test-passphrase", "--key-file=-", path)
	dump := stock(t, "", "luksDump", path)
	for _, want := range []string{"aes-xts-plain64", "sector: 4096 [bytes]", "argon2id", h.UUID, "offset: 2097152 [bytes]"} {
		if !strings.Contains(dump, want) {
			t.Errorf("luksDump has no %q:\n%s", want, dump)
		}
	}
	again, err := readFile(t, path)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := again.Unlock(ctx, secret(t, "pass phrase"))
	if err != nil {
		t.Fatal(err)
	}
	defer got.Destroy()
	if !got.Equal(key) {
		t.Error("Unlock() returned another key than Format()")
	}
	for _, wrong := range []string{"pass phrasf", "pass phrase\n", ""} {
		if _, _, err := again.Unlock(ctx, secret(t, wrong)); !errors.Is(err, ErrPassphrase) {
			t.Errorf("Unlock(%q) = %v; want %v", wrong, err, ErrPassphrase)
		}
	}
}

// TestUnlockStock is for what TestConformance has not: other sectors, odd offsets,
// and cryptsetup's own choice.
func TestUnlockStock(t *testing.T) {
	for _, c := range []struct {
		args   string
		sector int // cryptsetup's own choice if 0
		offset int64
	}{
		{"--sector-size=1024 --offset=32768", 1024, 16 << 20},
		{"--sector-size=2048 --offset=40008", 2048, 40008 * 512},
		{"", 0, 16 << 20},
	} {
		t.Run(c.args, func(t *testing.T) {
			h := sameKey(t, formatted(t, strings.Fields(c.args)...))
			s := h.Segment
			if c.sector != 0 && s.SectorSize != c.sector || s.KeySize != 64 || s.Offset != c.offset || h.Repaired != "" {
				t.Errorf("Segment, Repaired = %+v, %q; want sectors of %d at %d, keys of 64, nothing", s, h.Repaired, c.sector, c.offset)
			}
		})
	}
}

// edit changes the metadata of both copies and puts their checksums right.
func edit(t testing.TB, path, old, new string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const half, text, sum = 16 << 10, 4096, 448
	for offset := int64(0); offset <= half; offset += half {
		b := make([]byte, half)
		if _, err := f.ReadAt(b, offset); err != nil {
			t.Fatal(err)
		}
		json, _, _ := bytes.Cut(b[text:], []byte{0})
		if !bytes.Contains(json, []byte(old)) {
			t.Fatalf("%s has no %s", json, old)
		}
		json = bytes.Replace(bytes.Clone(json), []byte(old), []byte(new), 1)
		clear(b[text:])
		copy(b[text:], json)
		clear(b[sum : sum+64])
		hash := sha256.Sum256(b)
		copy(b[sum:], hash[:])
		if _, err := f.WriteAt(b, offset); err != nil {
			t.Fatal(err)
		}
	}
}

func damage(t testing.TB, path string, offset int64, n int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, offset); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	for i := range b {
		b[i] ^= 0xff
	}
	if _, err := f.WriteAt(b, offset); err != nil {
		t.Fatal(err)
	}
}

func TestBadHeaders(t *testing.T) {
	replace := func(old, new string) func(testing.TB, string) {
		return func(t testing.TB, path string) { edit(t, path, old, new) }
	}
	truncate := func(size int64) func(testing.TB, string) {
		return func(t testing.TB, path string) {
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name string
		args string
		do   func(testing.TB, string)
		want error
		text string
	}{
		{"empty", "", truncate(0), ErrNotLUKS, "empty"},
		{"7 bytes", "", truncate(7), ErrTruncated, ""},
		{"a part of the metadata", "", truncate(5000), ErrDamaged, ""},
		{"a part of the keyslots", "", truncate(1 << 20), ErrTruncated, ""},
		{"no sector", "", truncate(16 << 20), ErrTruncated, "at least"},
		{"half a sector", "", truncate(16<<20 + 100), ErrTruncated, "at least"},
		{"text", "", func(t testing.TB, path string) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("not a vault\n"), 10000), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrNotLUKS, ""},
		{"LUKS1", "--type=luks1 --pbkdf=pbkdf2", nil, ErrLUKS1, "LUKS1"},
		{"both copies damaged", "", func(t testing.TB, path string) { damage(t, path, 4100, 8); damage(t, path, 20484, 8) }, ErrDamaged, ""},
		{"other version", "", func(t testing.TB, path string) { damage(t, path, 6, 2); damage(t, path, 16384+6, 2) }, ErrDamaged, ""},
		{"cipher", "--cipher=aes-cbc-essiv:sha256 --key-size=256", nil, ErrUnsupported, `cipher "aes-cbc-essiv:sha256"`},
		{"key size", "", replace(`"key_size":64,"af"`, `"key_size":48,"af"`), ErrUnsupported, "384 bits"},
		{"requirement", "", replace(`"config":{`, `"config":{"requirements":{"mandatory":["offline-reencrypt"]},`), ErrUnsupported, "offline-reencrypt"},
		{"unknown requirement", "", replace(`"config":{`, `"config":{"requirements":{"mandatory":["time-travel"]},`), ErrUnsupported, "time-travel"},
		{"IV offset", "", replace(`"iv_tweak":"0"`, `"iv_tweak":"8"`), ErrUnsupported, "IV offset"},
		{"fixed size, too large", "", replace(`"size":"dynamic"`, `"size":"1073741824"`), ErrTruncated, "at least"},
		{"segment flag", "", replace(`"iv_tweak":"0"`, `"iv_tweak":"0","flags":["shiny"]`), ErrUnsupported, "shiny"},
		{"segment field", "", replace(`"iv_tweak":"0"`, `"iv_tweak":"0","mirror":1`), ErrUnsupported, "mirror"},
		{"segment type", "", replace(`"type":"crypt"`, `"type":"linear"`), ErrUnsupported, "linear"},
		{"null keyslot", "", replace(`"encryption":"aes-xts-plain64","key_size"`, `"encryption":"cipher_null-ecb","key_size"`), ErrUnsupported, `keyslot with cipher "cipher_null-ecb"`},
		{"keyslot cipher", "--keyslot-cipher=aes-cbc-plain64 --keyslot-key-size=256", nil, ErrUnsupported, `keyslot with cipher "aes-cbc-plain64"`},
		{"keyslot type", "", replace(`"type":"luks2"`, `"type":"quantum"`), ErrUnsupported, "quantum"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := formatted(t, strings.Fields(c.args)...)
			if c.do != nil {
				c.do(t, path)
			}
			before, _ := os.ReadFile(path)
			_, err := readFile(t, path)
			t.Log(err)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("Read() = %v; want %v with %q", err, c.want, c.text)
			}
			if err != nil && strings.Contains(err.Error(), "/proc/") {
				t.Errorf("%v: speaks of a descriptor", err)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("reading changed the file")
			}
		})
	}
}

func TestCancel(t *testing.T) {
	need.Command(t, "cryptsetup")
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, _, err := Format(ctx, 32<<20, KDF{Type: "pbkdf2", Iterations: 2_000_000_000}, secret(t, "x"))
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
		t.Errorf("Format() = %v after %v; want %v at once", err, time.Since(start), context.DeadlineExceeded)
	}
}

// A header that asks for years of key derivation is given up.
func TestEndlessKeyDerivation(t *testing.T) {
	path := formatted(t)
	edit(t, path, `"iterations":1000,`, `"iterations":2000000000,`)
	h, err := readFile(t, path)
	if err != nil {
		t.Fatal(err)
	}
	was := unlockLimit
	unlockLimit = 300 * time.Millisecond
	defer func() { unlockLimit = was }()
	start := time.Now()
	if _, _, err := h.Unlock(context.Background(), secret(t, "pass")); !errors.Is(err, ErrUnsupported) || time.Since(start) > 10*time.Second {
		t.Errorf("Unlock() = %v after %v; want %v at once", err, time.Since(start), ErrUnsupported)
	}
}

func TestNoEnvironment(t *testing.T) {
	need.Command(t, "cryptsetup")
	t.Setenv("PATH", "/nowhere")
	t.Setenv("LC_ALL", "it_IT.UTF-8")
	out, err := call{args: []string{"--version"}, input: []byte{}}.run(context.Background())
	if err != nil || !bytes.HasPrefix(out, []byte("cryptsetup ")) {
		t.Errorf("run() = %q, %v", out, err)
	}
	if _, err := program("no-such-program"); !errors.Is(err, ErrNoProgram) {
		t.Errorf("program() = %v; want %v", err, ErrNoProgram)
	}
}

func TestProbeFindsTheSecondCopy(t *testing.T) {
	for size := int64(16 << 10); size <= 4<<20; size *= 2 {
		f := memfd(t)
		if _, err := f.WriteAt(secondaryMagic, size); err != nil {
			t.Fatal(err)
		}
		if got, err := probe(f, 8<<20); got != size || err != nil {
			t.Errorf("probe() = %d, %v; want %d", got, err, size)
		}
	}
	odd := make([]byte, 16)
	copy(odd, primaryMagic)
	binary.BigEndian.PutUint16(odd[versionOffset:], 2)
	binary.BigEndian.PutUint64(odd[sizeOffset:], 1<<63)
	if got, err := probe(bytes.NewReader(odd), 16); got != maxMetadata || err != nil {
		t.Errorf("probe() of an absurd size = %d, %v; want %d", got, err, maxMetadata)
	}
}

// The room for further keyslots is empty in a new header, and is there when one is
// added.
func TestRoomIsEmpty(t *testing.T) {
	h, key, err := Format(context.Background(), 32<<20, fastKDF, secret(t, "pass"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	defer key.Destroy()
	data := func() (total int64) {
		err := sys.EachData(context.Background(), h.file, 0, h.Length, func(_, length int64) error { total += length; return nil })
		if err != nil {
			t.Fatal(err)
		}
		return total
	}
	const metadata, area = 32 << 10, 258048 // bytes
	if got := data(); got != metadata+area {
		t.Errorf("a new header has %d bytes of data; want %d", got, metadata+area)
	}
	slot, err := h.AddKey(context.Background(), key, secret(t, "other"), fastKDF)
	if err != nil {
		t.Fatal(err)
	}
	if got := data(); got != metadata+2*area {
		t.Errorf("with a second key it has %d; want %d", got, metadata+2*area)
	}
	again, opened, err := h.Unlock(context.Background(), secret(t, "other"))
	if err != nil || opened != slot || !again.Equal(key) {
		t.Errorf("Unlock() by it = keyslot %d, %v; want %d with the same key", opened, err, slot)
	}
	again.Destroy()
}

package luks

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/test/need"
)

func TestFixedSize(t *testing.T) {
	path := formatted(t)
	edit(t, path, `"size":"dynamic"`, `"size":"1048576"`)
	h, err := readFile(t, path)
	if err != nil || h.Segment.Size != 1<<20 {
		t.Fatalf("Read() = %+v, %v; want a segment of 1 MiB", h, err)
	}
}

func TestDamagedCopyIsMended(t *testing.T) {
	sound := formatted(t)
	before, err := os.ReadFile(sound)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		offset int64
		want   string
	}{{0, "first"}, {8, "first"}, {200, "first"}, {4100, "first"}, {16384, "second"}, {20484, "second"}} {
		t.Run(strconv.FormatInt(c.offset, 10), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "vault.img")
			if err := os.WriteFile(path, before, 0o600); err != nil {
				t.Fatal(err)
			}
			damage(t, path, c.offset, 8)
			damaged, _ := os.ReadFile(path)
			h, err := readFile(t, path)
			if err != nil {
				t.Fatal(err)
			}
			if h.Repaired != c.want {
				t.Errorf("Repaired = %q; want %q", h.Repaired, c.want)
			}
			key, _, err := h.Unlock(context.Background(), secret(t, "pass"))
			if err != nil {
				t.Fatal(err)
			}
			key.Destroy()
			if after, _ := os.ReadFile(path); !bytes.Equal(damaged, after) {
				t.Error("the file was changed")
			}
			f, _ := os.Open(path)
			defer f.Close()
			if same, err := h.SameAs(f); !same || err != nil {
				t.Errorf("SameAs(the damaged file) = %v, %v; want true", same, err)
			}
		})
	}
}

func TestSameAsSeesNewKeyslots(t *testing.T) {
	path := formatted(t)
	h, err := readFile(t, path)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	stock(t, "pass", "luksAddKey", "--batch-mode", "--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000", "--key-file=-", path, key)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if same, err := h.SameAs(f); same || err != nil {
		t.Errorf("SameAs(changed file) = %v, %v; want false", same, err)
	}
	again, err := readFile(t, path)
	if err != nil {
		t.Fatal(err)
	}
	for _, pass := range []string{"pass", "second"} {
		k, _, err := again.Unlock(context.Background(), secret(t, pass))
		if err != nil {
			t.Fatalf("Unlock(%q) = %v", pass, err)
		}
		k.Destroy()
	}
}

func TestTokens(t *testing.T) {
	need.Command(t, "cryptsetup")
	ctx := context.Background()
	h, key, err := Format(ctx, 32<<20, fastKDF, secret(t, "pass"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	key.Destroy()
	type token struct {
		Type     string   `json:"type"`
		Keyslots []string `json:"keyslots"`
		Value    string   `json:"value"`
	}
	var got token
	if found, err := h.Token("test", &got); found || err != nil {
		t.Fatalf("Token() of none = %v, %v", found, err)
	}
	for _, value := range []string{"one", "two", "three"} {
		c, err := h.Clone()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetToken(ctx, "test", token{"test", []string{}, value}); err != nil {
			t.Fatal(err)
		}
		out := memfd(t)
		if err := errors.Join(out.Truncate(32<<20), c.WriteTo(out)); err != nil {
			t.Fatal(err)
		}
		if h, err = Read(ctx, out); err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if found, err := h.Token("test", &got); !found || err != nil || got.Value != value {
			t.Errorf("Token() = %v, %v, %+v; want %q", found, err, got, value)
		}
		if n := len(h.metadata.tokens); n != 1 {
			t.Errorf("%d tokens; want 1", n)
		}
	}
}

func TestCloneIsTheSame(t *testing.T) {
	h, err := readFile(t, formatted(t))
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.Clone()
	if err != nil {
		t.Fatal(err)
	}
	same := true
	err = sys.EachData(context.Background(), h.file, 0, h.Length, func(offset, length int64) error {
		a, b := make([]byte, length), make([]byte, length)
		err := errors.Join(readPart(h.file, a, offset), readPart(c.file, b, offset))
		same = same && bytes.Equal(a, b)
		return err
	})
	if err != nil || !same {
		t.Errorf("a clone differs (%v)", err)
	}
	c.Close()
}

// Recheck finds what cryptsetup would have to mend, what it refuses, and a keyslot
// that isn't as it was written.
func TestRecheck(t *testing.T) {
	path := formatted(t)
	for _, offset := range []int64{-1, 200, 4100, 16384, 20484, 32768 + 5} {
		h, err := readFile(t, path)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.WriteTo(memfd(t)); err != nil {
			t.Fatal(err)
		}
		if offset >= 0 {
			if _, err := h.file.WriteAt([]byte("damage"), offset); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.Recheck(context.Background()); (err == nil) != (offset < 0) || err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("Recheck() with damage at %d = %v", offset, err)
		}
	}
}

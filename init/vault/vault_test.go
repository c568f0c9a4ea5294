package vault

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/test/need"
)

const (
	kernelID = 71000
	testSize = 32 << 20
)

func TestMain(m *testing.M) {
	newKDF = func() (luks.KDF, error) {
		return luks.KDF{Type: "argon2id", Memory: 1 << 20, Lanes: 1, Iterations: 4}, nil
	}
	verifierMemory = 64
	os.Exit(m.Run())
}

// place returns an empty vault directory.
func place(t testing.TB) Place {
	t.Helper()
	need.Root(t)
	need.Command(t, "cryptsetup", "mke2fs", "e2fsck")
	return placeIn(t, t.TempDir())
}

func placeIn(t testing.TB, path string) Place {
	t.Helper()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return Place{Dir: dir, Owner: 1234, Group: 1235, TreeID: kernelID, Pod: "test-pod"}
}

// newTree returns an empty directory in RAM.
func newTree(t testing.TB) *os.File {
	t.Helper()
	path, err := os.MkdirTemp("/dev/shm", "vault-test-")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close(); os.RemoveAll(path) })
	return tree
}

func secret(t testing.TB, text string) *locked.Buffer {
	t.Helper()
	b, err := locked.Take([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Destroy)
	return b
}

func mustCreate(t testing.TB, p Place) {
	t.Helper()
	if err := Create(context.Background(), p, secret(t, "pass"), testSize, Cost{}); err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t testing.TB, p Place) *Vault {
	t.Helper()
	v, err := Open(context.Background(), p, secret(t, "pass"), newTree(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func mustSave(t testing.TB, v *Vault, want bool) {
	t.Helper()
	saved, err := v.Save(context.Background())
	if err != nil || saved != want {
		t.Fatalf("Save() = %v, %v; want %v, nil", saved, err, want)
	}
}

func write(t testing.TB, tree *os.File, name, content string) {
	t.Helper()
	path := filepath.Join(tree.Name(), name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, tree *os.File, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(tree.Name(), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestCreateSaveReopen(t *testing.T) {
	p := place(t)
	if exists, err := Exists(p); exists || err != nil {
		t.Fatalf("Exists() = %v, %v; want false", exists, err)
	}
	start := time.Now()
	mustCreate(t, p)
	t.Log("create", time.Since(start))
	start = time.Now()
	v := mustOpen(t, p)
	t.Log("open", time.Since(start))
	if changed, err := v.Changed(); changed || err != nil {
		t.Fatalf("Changed() after Open = %v, %v; want false", changed, err)
	}
	mustSave(t, v, false)
	write(t, v.tree, "dir/file", "content")
	if changed, err := v.Changed(); !changed || err != nil {
		t.Fatalf("Changed() after a write = %v, %v; want true", changed, err)
	}
	start = time.Now()
	mustSave(t, v, true)
	t.Log("save", time.Since(start))
	mustSave(t, v, false) // by now the clock has moved on from the last change
	if changed, err := v.Changed(); changed || err != nil {
		t.Fatalf("Changed() after Save = %v, %v; want false", changed, err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	again := mustOpen(t, p)
	t.Log("open", time.Since(start), again.Info())
	if got, want := read(t, again.tree, "dir/file"), "content"; got != want {
		t.Errorf("file = %q; want %q", got, want)
	}
	if got := again.Info(); got.Seal != SealIntact || len(got.Notes) > 0 {
		t.Errorf("Info() = %+v; want an intact seal and no notes", got)
	}
	mustSave(t, again, false)
	for range 5 {
		start = time.Now()
		if again.Verify(t.Context(), secret(t, "pass")) != nil || !errors.Is(again.Verify(t.Context(), secret(t, "past")), ErrPassphrase) {
			t.Error("Verify tells a wrong passphrase from the right one")
		}
		t.Log("verify ×2", time.Since(start))
	}
}

package vault

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/test/need"
	"golang.org/x/sys/unix"
)

func vaultPath(p Place) string { return p.path(wire.VaultFile) }

// copyVault gives a test a directory with a copy of a sound vault.
func copyVault(t testing.TB, sound []byte) Place {
	t.Helper()
	p := place(t)
	f, err := os.Create(vaultPath(p))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = f.Truncate(int64(len(sound)))
	for i := 0; i < len(sound) && err == nil; i += sealBlock {
		if block := sound[i:min(i+sealBlock, len(sound))]; !allZero(block) {
			_, err = f.WriteAt(block, int64(i))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func soundVault(t testing.TB) []byte {
	t.Helper()
	p := place(t)
	mustCreate(t, p)
	v := mustOpen(t, p)
	write(t, v.tree, "file", strings.Repeat("content ", 4096))
	mustSave(t, v, true)
	v.Close()
	content, err := os.ReadFile(vaultPath(p))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestBadVaults(t *testing.T) {
	sound := soundVault(t)
	mount := func(t testing.TB, p Place) {
		if err := unix.Mount(vaultPath(p), vaultPath(p), "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(vaultPath(p), 0); err != nil {
				t.Error(err)
			}
		})
	}
	content := func(b []byte) func(testing.TB, Place) {
		return func(t testing.TB, p Place) {
			if err := os.WriteFile(vaultPath(p), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	instead := func(make func(path string) error) func(testing.TB, Place) {
		return func(t testing.TB, p Place) {
			if err := errors.Join(os.Rename(vaultPath(p), p.path("elsewhere")), make(vaultPath(p))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name string
		do   func(testing.TB, Place)
		want error
	}{
		{"absent", instead(func(string) error { return nil }), ErrAbsent},
		{"empty", content(nil), ErrNotLUKS},
		{"text", content([]byte(strings.Repeat("hello\n", 1000))), ErrNotLUKS},
		{"truncated header", content(sound[:100000]), ErrDamaged},
		{"truncated data", content(sound[:len(sound)-4096]), ErrDamaged},
		{"both headers damaged", content(append(make([]byte, 32768), sound[32768:]...)), ErrNotLUKS},
		{"zeroed file system", content(append(sound[:2<<20:2<<20], make([]byte, len(sound)-2<<20)...)), ErrDamaged},
		{"symbolic link", instead(func(path string) error { return os.Symlink("elsewhere", path) }), ErrLink},
		{"dangling link", instead(func(path string) error { return os.Symlink("nowhere", path) }), ErrLink},
		{"directory", instead(func(path string) error { return os.Mkdir(path, 0o700) }), ErrNotAFile},
		{"FIFO", instead(func(path string) error { return unix.Mkfifo(path, 0o600) }), ErrNotAFile},
		{"socket", instead(func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) }), ErrNotAFile},
		{"mount point", mount, ErrMountPoint},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := copyVault(t, sound)
			c.do(t, p)
			_, err := Open(context.Background(), p, secret(t, "pass"), newTree(t))
			t.Logf("%v\n%s", err, Hint(err))
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), vaultPath(p)) {
				t.Errorf("Open() = %v; want %v and the file", err, c.want)
			}
			if Hint(err) == "" {
				t.Error("no hint")
			}
			noLitter(t, p)
		})
	}
}

func TestWrongPassphrase(t *testing.T) {
	p := copyVault(t, soundVault(t))
	for _, wrong := range []string{"past", "", "pass "} {
		_, err := Open(context.Background(), p, secret(t, wrong), newTree(t))
		if !errors.Is(err, ErrPassphrase) {
			t.Errorf("Open(%q) = %v; want %v", wrong, err, ErrPassphrase)
		}
	}
	mustOpen(t, p) // and the lock was released
}

func TestCreateRefuses(t *testing.T) {
	p := place(t)
	ctx := context.Background()
	for _, pass := range []string{"", "two\nlines", "zero\x00", strings.Repeat("x", 513)} {
		if err := Create(ctx, p, secret(t, pass), testSize, Cost{}); !errors.Is(err, ErrWeak) {
			t.Errorf("Create(%.10q) = %v; want %v", pass, err, ErrWeak)
		}
	}
	if err := Create(ctx, p, secret(t, "pass"), 1<<20, Cost{}); err == nil {
		t.Error("Create() of 1 MiB succeeded")
	}
	if err := os.WriteFile(vaultPath(p), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create(ctx, p, secret(t, "pass"), testSize, Cost{}); !errors.Is(err, ErrExists) {
		t.Errorf("Create() over a file = %v; want %v", err, ErrExists)
	}
	if got, _ := os.ReadFile(vaultPath(p)); string(got) != "mine" {
		t.Error("Create() touched an existing file")
	}
	noLitter(t, p)
}

// A file that appears while a vault is being made wins.
func TestCreateNeverReplaces(t *testing.T) {
	p := place(t)
	before(t, "rename to", func(*sys.Op) error { return os.WriteFile(vaultPath(p), []byte("mine"), 0o600) })
	if err := Create(context.Background(), p, secret(t, "pass"), testSize, Cost{}); !errors.Is(err, ErrExists) {
		t.Errorf("Create() = %v; want %v", err, ErrExists)
	}
	if got, _ := os.ReadFile(vaultPath(p)); string(got) != "mine" {
		t.Error("Create() replaced a file")
	}
	noLitter(t, p)
}

func TestTwoOpeners(t *testing.T) {
	p := copyVault(t, soundVault(t))
	v := mustOpen(t, p)
	_, err := Open(context.Background(), p, secret(t, "pass"), newTree(t))
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "test-pod") {
		t.Errorf("second Open() = %v; want %v by test-pod", err, ErrInUse)
	}
	if err := Create(context.Background(), p, secret(t, "pass"), testSize, Cost{}); !errors.Is(err, ErrInUse) {
		t.Errorf("Create() = %v; want %v", err, ErrInUse)
	}
	v.Close()
	mustOpen(t, p)
}

// What pods write into vault.lock is printed on others' terminals.
func TestHolderIsPrintable(t *testing.T) {
	p := copyVault(t, soundVault(t))
	p.Pod = "evil\x1b[2J\u202e" + strings.Repeat("x", 1000)
	mustOpen(t, p)
	_, err := Open(context.Background(), p, secret(t, "pass"), newTree(t))
	if !errors.Is(err, ErrInUse) || strings.ContainsAny(err.Error(), "\x1b\u202e") || len(err.Error()) > 300 {
		t.Errorf("Open() = %q", err)
	}
}

func TestPlantedLockFile(t *testing.T) {
	p := copyVault(t, soundVault(t))
	victim := filepath.Join(t.TempDir(), "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("precious"), 0o600), os.Symlink(victim, p.path(lockFile))); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), p, secret(t, "pass"), newTree(t)); !errors.Is(err, ErrLink) {
		t.Errorf("Open() with a linked lock = %v; want %v", err, ErrLink)
	}
	if err := errors.Join(os.Remove(p.path(lockFile)), os.Link(victim, p.path(lockFile))); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), p, secret(t, "pass"), newTree(t)); err == nil {
		t.Error("Open() with a hard-linked lock succeeded")
	}
	if got, _ := os.ReadFile(victim); string(got) != "precious" {
		t.Errorf("the lock's victim is %q now", got)
	}
}

// mounted returns a place on a small file system of its own.
func mounted(t testing.TB, options string) Place {
	t.Helper()
	need.Root(t)
	need.Command(t, "cryptsetup", "mke2fs")
	dir := t.TempDir()
	if err := unix.Mount("test", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return placeIn(t, dir)
}

func TestFullDisk(t *testing.T) {
	for _, size := range []string{"size=200k", "size=400k", "size=8m"} {
		p := mounted(t, size)
		err := Create(context.Background(), p, secret(t, "pass"), testSize, Cost{})
		if size == "size=200k" {
			t.Logf("%v\n%s", err, Hint(err))
		}
		if err == nil && size == "size=8m" {
			continue
		}
		if !errors.Is(err, unix.ENOSPC) || Hint(err) == "" {
			t.Errorf("Create() on %s = %v; want %v with a hint", size, err, unix.ENOSPC)
		}
		noLitter(t, p)
	}
	p := mounted(t, "size=16m")
	mustCreate(t, p)
	v := mustOpen(t, p)
	write(t, v.tree, "kept", "before")
	mustSave(t, v, true)
	before, _ := os.ReadFile(vaultPath(p))
	write(t, v.tree, "big", strings.Repeat("0123456789abcdef", 1<<20))
	for range 2 {
		_, err := v.Save(context.Background())
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(Hint(err), "free some space") {
			t.Fatalf("Save() on a full disk = %v (%s); want %v", err, Hint(err), unix.ENOSPC)
		}
		noLitter(t, p)
		if after, _ := os.ReadFile(vaultPath(p)); string(after) != string(before) {
			t.Fatal("a failed save changed the vault")
		}
		if changed, err := v.Changed(); !changed || err != nil {
			t.Errorf("Changed() after a failed save = %v, %v; want true", changed, err)
		}
	}
	if err := unix.Mount("", p.Dir.Name(), "", unix.MS_REMOUNT, "size=100m"); err != nil {
		t.Fatal(err)
	}
	mustSave(t, v, true)
}

func TestReadOnly(t *testing.T) {
	p := mounted(t, "size=100m")
	mustCreate(t, p)
	v := mustOpen(t, p)
	write(t, v.tree, "file", "content")
	readOnly := func(flag uintptr) {
		if err := unix.Mount("", p.Dir.Name(), "", unix.MS_REMOUNT|flag, ""); err != nil {
			t.Fatal(err)
		}
	}
	v.lock.Close() // a file open for writing holds up the remount
	readOnly(unix.MS_RDONLY)
	if _, err := v.Save(context.Background()); !errors.Is(err, unix.EROFS) || Hint(err) == "" {
		t.Errorf("Save() = %v; want %v with a hint", err, unix.EROFS)
	}
	if _, err := Open(context.Background(), p, secret(t, "pass"), newTree(t)); !errors.Is(err, unix.EROFS) || Hint(err) == "" {
		t.Errorf("Open() = %v; want %v with a hint", err, unix.EROFS)
	}
	readOnly(0)
	mustSave(t, v, true)
}

func TestVanishedDirectory(t *testing.T) {
	p := copyVault(t, soundVault(t))
	v := mustOpen(t, p)
	write(t, v.tree, "new", "content")
	if err := os.RemoveAll(p.Dir.Name()); err != nil {
		t.Fatal(err)
	}
	_, err := v.Save(context.Background())
	if !errors.Is(err, unix.ENOENT) || !strings.Contains(Hint(err), "removed") {
		t.Errorf("Save() = %v (%s); want %v", err, Hint(err), unix.ENOENT)
	}
	if got := read(t, v.tree, "new"); got != "content" {
		t.Errorf("the file in RAM is %q", got)
	}
}

func TestTooMuchContent(t *testing.T) {
	p := copyVault(t, soundVault(t))
	v := mustOpen(t, p)
	write(t, v.tree, "big", strings.Repeat("0123456789abcdef", 2<<20))
	if _, err := v.Save(context.Background()); !errors.Is(err, ErrFull) || Hint(err) == "" {
		t.Errorf("Save() = %v; want %v with a hint", err, ErrFull)
	}
	noLitter(t, p)
}

// noLitter fails if there is anything but the vault's own files.
func noLitter(t testing.TB, p Place) {
	t.Helper()
	names, err := os.ReadDir(p.Dir.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		if strings.Contains(e.Name(), ".new-") {
			t.Errorf("%s is left", e.Name())
		}
	}
}

func stock(t testing.TB, input string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// A lost vault is not replaced by an empty one while an earlier generation is
// there.
func TestMissingBesideGenerations(t *testing.T) {
	p := copyVault(t, soundVault(t))
	if err := p.rename(wire.VaultFile, generation(2)); err != nil {
		t.Fatal(err)
	}
	if exists, err := Exists(p); exists || !errors.Is(err, ErrMissing) || Hint(err) == "" {
		t.Errorf("Exists() = %v, %v; want %v with a hint", exists, err, ErrMissing)
	}
	pass := secret(t, "another passphrase")
	if err := Create(context.Background(), p, pass, smallestSize, Cost{}); !errors.Is(err, ErrMissing) {
		t.Errorf("Create() = %v; want %v", err, ErrMissing)
	}
	if err := p.rename(generation(2), wire.VaultFile); err != nil {
		t.Fatal(err)
	}
	if exists, err := Exists(p); !exists || err != nil {
		t.Errorf("Exists() = %v, %v; want true", exists, err)
	}
}

// FuzzVault opens a vault of which some bytes have changed: that is an error, or
// opens it, and leaves its file as it was. A change is an offset, in the header if
// it is even and in the data if it is odd, and a byte.
func FuzzVault(f *testing.F) {
	sound := soundVault(f)
	var used []int // blocks that aren't all zero
	for at := 2 << 20; at < len(sound); at += sealBlock {
		if !allZero(sound[at : at+sealBlock]) {
			used = append(used, at)
		}
	}
	f.Add([]byte{})
	for _, offset := range []uint16{0, 6, 8, 16, 448, 4096, 4100, 4400, 5000, 16384, 16390, 20480, 20600, 32768, 1, 2049, 12001} {
		f.Add([]byte{byte(offset), byte(offset >> 8), 0xFF, byte(offset + 16384), byte((offset + 16384) >> 8), 0x22})
	}
	f.Fuzz(func(t *testing.T, changes []byte) {
		content := slices.Clone(sound)
		for ; len(changes) >= 3; changes = changes[3:] {
			at := int(changes[0]) | int(changes[1])<<8
			if at%2 == 1 {
				at = used[at/2%len(used)] + at/2%sealBlock
			}
			content[at] = changes[2]
		}
		p := copyVault(t, content)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		v, err := Open(ctx, p, secret(t, "pass"), newTree(t))
		if errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if err == nil {
			v.Close()
		}
		if after, err := os.ReadFile(vaultPath(p)); err != nil || !bytes.Equal(after, content) {
			t.Errorf("opening changed the file (%v)", err)
		}
	})
}

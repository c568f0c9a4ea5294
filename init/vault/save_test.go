package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/init/sys"
	"golang.org/x/sys/unix"
)

// What the disk made of a draft is read back, every part of it.
func TestReadBack(t *testing.T) {
	p := copyVault(t, soundVault(t))
	v := mustOpen(t, p)
	was, _ := os.ReadFile(vaultPath(p))
	damage := func(offset int64) error {
		names, err := filepath.Glob(p.path(draftPrefix + "*"))
		if err != nil || len(names) != 1 {
			return fmt.Errorf("%q are drafts, %w", names, err)
		}
		f, err := os.OpenFile(names[0], os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if offset < 0 { // in the middle of the last block that there is
			end, err := f.Seek(0, io.SeekEnd)
			for at := end / 4096 * 4096; err == nil; at -= 4096 {
				if data, e := f.Seek(at, unix.SEEK_DATA); e == nil && data == at {
					offset = at + 2048
					break
				}
			}
		}
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, offset); err != nil {
			return err
		}
		b[0] ^= 0x10
		_, err = f.WriteAt(b, offset)
		return err
	}
	segment := v.header.Segment.Offset
	for _, offset := range []int64{8, 300, 4200, 16384 + 8, 20600, 32768 + 5, segment - 4096 - 1<<20, segment + 1024, segment + 4096 + 7, -1} {
		write(t, v.tree, "new", fmt.Sprint("content", offset))
		once := sync.OnceFunc(func() {
			if err := damage(offset); err != nil {
				t.Error(err)
			}
		})
		before(t, "read", func(op *sys.Op) error {
			if strings.HasPrefix(op.Name, draftPrefix) {
				once()
			}
			return nil
		})
		if saved, err := v.Save(context.Background()); saved || err == nil {
			t.Errorf("Save() with byte %d of the draft changed = %v, %v; want an error", offset, saved, err)
		}
		noLitter(t, p)
		if after, _ := os.ReadFile(vaultPath(p)); string(after) != string(was) {
			t.Fatal("the vault was changed")
		}
	}
	sys.Fault = nil
	mustSave(t, v, true)
}

func TestGenerations(t *testing.T) {
	p := copyVault(t, soundVault(t))
	for i := range 5 {
		v := mustOpen(t, p)
		for _, part := range []string{"a", "b"} { // the second isn't kept: too soon
			write(t, v.tree, "file", fmt.Sprint(i, part))
			mustSave(t, v, true)
		}
		v.Close()
	}
	for n, want := range map[int]string{0: "4b", 1: "3b", 2: "2b", 3: "1b"} {
		name := vaultPath(p)
		if n > 0 {
			name = p.path(generation(n))
		}
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, mustOpen(t, copyVault(t, content)).tree, "file"); got != want {
			t.Errorf("generation %d = %q; want %q", n, got, want)
		}
	}
	if _, err := os.Stat(p.path(generation(4))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("generation 4: %v", err)
	}
}

func TestOwnerAndMode(t *testing.T) {
	p := place(t)
	defer unix.Umask(unix.Umask(0o077))
	mustCreate(t, p)
	v := mustOpen(t, p)
	write(t, v.tree, "file", "content")
	mustSave(t, v, true)
	names, _ := os.ReadDir(p.Dir.Name())
	if len(names) != 3 {
		t.Errorf("%d files; want vault.img, vault.img.1, vault.lock", len(names))
	}
	for _, e := range names {
		var st unix.Stat_t
		if err := unix.Lstat(p.path(e.Name()), &st); err != nil {
			t.Fatal(err)
		}
		if st.Uid != 1234 || st.Gid != 1235 || st.Mode&0o7777 != 0o600 {
			t.Errorf("%s: owner %d:%d, mode %o; want 1234:1235, 600", e.Name(), st.Uid, st.Gid, st.Mode&0o7777)
		}
	}
}

func TestChangedOnDisk(t *testing.T) {
	sound := soundVault(t)
	for _, c := range []struct {
		name string
		do   func(t *testing.T, path string)
	}{
		{"replaced", func(t *testing.T, path string) {
			if err := errors.Join(os.WriteFile(path+".x", sound, 0o600), os.Rename(path+".x", path)); err != nil {
				t.Fatal(err)
			}
		}},
		{"written to", func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte("x"), 20<<20); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}},
		{"new passphrase, same time", func(t *testing.T, path string) {
			info, _ := os.Stat(path)
			key := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(key, []byte("second"), 0o600); err != nil {
				t.Fatal(err)
			}
			stock(t, "pass", "cryptsetup", "luksAddKey", "--batch-mode", "--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000", "--key-file=-", path, key)
			if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := copyVault(t, sound)
			v := mustOpen(t, p)
			write(t, v.tree, "new", "content")
			c.do(t, vaultPath(p))
			before, _ := os.ReadFile(vaultPath(p))
			if _, err := v.Save(context.Background()); !errors.Is(err, ErrChangedOnDisk) || !errors.Is(err, ErrParked) || Hint(err) == "" {
				t.Errorf("Save() = %v; want %v with a hint", err, ErrChangedOnDisk)
			}
			if after, _ := os.ReadFile(vaultPath(p)); string(before) != string(after) {
				t.Error("it was overwritten")
			}
			noLitter(t, p)
			// What was to be saved is in a vault of its own, and not again and
			// again.
			parked := conflict(t, p)
			stat, _ := os.Stat(parked)
			if _, err := v.Save(context.Background()); !errors.Is(err, ErrChangedOnDisk) || !errors.Is(err, ErrParked) || !strings.Contains(err.Error(), parked) {
				t.Errorf("second Save() = %v; want %v in %s", err, ErrChangedOnDisk, parked)
			}
			if again, _ := os.Stat(conflict(t, p)); !os.SameFile(stat, again) {
				t.Error("the same content was written twice")
			}
			write(t, v.tree, "new", "more content")
			if _, err := v.Save(context.Background()); !errors.Is(err, ErrChangedOnDisk) {
				t.Errorf("third Save() = %v; want %v", err, ErrChangedOnDisk)
			}
			v.Close()
			content, err := os.ReadFile(conflict(t, p))
			if err != nil {
				t.Fatal(err)
			}
			if got := read(t, mustOpen(t, copyVault(t, content)).tree, "new"); got != "more content" {
				t.Errorf("in the conflicting copy new = %q; want more content", got)
			}
		})
	}
}

// conflict returns the only conflicting copy of a vault.
func conflict(t *testing.T, p Place) string {
	t.Helper()
	names, err := filepath.Glob(p.path(conflictPrefix + "*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("conflicting copies: %q, %v; want one", names, err)
	}
	return names[0]
}

// A vault.img that was removed is written again: nothing can be lost by it.
func TestRemovedVault(t *testing.T) {
	p := copyVault(t, soundVault(t))
	v := mustOpen(t, p)
	write(t, v.tree, "new", "content")
	if err := os.Remove(vaultPath(p)); err != nil {
		t.Fatal(err)
	}
	mustSave(t, v, true)
	v.Close()
	if got := read(t, mustOpen(t, p).tree, "new"); got != "content" {
		t.Errorf("new = %q", got)
	}
}

// Files that never stand still are saved all the same, each as it was at one
// moment where its writer lets it.
func TestSaveWhileFilesChange(t *testing.T) {
	p := copyVault(t, soundVault(t))
	v := mustOpen(t, p)
	var stop atomic.Bool
	var writers sync.WaitGroup
	path := func(name string) string { return filepath.Join(v.tree.Name(), name) }
	for w := range 3 {
		writers.Go(func() {
			for i := 0; !stop.Load(); i++ {
				name := fmt.Sprintf("busy-%d-%d", w, i%7)
				switch i % 3 {
				case 0:
					_ = os.WriteFile(path(name), []byte(strings.Repeat(fmt.Sprint(i%10), 5000)), 0o600)
				case 1:
					_ = os.Remove(path(name))
				case 2:
					_ = os.Mkdir(path(name+"-dir"), 0o700)
					_ = os.WriteFile(path(name+"-dir/file"), []byte("x"), 0o600)
					_ = os.RemoveAll(path(name + "-dir"))
				}
			}
		})
	}
	write(t, v.tree, "quiet", "content")
	deadline := time.Now().Add(time.Minute) // for a slow machine
	saves := 0
	for saves < 5 && time.Now().Before(deadline) {
		saved, err := v.Save(context.Background())
		if err != nil {
			t.Fatalf("Save() = %v", err)
		}
		if saved {
			saves++
		}
	}
	stop.Store(true)
	writers.Wait()
	if saves < 5 {
		t.Errorf("%d saves; want 5", saves)
	}
	_, err := v.Save(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := digestTree(context.Background(), v.tree)
	if err != nil {
		t.Fatal(err)
	}
	v.Close()
	again := mustOpen(t, p)
	if got, _, _ := digestTree(context.Background(), again.tree); got != want {
		t.Error("what was saved last is not what is in the tree")
	}
}

func TestSeal(t *testing.T) {
	sound := soundVault(t)
	flip := func(t *testing.T, p Place, offset int64) {
		f, err := os.OpenFile(vaultPath(p), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, offset); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		if _, err := f.WriteAt(b, offset); err != nil {
			t.Fatal(err)
		}
	}
	p := place(t)
	if err := os.WriteFile(vaultPath(p), sound, 0o600); err != nil { // without holes
		t.Fatal(err)
	}
	v := mustOpen(t, p)
	if v.Info().Seal != SealIntact {
		t.Errorf("seal of a copy without holes is %s; want %s", v.Info().Seal, SealIntact)
	}
	offset := fileOffset(t, v, "content content")
	v.Close()
	flip(t, p, offset)
	v = mustOpen(t, p)
	if got := v.Info(); got.Seal != SealBroken || len(got.Notes) != 1 {
		t.Errorf("after a flipped bit Info() = %+v; want a broken seal and a note", got)
	}
	if got := read(t, v.tree, "file"); !strings.Contains(got, "content") {
		t.Error("what can be read is not handed over")
	}
	write(t, v.tree, "file", "whole again")
	mustSave(t, v, true)
	v.Close()
	if got := mustOpen(t, p).Info().Seal; got != SealIntact {
		t.Errorf("seal after a save is %s; want %s", got, SealIntact)
	}
}

// fileOffset finds where in the vault file a block of content is.
func fileOffset(t *testing.T, v *Vault, content string) int64 {
	t.Helper()
	img, err := os.Open(v.Info().Path)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	cipher, err := luks.NewCipher(v.key, v.header.Segment.SectorSize)
	if err != nil {
		t.Fatal(err)
	}
	plain := cipher.Sectors(img, v.header.Segment)
	block := make([]byte, 4096)
	for offset := int64(0); offset < plain.Size(); offset += 4096 {
		if _, err := plain.ReadAt(block, offset); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(block), content) {
			return v.header.Segment.Offset + offset + 1000
		}
	}
	t.Fatal("no such content")
	return 0
}

package vault

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/vault/ext4"
	"golang.org/x/sys/unix"
)

// stockVault makes a vault with stock tools alone, but for the encryption of
// the sectors, which is tested against dm-crypt in package luks: luksFormat with
// the given arguments, and mke2fs with its defaults over files.
func stockVault(t testing.TB, p Place, format []string, mke2fs ...string) {
	t.Helper()
	path := vaultPath(p)
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 48<<20)); err != nil {
		t.Fatal(err)
	}
	stock(t, "pass", "cryptsetup", append(append([]string{"luksFormat", "--batch-mode", "--key-file=-"}, format...), path)...)

	img, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	h, err := luks.Read(context.Background(), img)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	plain := filepath.Join(t.TempDir(), "plain")
	if err := errors.Join(os.WriteFile(plain, nil, 0o600), os.Truncate(plain, h.Segment.Size)); err != nil {
		t.Fatal(err)
	}
	stock(t, "", "mke2fs", append(append([]string{"-q", "-F"}, mke2fs...), plain)...)

	key, _, err := h.Unlock(context.Background(), secret(t, "pass"))
	if err != nil {
		t.Fatal(err)
	}
	defer key.Destroy()
	cipher, err := luks.NewCipher(key, h.Segment.SectorSize)
	if err != nil {
		t.Fatal(err)
	}
	defer cipher.Destroy()
	src, err := os.Open(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	used, err := ext4.Allocated(src)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096 // the largest sector
	for _, r := range used {
		from, to := r.Off/page*page, min((r.Off+r.Len+page-1)/page*page, h.Segment.Size)
		if err := cipher.WriteRange(context.Background(), img, h.Segment, src, from, to-from, func([]byte, int64) {}); err != nil {
			t.Fatal(err)
		}
	}
}

// sourceTree is what stock mke2fs -d fills a vault with.
func sourceTree(t testing.TB) string {
	t.Helper()
	tree := newTree(t)
	write(t, tree, "dir/secret", "stock content")
	write(t, tree, "dir/big", strings.Repeat("big content ", 100000))
	if err := errors.Join(
		os.Symlink("dir/secret", tree.Name()+"/link"),
		os.Link(tree.Name()+"/dir/secret", tree.Name()+"/hard"),
		os.Chown(tree.Name()+"/dir", 1000, 1000),
		os.Chown(tree.Name()+"/dir/secret", 1000, 0),
	); err != nil {
		t.Fatal(err)
	}
	return tree.Name()
}

func TestOpenAndSaveStockVaults(t *testing.T) {
	for _, c := range []struct{ name, format, mke2fs string }{
		{"defaults", "--pbkdf=pbkdf2 --pbkdf-force-iterations=1000", "-t ext4"},
		{"512-byte sectors, 256-bit key", "--pbkdf=pbkdf2 --pbkdf-force-iterations=1000 --sector-size=512 --key-size=256", "-t ext4"},
		{"argon2id, 4096-byte sectors", "--pbkdf=argon2id --pbkdf-memory=1024 --pbkdf-parallel=1 --pbkdf-force-iterations=4 --sector-size=4096", "-t ext4 -b 4096"},
		{"argon2i, 2048-byte sectors", "--pbkdf=argon2i --pbkdf-memory=1024 --pbkdf-parallel=1 --pbkdf-force-iterations=4 --sector-size=2048", "-t ext4"},
		{"odd offset, ext3", "--pbkdf=pbkdf2 --pbkdf-force-iterations=1000 --sector-size=512 --offset=32776", "-t ext3"},
		{"ext2", "--pbkdf=pbkdf2 --pbkdf-force-iterations=1000 --sector-size=1024", "-t ext2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := place(t)
			stockVault(t, p, strings.Fields(c.format), append(strings.Fields(c.mke2fs), "-d", sourceTree(t))...)
			v := mustOpen(t, p)
			if got := v.Info(); got.Seal != SealAbsent || len(got.Notes) > 0 || got.Size != 48<<20 {
				t.Errorf("Info() = %+v; want no seal, no notes, 48 MiB", got)
			}
			check := func(tree *os.File) {
				t.Helper()
				if got := read(t, tree, "hard"); got != "stock content" {
					t.Errorf("hard = %q", got)
				}
				if got := len(read(t, tree, "dir/big")); got != 1200000 {
					t.Errorf("dir/big has %d bytes", got)
				}
				for name, want := range map[string][2]uint32{".": {kernelID, kernelID}, "dir": {kernelID, kernelID}, "hard": {kernelID, 0}, "dir/big": {0, 0}} {
					var st unix.Stat_t
					if err := unix.Lstat(filepath.Join(tree.Name(), name), &st); err != nil {
						t.Error(err)
					} else if st.Uid != want[0] || st.Gid != want[1] {
						t.Errorf("%s: owner %d:%d; want %v", name, st.Uid, st.Gid, want)
					}
				}
			}
			check(v.tree)
			mustSave(t, v, false)
			write(t, v.tree, "new", "ours")
			mustSave(t, v, true)
			v.Close()
			stock(t, "pass", "cryptsetup", "open", "--test-passphrase", "--key-file=-", vaultPath(p))
			if dump := stock(t, "", "cryptsetup", "luksDump", vaultPath(p)); !strings.Contains(dump, sealKind) {
				t.Errorf("luksDump shows no seal:\n%s", dump)
			}
			again := mustOpen(t, p)
			check(again.tree)
			if got := read(t, again.tree, "new"); got != "ours" || again.Info().Seal != SealIntact {
				t.Errorf("new = %q, seal %s; want ours, intact", got, again.Info().Seal)
			}
		})
	}
}

// What we write, decrypted, satisfies the reference checker.
func TestSavedImageIsClean(t *testing.T) {
	p := copyVault(t, soundVault(t))
	v := mustOpen(t, p)
	img, err := os.Open(vaultPath(p))
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	cipher, err := luks.NewCipher(v.key, v.header.Segment.SectorSize)
	if err != nil {
		t.Fatal(err)
	}
	defer cipher.Destroy()
	plain, err := os.Create(filepath.Join(t.TempDir(), "plain"))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if err := cipher.Sectors(img, v.header.Segment).DecryptTo(context.Background(), plain, img); err != nil {
		t.Fatal(err)
	}
	stock(t, "", "e2fsck", "-fn", plain.Name())
}

// A vault that another program left open is replayed in RAM; the file stays.
func TestJournalIsReplayed(t *testing.T) {
	p := place(t)
	stockVault(t, p, []string{"--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000"}, "-t", "ext4", "-d", sourceTree(t))
	rewrite(t, p, func(plain string) {
		// The flag alone: an empty journal to replay.
		stock(t, "", "debugfs", "-w", "-R", "feature needs_recovery", plain)
	})
	before, _ := os.ReadFile(vaultPath(p))
	v := mustOpen(t, p)
	if notes := v.Info().Notes; len(notes) != 1 || !strings.Contains(notes[0], "journal") {
		t.Errorf("Notes = %q; want one on the journal", notes)
	}
	if got := read(t, v.tree, "dir/secret"); got != "stock content" {
		t.Errorf("dir/secret = %q", got)
	}
	if after, _ := os.ReadFile(vaultPath(p)); string(after) != string(before) {
		t.Error("opening changed the file")
	}
}

// A vault whose journal needs replaying takes no more memory than there is.
func TestImageRoom(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		size int64 // claimed
		most int64
	}{{1 << 20, 1 << 20}, {1 << 50, 4<<20 + imageSpare}} {
		if got, err := imageRoom(&sys.File{File: f}, c.size); got > c.most || err != nil {
			t.Errorf("imageRoom(%d) = %d, %v; want at most %d", c.size, got, err, c.most)
		}
	}
	// A file of so many blocks that no machine has the memory.
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if got, err := imageRoom(&sys.File{File: f}, 1<<50); !errors.Is(err, ErrUnsupported) {
		t.Errorf("imageRoom() of what tells no blocks = %d, %v; want %v", got, err, ErrUnsupported)
	}
}

// A vault that another tool wrote to is told from a damaged one.
func TestForeignWrite(t *testing.T) {
	p := copyVault(t, soundVault(t))
	rewrite(t, p, func(plain string) {
		stock(t, "", "debugfs", "-w", "-R", "rm file", plain)
		stock(t, "", "tune2fs", "-C", "1", plain) // as the kernel counts a mount
	})
	v := mustOpen(t, p)
	if got := v.Info(); got.Seal != SealForeign || len(got.Notes) != 1 {
		t.Errorf("Info() = %+v; want a foreign seal and a note", got)
	}
}

// rewrite lets change work on the decrypted file system of p's vault.
func rewrite(t *testing.T, p Place, change func(plain string)) {
	t.Helper()
	img, err := os.OpenFile(vaultPath(p), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	decrypted(t, img, filepath.Join(t.TempDir(), "plain"), func(plain *os.File, segment luks.Segment, cipher *luks.Cipher) {
		change(plain.Name())
		if err := cipher.WriteRange(context.Background(), img, segment, plain, 0, segment.Size, func([]byte, int64) {}); err != nil {
			t.Fatal(err)
		}
	})
}

// decrypted has do work on the file system of the vault img, decrypted to the new
// file path.
func decrypted(t testing.TB, img *os.File, path string, do func(*os.File, luks.Segment, *luks.Cipher)) {
	t.Helper()
	h, err := luks.Read(context.Background(), img)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	key, _, err := h.Unlock(context.Background(), secret(t, "pass"))
	if err != nil {
		t.Fatal(err)
	}
	defer key.Destroy()
	cipher, err := luks.NewCipher(key, h.Segment.SectorSize)
	if err != nil {
		t.Fatal(err)
	}
	defer cipher.Destroy()
	plain, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if err := cipher.Sectors(img, h.Segment).DecryptTo(context.Background(), plain, img); err != nil {
		t.Fatal(err)
	}
	do(plain, h.Segment, cipher)
}

// The snapshot is the tree, to the nanosecond.
func TestSnapshot(t *testing.T) {
	tree := newTree(t)
	write(t, tree, "a/b/file", "content")
	write(t, tree, "sparse", "")
	if err := errors.Join(
		os.Truncate(tree.Name()+"/sparse", 1<<30),
		os.Link(tree.Name()+"/a/b/file", tree.Name()+"/hard"),
		os.Symlink("/nowhere", tree.Name()+"/a/link"),
		os.Lchown(tree.Name()+"/a/link", 7, 8),
		os.Chmod(tree.Name()+"/a/b/file", 0o4751),
		os.Chmod(tree.Name()+"/a", 0o1711),
		unix.Mkfifo(tree.Name()+"/fifo", 0o600),
		unix.Setxattr(tree.Name()+"/a", "trusted.test", []byte("value"), 0),
	); err != nil {
		t.Fatal(err)
	}
	snap, err := takeSnapshot(context.Background(), tree, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	want, used, err := digestTree(context.Background(), tree)
	if err != nil {
		t.Fatal(err)
	}
	got, sameUsed, err := digestTree(context.Background(), snap.File)
	if err != nil || got != want || used != sameUsed {
		t.Errorf("the snapshot differs (%v, %d of %d bytes)", err, sameUsed, used)
	}
	// The wipe leaves zeroes behind, not content.
	fd, err := unix.Openat(snap.fd(), "hard", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "hard")
	defer f.Close()
	if err := snap.wipe(); err != nil {
		t.Fatal(err)
	}
	left := make([]byte, 7)
	if _, err := f.ReadAt(left, 0); err != nil || string(left) != "\x00\x00\x00\x00\x00\x00\x00" {
		t.Errorf("after the wipe a file holds %q (%v)", left, err)
	}
}

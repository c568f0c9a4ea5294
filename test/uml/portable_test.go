package uml

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tazzo/tazpod/init/locked"
	ours "github.com/tazzo/tazpod/init/vault"
	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/test/need"
	"github.com/tazzo/tazpod/test/trees"
)

// sharedVault is a directory that host and guest both write to, with a vault in it.
type sharedVault struct {
	*Machine
	t   *testing.T
	dir string
}

func (s *sharedVault) path(name string) string { return filepath.Join(s.dir, name) }

// guest runs a shell's commands in the guest, in the shared directory.
func (s *sharedVault) guest(script string) {
	s.t.Helper()
	if err := s.Run("bash", "-ec", "cd "+s.dir+"; export DM_DISABLE_UDEV=1\n"+script).Err(); err != nil {
		s.t.Fatal(err)
	}
}

// The reference tools, and a kernel, at work on a vault.
const (
	stockOpen  = "cryptsetup open --key-file passphrase vault.img v; e2fsck -fn /dev/mapper/v; mount /dev/mapper/v /mnt\n"
	stockClose = "umount /mnt; cryptsetup close v\n"
)

// manifest is what the guest's kernel shows of the mounted vault. It comes as an
// archive, because a test's own program doesn't run there with the race detector.
func (s *sharedVault) manifest() string {
	s.t.Helper()
	const all = " --xattrs --xattrs-include='*' --acls --sparse --numeric-owner "
	s.guest("tar --create --format=pax" + all + "--warning=no-file-ignored --directory /mnt --file tree.tar .; sync tree.tar")
	tree := newTree(s.t)
	cmd := exec.Command("bash", "-c", "tar --extract --preserve-permissions"+all+"--delay-directory-restore --directory "+tree+" --file "+s.path("tree.tar"))
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("tar: %v: %s", err, out)
	}
	return trees.Manifest(s.t, tree)
}

// newTree is an empty directory in RAM.
func newTree(t *testing.T) string {
	t.Helper()
	tree, err := os.MkdirTemp("/dev/shm", "uml-vault-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tree) })
	return tree
}

// open opens the vault by our own means, on the host.
func (s *sharedVault) open(name string) (v *ours.Vault, tree string) {
	s.t.Helper()
	tree = newTree(s.t)
	dir := s.t.TempDir()
	if err := os.Rename(s.path(name), filepath.Join(dir, wire.VaultFile)); err != nil {
		s.t.Fatal(err)
	}
	root, err := os.Open(tree)
	if err != nil {
		s.t.Fatal(err)
	}
	v, err = ours.Open(s.t.Context(), s.place(dir), sharedPass(s.t), root)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { v.Close(); root.Close() })
	return v, tree
}

// bring puts what v is saved as where the guest finds it.
func (s *sharedVault) bring(v *ours.Vault) {
	s.t.Helper()
	if err := errors.Join(v.Close(), exec.Command("cp", "--sparse=always", v.Info().Path, s.path(wire.VaultFile)).Run()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sharedVault) place(dir string) ours.Place {
	s.t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { f.Close() })
	return ours.Place{Dir: f, TreeID: wire.UserID}
}

func sharedPass(t *testing.T) *locked.Buffer {
	t.Helper()
	b, err := locked.Take([]byte("pass"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Destroy)
	return b
}

func save(t *testing.T, v *ours.Vault) {
	t.Helper()
	if saved, err := v.Save(context.Background()); !saved || err != nil {
		t.Fatalf("Save() = %v, %v; want true", saved, err)
	}
}

// TestPortable has our vaults opened by the reference, and its by us.
func TestPortable(t *testing.T) {
	need.UML(t)
	need.Command(t, "cryptsetup", "mke2fs", "e2fsck", "tar")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "passphrase"), []byte("pass"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := Start(t, Options{MemoryMB: 768, Binds: []string{dir}})
	t.Run("ours", func(t *testing.T) { testOurs(t, &sharedVault{m, t, dir}) })
	t.Run("the original's", func(t *testing.T) { testOriginal(t, &sharedVault{m, t, dir}) })
}

// testOurs gives a vault of ours to stock cryptsetup and a real kernel, which
// show the same tree, write to it, and give it back: closed, and as it was at one
// moment while it was open.
func testOurs(t *testing.T, s *sharedVault) {
	if err := ours.Create(t.Context(), s.place(s.dir), sharedPass(t), 64<<20, ours.Cost{}); err != nil {
		t.Fatal(err)
	}
	v, tree := s.open(wire.VaultFile)
	trees.Fill(t, tree, 300, 2<<20)
	want := trees.Manifest(t, tree)
	save(t, v)
	s.bring(v)
	// A passphrase that is quick to try on the guest's processor.
	cheap := exec.Command("cryptsetup", "luksConvertKey", "--batch-mode", "--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000", "--key-file", s.path("passphrase"), s.path(wire.VaultFile))
	if out, err := cheap.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", cheap, err, out)
	}

	s.guest(stockOpen)
	trees.Same(t, s.manifest(), want)
	s.guest(`cd /mnt; rm -r many; mkdir -p new/dir; echo written >new/dir/file; ln new/dir/file link; ln -s new/dir symbolic
		head -c 3000000 /dev/urandom >large; chmod 4711 small; chown -h 1000:1000 'short link'; sync`)
	want = s.manifest()
	s.guest("cp vault.img open.img; sync open.img\n" + stockClose)

	v, tree = s.open("open.img")
	if notes := v.Info().Notes; len(notes) != 2 || !strings.Contains(strings.Join(notes, "\n"), "its journal was replayed") {
		t.Errorf("a copy of an open vault: notes %q; want one on the journal and one on another program", notes)
	}
	trees.Same(t, trees.Manifest(t, tree), want)
	v, tree = s.open(wire.VaultFile)
	if info := v.Info(); info.Seal != ours.SealForeign || len(info.Notes) != 1 {
		t.Errorf("after another program: seal %s, notes %q; want %s", info.Seal, info.Notes, ours.SealForeign)
	}
	trees.Same(t, trees.Manifest(t, tree), want)
	if err := os.WriteFile(filepath.Join(tree, "ours again"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	want = trees.Manifest(t, tree)
	save(t, v)
	s.bring(v)
	s.guest(stockOpen)
	trees.Same(t, s.manifest(), want)
	s.guest(stockClose)
}

// testOriginal opens a vault as the original TazPod v0.1.3 made it: 512 MB,
// luksFormat and mkfs.ext4 with their defaults, and its directories, which belong
// to root or to the user.
func testOriginal(t *testing.T, s *sharedVault) {
	s.guest(`truncate -s 512M vault.img
		cryptsetup luksFormat --batch-mode --key-file passphrase vault.img
		cryptsetup open --key-file passphrase vault.img v
		mkfs.ext4 -q /dev/mapper/v
		mount /dev/mapper/v /mnt; cd /mnt
		mkdir .infisical-vault .gemini-vault
		echo '{"token":"t"}' >.infisical-vault/keyring; echo '{}' >.gemini-vault/settings.json
		echo 'export KEY=value' >.env-infisical; chmod 600 .env-infisical
		chown -R 1000:1000 .gemini-vault .env-infisical`)
	shown := s.manifest()
	s.guest(stockClose)
	v, tree := s.open(wire.VaultFile)
	if info := v.Info(); info.Seal != ours.SealAbsent || len(info.Notes) > 0 || len(info.LeftOut) > 0 || info.Size != 512<<20 {
		t.Errorf("Info() = %+v; want no seal, no notes, 512 MiB", info)
	}
	got := trees.Manifest(t, tree)
	top, rest, _ := strings.Cut(got, "\n")
	_, want, _ := strings.Cut(shown, "\n")
	trees.Same(t, rest, want)
	if !strings.Contains(top, " 1000:1000 ") {
		t.Errorf("its top is %s; want it to be the user's", top)
	}
	if saved, err := v.Save(t.Context()); saved || err != nil {
		t.Errorf("Save() of what was opened = %v, %v; want false", saved, err)
	}
	if err := os.WriteFile(filepath.Join(tree, ".infisical-vault/keyring"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	want = trees.Manifest(t, tree)
	save(t, v)
	s.bring(v)
	s.guest(stockOpen)
	trees.Same(t, s.manifest(), want)
	s.guest(stockClose)
}

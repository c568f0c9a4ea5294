package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/sys"
	"golang.org/x/sys/unix"
)

func lifeOfAMount(t *testing.T) {
	p := scratch(t)
	if _, err := Mount(context.Background(), p, secret(t, "wrong"), "/run", nil); !errors.Is(err, ErrPassphrase) {
		t.Errorf("Mount with another passphrase = %v; want ErrPassphrase", err)
	}
	if left := remains(); len(left) > 0 {
		t.Errorf("left after a wrong passphrase: %q", left)
	}
	start := time.Now()
	m := mustMount(t, p)
	t.Log("mount", time.Since(start))
	if len(remains()) < 3 { // a mapping, a loop device, a mount
		t.Errorf("while it is mounted there are only %q: what is looked for is not seen", remains())
	}
	if m.Verify(t.Context(), secret(t, "pass")) != nil || m.Verify(t.Context(), secret(t, "past")) == nil {
		t.Error("Verify tells no wrong passphrase from the right one")
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(m.tree.Fd()), &st); err != nil || st.Uid != kernelID || st.Gid != kernelID {
		t.Errorf("the top belongs to %d:%d, %v; want %d", st.Uid, st.Gid, err, kernelID)
	}
	if changed, err := m.Changed(); changed || err != nil {
		t.Errorf("Changed() = %v, %v; want false", changed, err)
	}
	save := func(want bool) {
		t.Helper()
		if saved, err := m.Save(context.Background()); saved != want || err != nil {
			t.Errorf("Save() = %v, %v; want %v", saved, err, want)
		}
	}
	save(false)
	write(t, m.tree, "file", "content")
	if changed, err := m.Changed(); !changed || err != nil {
		t.Errorf("Changed() after a write = %v, %v; want true", changed, err)
	}
	start = time.Now()
	save(true)
	t.Log("save", time.Since(start))
	save(false)
	if info := m.Info(); info.Size != testSize || info.Used == 0 || info.Saved.IsZero() || len(info.Notes) > 0 {
		t.Errorf("Info() = %+v", info)
	}
	start = time.Now()
	m.mustClose(t)
	t.Log("close", time.Since(start))
	if _, err := m.Save(context.Background()); !errors.Is(err, ErrClosed) || m.Verify(t.Context(), secret(t, "pass")) == nil {
		t.Errorf("Save() of a closed vault = %v; want ErrClosed, and no passphrase to be right", err)
	}
	noLitter(t, p)
}

// enginesInTurn brings content from one engine to the other and back, and makes
// more of it in each.
func enginesInTurn(t *testing.T) {
	p := scratch(t)
	v := mustOpen(t, p)
	furnish(t, v.tree)
	want := describe(t, v.tree)
	mustSave(t, v, true)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		m := mustMount(t, p)
		if got := describe(t, m.tree); got != want {
			t.Fatalf("round %d: mounted:\n%s\nwant\n%s", round, got, want)
		}
		write(t, m.tree, fmt.Sprintf("mounted-%d", round), strings.Repeat("m", 5000))
		want = describe(t, m.tree)
		m.mustClose(t)

		v := mustOpen(t, p)
		if got := describe(t, v.tree); got != want {
			t.Fatalf("round %d: in RAM:\n%s\nwant\n%s", round, got, want)
		}
		if info := v.Info(); info.Seal != SealAbsent || len(info.Notes) > 0 {
			t.Errorf("round %d: what dmcrypt wrote is opened with %+v; want no seal and no notes", round, info)
		}
		write(t, v.tree, fmt.Sprintf("in-RAM-%d", round), strings.Repeat("r", 5000))
		want = describe(t, v.tree)
		mustSave(t, v, true)
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if v := mustOpen(t, p); v.Info().Seal != SealIntact {
		t.Errorf("after all, the seal is %s", v.Info().Seal)
	}
}

// mountStockVault mounts one that stock tools made, with other sectors and keys than
// ours, and where the top of the file system is root's.
func mountStockVault(t *testing.T) {
	p := scratch(t)
	path := vaultPath(p)
	if err := errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600), os.Truncate(path, 48<<20)); err != nil {
		t.Fatal(err)
	}
	stock(t, "pass", "cryptsetup", "luksFormat", "--batch-mode", "--key-file=-", "--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000",
		"--sector-size=512", "--key-size=256", path)
	onDevice(t, p, "mkfs.ext4", "-q")
	onDevice(t, p, "sh", "-c", `mount "$0" /mnt && echo theirs >/mnt/file && chown 1000:1000 /mnt/file && umount /mnt`)
	m := mustMount(t, p)
	if got := read(t, m.tree, "file"); got != "theirs\n" {
		t.Errorf("file = %q", got)
	}
	write(t, m.tree, "file", "ours")
	want := describe(t, m.tree)
	m.mustClose(t)
	onDevice(t, p, "e2fsck", "-fn")
	if got := describe(t, mustOpen(t, p).tree); got != want {
		t.Errorf("in RAM:\n%s\nwant\n%s", got, want)
	}
}

// secondOpening has the lock refuse one, the kernel one of a copy, which has a
// lock of its own, and a look at mappings one beside cryptsetup's.
func secondOpening(t *testing.T) {
	p, twin := scratch(t), scratch(t)
	m := mustMount(t, p)
	for name, p := range map[string]Place{"itself": p, "a copy": twin} {
		if _, err := mount(t, p); !errors.Is(err, ErrInUse) {
			t.Errorf("Mount of %s while it is mounted = %v; want ErrInUse", name, err)
		}
	}
	write(t, m.tree, "still", "whole")
	m.mustClose(t)
	stock(t, "pass", "cryptsetup", "open", "--disable-keyring", "--key-file=-", vaultPath(p), "theirs")
	_, err := mount(t, p)
	stock(t, "", "cryptsetup", "close", "theirs")
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "theirs") {
		t.Errorf("Mount beside cryptsetup's = %v; want ErrInUse", err)
	}
	m = mustMount(t, p)
	if got := read(t, m.tree, "still"); got != "whole" {
		t.Errorf("still = %q", got)
	}
	m.mustClose(t)

	// What is left when the process dies right after it has made a mapping.
	control, err := os.OpenFile(sys.MapperControl, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	if _, err := sys.CreateMapping(control, "tazpod-"+m.info.UUID, "of-another"); err != nil {
		t.Fatal(err)
	}
	mustMount(t, p).mustClose(t)
}

package vault

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
	"golang.org/x/sys/unix"
)

// history is a closed vault whose generations hold their own number: the vault 0,
// the earlier ones 1 to 3.
func history(t *testing.T) Place {
	t.Helper()
	p := place(t)
	mustCreate(t, p)
	v := mustOpen(t, p)
	for _, n := range []string{"3", "2", "1", "0"} {
		write(t, v.tree, "n", n)
		v.kept = v.kept.Add(-2 * keepEvery)
		mustSave(t, v, true)
	}
	v.Close()
	return p
}

func numberIn(t *testing.T, p Place) string {
	t.Helper()
	v := mustOpen(t, p)
	defer v.Close()
	return read(t, v.tree, "n")
}

func TestRollback(t *testing.T) {
	ctx := context.Background()
	p := history(t)
	if err := Rollback(ctx, p, 2, secret(t, "past")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("Rollback() with a wrong passphrase = %v; want %v", err, ErrPassphrase)
	}
	for _, n := range []int{0, -1, 4} {
		if err := Rollback(ctx, p, n, secret(t, "pass")); !errors.Is(err, ErrNoGeneration) {
			t.Errorf("Rollback(%d) = %v; want %v", n, err, ErrNoGeneration)
		}
	}
	v := mustOpen(t, p)
	if err := Rollback(ctx, p, 1, secret(t, "pass")); !errors.Is(err, ErrInUse) {
		t.Errorf("Rollback() of an open vault = %v; want %v", err, ErrInUse)
	}
	v.Close()
	if got := numberIn(t, p); got != "0" {
		t.Fatalf("the vault has content %s after failed rollbacks; want 0", got)
	}
	if err := Rollback(ctx, p, 2, secret(t, "pass")); err != nil {
		t.Fatal(err)
	}
	if got := numberIn(t, p); got != "2" {
		t.Errorf("Rollback(2) gives %s", got)
	}
	for _, back := range []struct {
		n    int
		want string
	}{{1, "0"}, {1, "2"}, {3, "3"}, {1, "2"}, {3, "0"}} { // what was there is the newest earlier one
		if err := Rollback(ctx, p, back.n, secret(t, "pass")); err != nil {
			t.Fatal(err)
		}
		if got := numberIn(t, p); got != back.want {
			t.Errorf("Rollback(%d) gives %s; want %s", back.n, got, back.want)
		}
	}
}

// TestRollbackWithoutVault: the earlier generation of a vault that was lost.
func TestRollbackWithoutVault(t *testing.T) {
	p := history(t)
	if err := os.Remove(p.path(wire.VaultFile)); err != nil {
		t.Fatal(err)
	}
	if err := Rollback(context.Background(), p, 2, secret(t, "pass")); err != nil {
		t.Fatal(err)
	}
	if got := numberIn(t, p); got != "2" {
		t.Errorf("Rollback(2) gives %s", got)
	}
}

// TestRollbackWithoutSwap: on a file system that can't swap two files.
func TestRollbackWithoutSwap(t *testing.T) {
	p := history(t)
	before(t, "swap with", func(*sys.Op) error { return unix.EINVAL })
	for n, want := range []string{"2", "0"} {
		if err := Rollback(context.Background(), p, 2-n, secret(t, "pass")); err != nil {
			t.Fatal(err)
		}
		if got := numberIn(t, p); got != want {
			t.Errorf("Rollback(%d) gives %s; want %s", 2-n, got, want)
		}
	}
	noLitter(t, p)
}

// TestReplacingFailsAtEachCall: wherever the disk fails, the vault is the one or the
// other, nothing but the oldest generation is lost, and trying again works.
func TestReplacingFailsAtEachCall(t *testing.T) {
	ctx := context.Background()
	whole := history(t)
	backup, err := os.ReadFile(whole.path(generation(3)))
	if err != nil {
		t.Fatal(err)
	}
	h, err := BackupHeader(ctx, whole)
	if err != nil {
		t.Fatal(err)
	}
	header, err := io.ReadAll(h.Reader())
	h.Close()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		do   func(Place) error
		want string
		kept int // files, at least
	}{
		"rollback 1": {func(p Place) error { return Rollback(ctx, p, 1, secret(t, "pass")) }, "1", 4},
		"rollback 3": {func(p Place) error { return Rollback(ctx, p, 3, secret(t, "pass")) }, "3", 4},
		"restore": {func(p Place) error {
			return Restore(ctx, p, bytes.NewReader(backup), int64(len(backup)), secret(t, "pass"))
		}, "3", 3},
		"header": {func(p Place) error {
			return RestoreHeader(ctx, p, bytes.NewReader(header), int64(len(header)), secret(t, "pass"))
		}, "0", 3},
	} {
		for nth, more := 0, true; more; nth++ {
			more = false
			p := placeIn(t, t.TempDir())
			stock(t, "", "cp", "-a", "--sparse=always", whole.Dir.Name()+"/.", p.Dir.Name())
			n, writes := -1, 0
			faults(t, func(op *sys.Op, call func() error) error {
				if op.Call == "write" {
					writes++
				}
				if !changes(op) || writes > 1 && op.Call == "write" {
					return call()
				}
				if n++; n != nth {
					return call()
				}
				more = true
				return unix.EIO
			})
			err := c.do(p)
			sys.Fault = nil
			got := numberIn(t, p)
			if got != "0" && got != c.want || err == nil && got != c.want {
				t.Errorf("%s, call %d fails: %v, and the vault is %s", name, nth, err, got)
			}
			if got == "0" && c.want != "0" {
				if err := c.do(p); err != nil && !errors.Is(err, ErrNoGeneration) || err == nil && numberIn(t, p) != c.want {
					t.Errorf("%s, call %d failed: trying again = %v", name, nth, err)
				}
			}
			if list, err := Generations(ctx, p); err != nil || len(list) < c.kept {
				t.Errorf("%s, call %d fails: %d generations are left, %v; want %d", name, nth, len(list), err, c.kept)
			}
		}
	}
}

func TestRollbackRefusesDamage(t *testing.T) {
	p := history(t)
	zeroFileSystem(t, p.path(generation(1)))
	if err := Rollback(context.Background(), p, 1, secret(t, "pass")); !errors.Is(err, ErrDamaged) {
		t.Errorf("Rollback() to a damaged generation = %v; want %v", err, ErrDamaged)
	}
	if got := numberIn(t, p); got != "0" {
		t.Errorf("the vault has content %s; want 0", got)
	}
}

// zeroFileSystem makes holes of a vault's first MiB of data.
func zeroFileSystem(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(make([]byte, 1<<20), 2<<20)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestBackupAndRestore(t *testing.T) {
	ctx := context.Background()
	p := history(t)
	f, err := Backup(p)
	if err != nil {
		t.Fatal(err)
	}
	backup, err := io.ReadAll(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(backup))
	v := mustOpen(t, p)
	write(t, v.tree, "n", "later")
	mustSave(t, v, true)
	v.Close()
	for name, c := range map[string]struct {
		data []byte
		pass string
		want error
	}{
		"wrong passphrase": {backup, "past", ErrPassphrase},
		"cut":              {backup[:size/2], "pass", io.ErrUnexpectedEOF},
		"no vault":         {bytes.Repeat([]byte{'x'}, int(size)), "pass", ErrNotLUKS},
	} {
		if err := Restore(ctx, p, bytes.NewReader(c.data), size, secret(t, c.pass)); !errors.Is(err, c.want) {
			t.Errorf("%s: Restore() = %v; want %v", name, err, c.want)
		}
		if got := numberIn(t, p); got != "later" {
			t.Fatalf("%s: the vault has content %s", name, got)
		}
	}
	if err := Restore(ctx, p, bytes.NewReader(backup), size, secret(t, "pass")); err != nil {
		t.Fatal(err)
	}
	if got := numberIn(t, p); got != "0" {
		t.Errorf("the restored vault has content %s; want 0", got)
	}
	if err := Rollback(ctx, p, 1, secret(t, "pass")); err != nil || numberIn(t, p) != "later" {
		t.Errorf("what was there before the restoring isn't kept: %v", err)
	}
	// In an empty directory.
	fresh := placeIn(t, t.TempDir())
	if err := Restore(ctx, fresh, bytes.NewReader(backup), size, secret(t, "pass")); err != nil || numberIn(t, fresh) != "0" {
		t.Errorf("Restore() where there is no vault = %v", err)
	}
	if st, err := fresh.stat(wire.VaultFile); err != nil || st.Blocks*512 > size/2 {
		t.Errorf("a restored vault takes %d bytes on disk, %v; want far less than %d", st.Blocks*512, err, size)
	}
}

func TestHeaderBackup(t *testing.T) {
	ctx := context.Background()
	p := history(t)
	h, err := BackupHeader(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	header, err := io.ReadAll(h.Reader())
	h.Close()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(p.path(wire.VaultFile), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(make([]byte, 1<<20), 0)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, p, secret(t, "pass"), newTree(t)); err == nil {
		t.Fatal("a vault without a header opens")
	}
	if err := RestoreHeader(ctx, p, bytes.NewReader(header), int64(len(header)), secret(t, "past")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("RestoreHeader() with a wrong passphrase = %v; want %v", err, ErrPassphrase)
	}
	other := place(t)
	mustCreate(t, other)
	h, err = BackupHeader(ctx, other)
	if err != nil {
		t.Fatal(err)
	}
	foreign, _ := io.ReadAll(h.Reader())
	h.Close()
	if err := RestoreHeader(ctx, p, bytes.NewReader(foreign), int64(len(foreign)), secret(t, "pass")); !errors.Is(err, ErrDamaged) {
		t.Errorf("RestoreHeader() of another vault = %v; want %v", err, ErrDamaged)
	}
	if backup, err := os.ReadFile(p.path(generation(1))); err != nil {
		t.Fatal(err)
	} else if err := RestoreHeader(ctx, p, bytes.NewReader(backup), int64(len(backup)), secret(t, "pass")); !errors.Is(err, ErrUnsupported) {
		t.Errorf("RestoreHeader() of a whole backup = %v; want %v", err, ErrUnsupported)
	}
	if err := RestoreHeader(ctx, p, bytes.NewReader(header), int64(len(header)), secret(t, "pass")); err != nil {
		t.Fatal(err)
	}
	if got := numberIn(t, p); got != "0" {
		t.Errorf("the vault has content %s; want 0", got)
	}
}

func TestListGenerations(t *testing.T) {
	ctx := context.Background()
	p := history(t)
	u, err := Unlock(ctx, p, secret(t, "pass"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.AddKey(ctx, secret(t, "two"), "", Cost{}); err != nil {
		t.Fatal(err)
	}
	u.Close()
	if err := errors.Join(os.WriteFile(p.path(generation(2)), []byte("x"), 0o600), os.Remove(p.path(generation(3))), os.Mkdir(p.path(generation(3)), 0o700)); err != nil {
		t.Fatal(err)
	}
	list, err := Generations(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range list {
		got = append(got, strings.TrimPrefix(g.Name, "vault.img")+":"+g.Keys+":"+g.Problem)
	}
	want := ":: .1:the vault's keys: .2::not a LUKS vault .3::not a regular file"
	if strings.Join(got, " ") != want {
		t.Errorf("Generations() = %q; want %q", strings.Join(got, " "), want)
	}
}

func TestCheck(t *testing.T) {
	ctx := context.Background()
	p := history(t)
	check := func() (bad string) {
		t.Helper()
		u, err := Unlock(ctx, p, secret(t, "pass"))
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		rows, err := u.Check(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			t.Log(row.Text())
			if !row.OK {
				bad += row.Name + " "
			}
		}
		return bad
	}
	if bad := check(); bad != "" {
		t.Errorf("Check() of a sound vault finds %q", bad)
	}
	damaged, err := os.ReadFile(p.path(wire.VaultFile))
	if err != nil {
		t.Fatal(err)
	}
	damaged[4100] ^= 1
	if err := os.WriteFile(p.path(wire.VaultFile), damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	if bad := check(); bad != "" {
		t.Errorf("Check() of a header that can be mended finds %q", bad)
	}
	h, err := BackupHeader(ctx, p)
	if err != nil || h.Repaired != "" {
		t.Errorf("the %s copy of the header is still damaged, %v", h.Repaired, err)
	}
	h.Close()
	zeroFileSystem(t, p.path(wire.VaultFile))
	if bad := check(); bad != "seal file system " {
		t.Errorf("Check() of a damaged file system finds %q; want seal and file system", bad)
	}
}

func TestResize(t *testing.T) {
	ctx := context.Background()
	p := place(t)
	mustCreate(t, p)
	v := mustOpen(t, p)
	write(t, v.tree, "n", strings.Repeat("x", 14<<20))
	for _, size := range []int64{64 << 20, smallestSize + 8<<20} {
		if err := v.Resize(ctx, size); err != nil {
			t.Fatal(err)
		}
		if info := v.Info(); info.Size != size {
			t.Errorf("Info().Size = %d; want %d", info.Size, size)
		}
		mustSave(t, v, false)
	}
	for size, want := range map[int64]error{smallestSize: ErrFull, smallestSize - 1: ErrSize, 1 << 60: ErrSize, -1: ErrSize} {
		if err := v.Resize(ctx, size); !errors.Is(err, want) {
			t.Errorf("Resize(%d) = %v; want %v", size, err, want)
		}
	}
	write(t, v.tree, "after", "y")
	mustSave(t, v, true)
	v.Close()
	again := mustOpen(t, p)
	if got := read(t, again.tree, "n"); len(got) != 14<<20 || read(t, again.tree, "after") != "y" {
		t.Errorf("the resized vault has %d bytes", len(got))
	}
	if info := again.Info(); info.Size != smallestSize+8<<20 || info.Seal != SealIntact {
		t.Errorf("Info() = %+v", info)
	}
}

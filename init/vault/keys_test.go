package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/init/sys"
	"golang.org/x/sys/unix"
)

// canOpen tells whether pass opens the vault file of that name, and what for.
func canOpen(t *testing.T, p Place, name, pass string) bool {
	t.Helper()
	f, err := os.Open(p.path(name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := luks.Read(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	clean, _, err := typed(secret(t, pass))
	if err != nil {
		t.Fatal(err)
	}
	defer clean.Destroy()
	key, _, err := h.Unlock(context.Background(), clean)
	key.Destroy()
	if err != nil && !errors.Is(err, ErrPassphrase) {
		t.Fatal(err)
	}
	return err == nil
}

// changedVault is an open vault with a file, and an earlier generation.
func changedVault(t *testing.T) (Place, *Vault) {
	t.Helper()
	p := place(t)
	mustCreate(t, p)
	v := mustOpen(t, p)
	write(t, v.tree, "kubeconfig", "token")
	mustSave(t, v, true)
	if _, err := p.stat(generation(1)); err != nil {
		t.Fatal(err)
	}
	return p, v
}

func wantKeys(t *testing.T, v *Vault, want ...string) {
	t.Helper()
	keys, err := v.keys()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range keys {
		if k.Recovery {
			k.Label = "(recovery)"
		}
		got = append(got, k.Label)
	}
	if strings.Join(got, ",") != strings.Join(want, ",") {
		t.Errorf("Keys() has the labels %q; want %q", got, want)
	}
}

func TestAddAndRemoveKey(t *testing.T) {
	ctx := context.Background()
	p, v := changedVault(t)
	slot, err := v.AddKey(ctx, secret(t, "ada's"), "ada", Cost{})
	if err != nil {
		t.Fatal(err)
	}
	wantKeys(t, v, "", "ada")
	for _, pass := range []string{"pass", "ada's"} {
		if !canOpen(t, p, "vault.img", pass) {
			t.Errorf("%q doesn't open the vault", pass)
		}
		if err := v.Verify(ctx, secret(t, pass)); err != nil {
			t.Errorf("Verify(%q) = %v", pass, err)
		}
	}
	if got, err := v.Slot(secret(t, "ada's")); got != slot || err != nil {
		t.Errorf("Slot() = %d, %v; want %d", got, err, slot)
	}
	if _, err := p.stat(generation(1)); err != nil {
		t.Errorf("an added key costs the earlier generation: %v", err)
	}
	if _, err := v.AddKey(ctx, secret(t, "pass"), "again", Cost{}); !errors.Is(err, ErrKeyExists) {
		t.Errorf("AddKey() of a passphrase that opens the vault = %v; want %v", err, ErrKeyExists)
	}
	if _, err := v.AddKey(ctx, secret(t, "x"), "a\x1b", Cost{}); !errors.Is(err, ErrLabel) {
		t.Errorf("AddKey() with a control character = %v; want %v", err, ErrLabel)
	}
	if err := v.RemoveKey(ctx, 7); !errors.Is(err, ErrNoKeyslot) {
		t.Errorf("RemoveKey(7) = %v; want %v", err, ErrNoKeyslot)
	}
	if err := v.RemoveKey(ctx, slot); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, v, "")
	if canOpen(t, p, "vault.img", "ada's") || !canOpen(t, p, "vault.img", "pass") {
		t.Error("the wrong key was removed")
	}
	if err := v.Verify(ctx, secret(t, "ada's")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("Verify() of a removed key = %v; want %v", err, ErrPassphrase)
	}
	if _, err := p.stat(generation(1)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stat of the earlier generation, which the removed key opens = %v", err)
	}
	if err := v.RemoveKey(ctx, 0); !errors.Is(err, ErrLastKeyslot) {
		t.Errorf("RemoveKey() of the last = %v; want %v", err, ErrLastKeyslot)
	}
	// The content is what it was, and saving goes on.
	write(t, v.tree, "more", "x")
	mustSave(t, v, true)
	v.Close()
	wantFile(t, mustOpen(t, p), "kubeconfig", "token")
}

func wantFile(t *testing.T, v *Vault, name, want string) {
	t.Helper()
	if got, err := os.ReadFile(filepath.Join(v.tree.Name(), name)); string(got) != want {
		t.Errorf("%s = %q, %v; want %q", name, got, err, want)
	}
}

func TestChangeKey(t *testing.T) {
	ctx := context.Background()
	p, v := changedVault(t)
	write(t, v.tree, "unsaved", "y")
	if err := v.ChangeKey(ctx, 0, secret(t, "new"), Cost{}); err != nil {
		t.Fatal(err)
	}
	if canOpen(t, p, "vault.img", "pass") || !canOpen(t, p, "vault.img", "new") {
		t.Error("the old passphrase still opens the vault, or the new one doesn't")
	}
	if err := v.Verify(ctx, secret(t, "pass")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("Verify(the old one) = %v; want %v", err, ErrPassphrase)
	}
	if err := v.Verify(ctx, secret(t, "new")); err != nil {
		t.Errorf("Verify(the new one) = %v", err)
	}
	if names, _ := p.beside(); len(names) != 0 {
		t.Errorf("%q are left, which the old passphrase opens", names)
	}
	mustSave(t, v, true)
	v.Close()
	again, err := Open(ctx, p, secret(t, "new"), newTree(t))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	wantFile(t, again, "unsaved", "y")
	if again.info.Seal != SealIntact {
		t.Errorf("the seal is %s", again.info.Seal)
	}
}

// TestClosedVault: keys are changed without its content.
func TestClosedVault(t *testing.T) {
	ctx := context.Background()
	p, v := changedVault(t)
	v.Close()
	u, err := Unlock(ctx, p, secret(t, "pass"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Unlock(ctx, p, secret(t, "pass")); !errors.Is(err, ErrInUse) {
		t.Errorf("Unlock() twice = %v; want %v", err, ErrInUse)
	}
	recovery := func() *locked.Buffer {
		t.Helper()
		code, err := NewRecoveryCode()
		if err != nil {
			t.Fatal(err)
		}
		if err := u.SetRecovery(ctx, code, Cost{}); err != nil {
			t.Fatal(err)
		}
		return code
	}
	code := recovery()
	wantKeys(t, u, "", "(recovery)")
	first := string(code.Bytes())
	code.Destroy()
	if !canOpen(t, p, "vault.img", strings.ToLower(first)) {
		t.Error("the recovery code doesn't open the vault")
	}
	code = recovery()
	defer code.Destroy()
	wantKeys(t, u, "", "(recovery)")
	if canOpen(t, p, "vault.img", first) || !canOpen(t, p, "vault.img", string(code.Bytes())) {
		t.Error("the second code isn't in the place of the first")
	}
	u.Close()
	again, err := Open(ctx, p, code, newTree(t))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	wantFile(t, again, "kubeconfig", "token")
	bad := []byte(string(code.Bytes()))
	bad[0] = '0' + ('1'-bad[0])&1
	wrong, _ := locked.Take(bad)
	defer wrong.Destroy()
	var mistyped *MistypedError
	if err := again.Verify(ctx, wrong); !errors.As(err, &mistyped) || mistyped.Group != 1 || !errors.Is(err, ErrPassphrase) {
		t.Errorf("Verify() of a code with a mistake = %v; want one in group 1", err)
	}
}

// TestKeyChangeFailsAtEachCall: wherever the disk fails, the old passphrase opens the
// vault, or the new one does, and trying again with that one works.
func TestKeyChangeFailsAtEachCall(t *testing.T) {
	ctx := context.Background()
	p, v := changedVault(t)
	now, next := "pass", "new"
	for nth, more := 0, true; more; nth++ {
		more = false
		n, writes := -1, 0
		faults(t, func(op *sys.Op, call func() error) error {
			if op.Call == "write" {
				writes++
			}
			if !changes(op) || writes > 1 && op.Call == "write" { // one write is like the others
				return call()
			}
			if n++; n != nth {
				return call()
			}
			more = true
			return unix.EIO
		})
		slot, err := v.Slot(secret(t, now))
		if err != nil {
			t.Fatal(err)
		}
		err = v.ChangeKey(ctx, slot, secret(t, next), Cost{})
		sys.Fault = nil
		was, is := canOpen(t, p, "vault.img", now), canOpen(t, p, "vault.img", next)
		if was == is || err == nil && was {
			t.Errorf("call %d fails, ChangeKey() = %v: the old passphrase opens %v, the new one %v", nth, err, was, is)
		}
		if is {
			now, next = next, now
		}
		if err := v.Verify(ctx, secret(t, now)); err != nil {
			t.Errorf("call %d fails: Verify() of the passphrase that opens it = %v", nth, err)
		}
	}
	v.Close()
	again, err := Open(ctx, p, secret(t, now), newTree(t))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	wantFile(t, again, "kubeconfig", "token")
	if names, _ := p.beside(); len(names) != 0 {
		t.Errorf("%q are left", names)
	}
}

// TestAfterRecovery: who has forgotten the passphrase, and sets another by the code,
// has both of them afterwards, and a new code replaces the old one alone.
func TestAfterRecovery(t *testing.T) {
	ctx := context.Background()
	p, v := changedVault(t)
	for range 2 {
		code, err := NewRecoveryCode()
		if err != nil {
			t.Fatal(err)
		}
		defer code.Destroy()
		if err := v.SetRecovery(ctx, code, Cost{}); err != nil {
			t.Fatal(err)
		}
		if err := v.Verify(ctx, code); err != nil {
			t.Fatal(err)
		}
		if key, err := v.KeyOf(code); err != nil || !key.Recovery {
			t.Errorf("KeyOf(the code) = %+v, %v; want a recovery code's", key, err)
		}
		if _, err := v.AddKey(ctx, secret(t, "new"), "recovery code", Cost{}); err != nil && !errors.Is(err, ErrKeyExists) {
			t.Fatal(err)
		}
	}
	wantKeys(t, v, "", "recovery code", "(recovery)")
	if !canOpen(t, p, "vault.img", "new") || !canOpen(t, p, "vault.img", "pass") {
		t.Error("a passphrase went with the code")
	}
}

// TestPassphraseLikeACode: what was set raw opens raw, whatever it looks like.
func TestPassphraseLikeACode(t *testing.T) {
	ctx := context.Background()
	p, v := changedVault(t)
	code, err := NewRecoveryCode()
	if err != nil {
		t.Fatal(err)
	}
	defer code.Destroy()
	raw := strings.ToLower(strings.ReplaceAll(string(code.Bytes()), "-", ""))
	if err := v.ChangeKey(ctx, 0, secret(t, raw), Cost{}); err != nil {
		t.Fatal(err)
	}
	if err := v.Verify(ctx, secret(t, raw)); err != nil {
		t.Errorf("Verify() = %v", err)
	}
	if _, err := v.Slot(secret(t, raw)); err != nil {
		t.Errorf("Slot() = %v", err)
	}
	v.Close()
	again, err := Open(ctx, p, secret(t, raw), newTree(t))
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// TestChangeKeyOfFullHeader: a passphrase can be changed where there is no room for
// one more.
func TestChangeKeyOfFullHeader(t *testing.T) {
	ctx := context.Background()
	p, v := changedVault(t)
	for n := range 7 {
		if _, err := v.AddKey(ctx, secret(t, fmt.Sprint("more ", n)), "", Cost{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.AddKey(ctx, secret(t, "one too many"), "", Cost{}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("AddKey() of a ninth = %v; want %v", err, ErrNoRoom)
	}
	if err := v.ChangeKey(ctx, 0, secret(t, "new"), Cost{}); err != nil {
		t.Fatal(err)
	}
	if canOpen(t, p, "vault.img", "pass") || !canOpen(t, p, "vault.img", "new") || !canOpen(t, p, "vault.img", "more 3") {
		t.Error("the wrong keyslot was changed")
	}
}

// TestForgettingTakesASoundVault: what removes the earlier generations doesn't where
// they may be all that is left.
func TestForgettingTakesASoundVault(t *testing.T) {
	ctx := context.Background()
	p, v := changedVault(t)
	v.Close()
	zeroFileSystem(t, vaultPath(p))
	u, err := Unlock(ctx, p, secret(t, "pass"))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if err := u.ChangeKey(ctx, 0, secret(t, "new"), Cost{}); !errors.Is(err, ErrDamaged) || Hint(err) == "" {
		t.Errorf("ChangeKey() of a damaged vault = %v; want %v and a hint", err, ErrDamaged)
	}
	if !canOpen(t, p, generation(1), "pass") || !canOpen(t, p, "vault.img", "pass") {
		t.Error("something was changed")
	}
}

// TestForgettingPassesOverOthers: a directory in a generation's place is no reason to
// keep a passphrase, and a mistake made right afterwards can be undone.
func TestForgettingPassesOverOthers(t *testing.T) {
	ctx := context.Background()
	p, v := changedVault(t)
	if err := os.Mkdir(p.path(generation(2)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := v.ChangeKey(ctx, 0, secret(t, "new"), Cost{}); err != nil {
		t.Fatal(err)
	}
	write(t, v.tree, "kubeconfig", "mistake")
	mustSave(t, v, true)
	if !canOpen(t, p, generation(1), "new") {
		t.Error("what was there before the mistake isn't kept")
	}
}

// TestNoRoomForTokens: a header full of others' tokens, or with one of ours that isn't,
// is no reason not to save or to list keys.
func TestNoRoomForTokens(t *testing.T) {
	ctx := context.Background()
	p := place(t)
	mustCreate(t, p)
	for n := range 32 {
		token := `{"type":"foreign","keyslots":[]}`
		if n == 0 {
			token = `{"type":"tazpod-keys","keyslots":[],"keys":5}`
		}
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		stock(t, "", "cryptsetup", "token", "import", "--token-replace", "--json-file="+file, "--token-id="+strconv.Itoa(n), vaultPath(p))
	}
	v := mustOpen(t, p)
	write(t, v.tree, "file", "content")
	mustSave(t, v, true)
	if keys, err := Keys(ctx, p); err != nil || len(keys) != 1 {
		t.Errorf("Keys() = %v, %v; want one", keys, err)
	}
	if err := v.ChangeKey(ctx, 0, secret(t, "new"), Cost{}); err != nil {
		t.Fatal(err)
	}
	v.Close()
	again, err := Open(ctx, p, secret(t, "new"), newTree(t))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	wantFile(t, again, "file", "content")
}

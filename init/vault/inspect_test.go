package vault

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tazzo/tazpod/init/luks"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

// inspector looks at every crash of a recording.
type inspector struct {
	random, combinations int
	drafts               bool // states that differ in their drafts alone are opened, too
	stock                bool // stock tools look at each vault
	points               map[string]bool
	states               map[string]bool // opened
	vaults               map[int]bool    // vault.img in them, by inode
	store                string          // of files that several states have
}

// inspect returns the first thing that isn't as it must be.
func (c *inspector) inspect(t testing.TB, r *recording) error {
	c.points, c.states, c.vaults = map[string]bool{}, map[string]bool{}, map[int]bool{}
	var err error
	if c.store, err = os.MkdirTemp("/dev/shm", "vault-crash-"); err != nil {
		return err
	}
	defer os.RemoveAll(c.store)
	d := r.start.clone()
	var now event
	for i, e := range r.log {
		if e.may != nil {
			now = e
		} else if e.op.Call == "write" {
			f := d.now(e.op.Name)
			for _, n := range []int{1, len(e.op.Data) / 2, len(e.op.Data) / 2 / pageLength * pageLength} {
				part := e.op
				part.Data = part.Data[:n]
				torn := &inode{id: -len(c.points), calls: append(slices.Clone(f.calls), part), synced: f.synced}
				state := d.killed()
				state.names[e.op.Name] = torn
				err := c.look(t, state, now)
				if err != nil {
					return fmt.Errorf("killed in call %d, %s: %w", i, opName(&e.op), err)
				}
			}
		}
		d.do(e.op)
		for _, state := range append(d.cuts(c.combinations, survivals(uint64(i), c.random)), d.killed()) {
			if err := c.look(t, state, now); err != nil {
				return fmt.Errorf("after call %d, %s, with %v: %w", i, opName(&e.op), state, err)
			}
		}
	}
	return nil
}

// look checks a state unless it was seen before.
func (c *inspector) look(t testing.TB, state crashed, now event) error {
	c.points[state.key(true)] = true
	key := state.key(c.drafts) + fmt.Sprint(now.may, now.parked)
	if c.states[key] {
		return nil
	}
	c.states[key] = true
	for name, f := range state.names {
		if n := strings.TrimPrefix(name, wire.VaultFile+"."); len(n) == 1 && !state.whole(f) {
			return fmt.Errorf("%s isn't whole", name)
		}
	}
	dir, err := os.MkdirTemp("/dev/shm", "vault-crash-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	vaultDir, tree := filepath.Join(dir, "vault"), filepath.Join(dir, "tree")
	if err := errors.Join(os.Mkdir(vaultDir, 0o700), os.Mkdir(tree, 0o700), state.write(vaultDir, c.store)); err != nil {
		return err
	}
	file, err := os.Open(vaultDir)
	if err != nil {
		return err
	}
	defer file.Close()
	p := Place{Dir: file, Owner: 1234, Group: 1235, TreeID: kernelID, Pod: "test-pod"}
	f := state.names[wire.VaultFile]
	newVault := f != nil && !c.vaults[f.id]
	if newVault {
		c.vaults[f.id] = true
		if c.stock {
			stockAccepts(t, vaultPath(p))
		}
	}
	if err := opens(t, p, tree, now, newVault || len(c.states)%8 == 0); err != nil {
		return err
	}
	names, err := p.beside()
	if i := slices.IndexFunc(names, func(name string) bool { return strings.HasPrefix(name, draftPrefix) }); i >= 0 {
		err = errors.Join(err, fmt.Errorf("%s is left", names[i]))
	}
	return err
}

// opens does what a user does after a crash, with a save if asked to.
func opens(t testing.TB, p Place, tree string, now event, saves bool) error {
	pass := secret(t, "pass")
	defer pass.Destroy()
	root, err := os.Open(tree)
	if err != nil {
		return err
	}
	defer root.Close()
	// What a draft holds can't matter if nobody looks.
	var looked error
	sys.Fault = func(op *sys.Op, call func() error) error {
		if strings.HasPrefix(op.Name, draftPrefix) && op.Call != "remove" {
			looked = fmt.Errorf("an opening begins with %s", opName(op))
		}
		return call()
	}
	v, err := Open(context.Background(), p, pass, root)
	sys.Fault = nil
	if errors.Is(err, ErrAbsent) && slices.Contains(now.may, noVault) {
		return Create(context.Background(), p, pass, smallestSize, Cost{})
	}
	if err := errors.Join(err, looked); err != nil {
		return err
	}
	defer v.Close()
	if got := hex.EncodeToString(v.digest[:]); !slices.Contains(now.may, got) {
		return fmt.Errorf("the content is %.8s; want one of %.8s", got, now.may)
	}
	if now.parked != nil {
		if err := parkedHolds(t, p, now.parked); err != nil {
			return err
		}
	}
	if !saves {
		return nil
	}
	write(t, root, "next", "content")
	saved, err := v.Save(context.Background())
	if err == nil && !saved {
		err = errors.New("the next save finds nothing to do")
	}
	return err
}

// parkedHolds says whether a generation that was parked holds one of contents.
func parkedHolds(t testing.TB, p Place, contents []string) error {
	names, err := filepath.Glob(p.path(conflictPrefix + "*"))
	for _, name := range names {
		alone, err := os.MkdirTemp(filepath.Dir(p.Dir.Name()), "alone-")
		if err == nil {
			err = os.Link(name, filepath.Join(alone, wire.VaultFile))
		}
		if err != nil {
			return err
		}
		if slices.Contains(contents, contentOf(t, placeIn(t, alone))) {
			return nil
		}
	}
	return errors.Join(err, fmt.Errorf("none of %q holds what was parked", names))
}

// stockAccepts has cryptsetup and e2fsck look at a vault.
func stockAccepts(t testing.TB, path string) {
	t.Helper()
	stock(t, "pass", "cryptsetup", "open", "--type=luks2", "--test-passphrase", "--key-file=-", path)
	img, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	decrypted(t, img, path+"-plain", func(plain *os.File, _ luks.Segment, _ *luks.Cipher) {
		stock(t, "", "e2fsck", "-fn", plain.Name())
	})
	if err := os.Remove(path + "-plain"); err != nil {
		t.Fatal(err)
	}
}

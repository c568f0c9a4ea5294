package vault

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
	"golang.org/x/sys/unix"
)

// crashEnv asks for the long run, in which states that differ only in what nobody
// reads are opened, too.
const crashEnv = "TAZPOD_CRASH"

// recording is all that was done to a vault's directory, and what a crash may
// cost at each moment.
type recording struct {
	t     testing.TB
	p     Place
	start *disk
	log   []event
	now   string // the content on disk
	trick func(op *sys.Op) error
}

// event is a call, or a change of what an opening may find.
type event struct {
	op     sys.Op
	may    []string // contents by their digests; noVault if there may be none
	parked []string // one of these contents must be there beside the vault
}

const noVault = "no vault"

func record(t testing.TB, p Place, now string) *recording {
	t.Helper()
	start, err := load(p)
	if err != nil {
		t.Fatal(err)
	}
	r := &recording{t: t, p: p, start: start, now: now}
	r.may(now)
	faults(t, func(op *sys.Op, call func() error) error {
		if r.trick != nil {
			if err := r.trick(op); err != nil {
				return err
			}
		}
		err := call()
		if err == nil && changes(op) {
			done := *op
			done.Data = bytes.Clone(op.Data)
			r.log = append(r.log, event{op: done})
		}
		return err
	})
	return r
}

func (r *recording) may(contents ...string) { r.log = append(r.log, event{may: contents}) }

// change saves content that the tree has now.
func (r *recording) change(v *Vault, name, content string) string {
	r.t.Helper()
	write(r.t, v.tree, name, content)
	sum, _, err := digestTree(context.Background(), v.tree)
	if err != nil {
		r.t.Fatal(err)
	}
	return hex.EncodeToString(sum[:])
}

func (r *recording) save(v *Vault, name, content string) {
	r.t.Helper()
	want := r.change(v, name, content)
	r.may(r.now, want)
	mustSave(r.t, v, true)
	r.now = want
	r.may(want)
}

// end compares the model with the disk: nothing was done behind its back.
func (r *recording) end() {
	r.t.Helper()
	sys.Fault = nil
	d := r.start.clone()
	for _, e := range r.log {
		d.do(e.op)
	}
	names, err := os.ReadDir(r.p.Dir.Name())
	if err != nil {
		r.t.Fatal(err)
	}
	c := d.killed()
	if len(names) != len(c.names) {
		r.t.Errorf("the recording ends with %v; the directory has %v", c, names)
	}
	copied := r.t.TempDir()
	if err := c.write(copied, r.t.TempDir()); err != nil {
		r.t.Fatal(err)
	}
	for _, e := range names {
		a, errA := os.ReadFile(r.p.path(e.Name()))
		b, errB := os.ReadFile(filepath.Join(copied, e.Name()))
		if err := errors.Join(errA, errB); err != nil || !bytes.Equal(a, b) {
			r.t.Errorf("%s isn't what was recorded (%v)", e.Name(), err)
		}
	}
}

func (d *disk) clone() *disk {
	c := &disk{names: map[string][]*inode{}, made: d.made}
	for name, list := range d.names {
		c.names[name] = slices.Clone(list) // its inodes have nothing more to lose
	}
	return c
}

// scenes are what is recorded.
var scenes = []struct {
	name string
	play func(t *testing.T) *recording
}{
	{"new", func(t *testing.T) *recording { return playNew(t, nil) }},
	{"new, by link", func(t *testing.T) *recording { // where no rename spares a file
		refused := false
		return playNew(t, func(op *sys.Op) error {
			if op.Call == "rename to" && !refused {
				refused = true
				return unix.EINVAL
			}
			return nil
		})
	}},
	{"generations", func(t *testing.T) *recording { return playSaves(t, 4, nil) }},
	{"generations, by copy", func(t *testing.T) *recording {
		return playSaves(t, 2, func(op *sys.Op) error {
			if op.Call == "link to" {
				return unix.EPERM
			}
			return nil
		})
	}},
	{"suspect", playSuspect},
	{"conflict", playConflict},
	{"keys", playKeys},
	{"rollback", playRollback},
	{"restore", playRestore},
	{"resize", playResize},
}

func playNew(t *testing.T, trick func(*sys.Op) error) *recording {
	p := place(t)
	r := record(t, p, noVault)
	r.trick = trick
	r.may(noVault, "") // which is known only when it has been opened
	if err := Create(context.Background(), p, secret(t, "pass"), smallestSize, Cost{}); err != nil {
		t.Fatal(err)
	}
	created := len(r.log)
	v := mustOpen(t, p)
	r.now = hex.EncodeToString(v.digest[:])
	for i := range r.log {
		if slices.Contains(r.log[i].may, "") {
			r.log[i].may[1] = r.now
		}
	}
	r.log = slices.Insert(r.log, created, event{may: []string{r.now}})
	for i := range 2 {
		r.save(v, "file", fmt.Sprint("content ", i))
	}
	v.Close()
	return r
}

func playSaves(t *testing.T, sessions int, trick func(*sys.Op) error) *recording {
	p := copyVault(t, smallVault(t, "first"))
	r := record(t, p, contentOf(t, p))
	r.trick = trick
	for i := range sessions {
		v := mustOpen(t, p)
		r.save(v, fmt.Sprint("dir/", i), strings.Repeat("kept ", 10000*i))
		r.save(v, "file", fmt.Sprint("content ", i))
		v.Close()
	}
	return r
}

func playSuspect(t *testing.T) *recording {
	p := copyVault(t, smallVault(t, "first"))
	rewrite(t, p, func(plain string) { stock(t, "", "debugfs", "-w", "-R", "rm file", plain) })
	r := record(t, p, contentOf(t, p))
	v := mustOpen(t, p)
	r.save(v, "file", "second")
	v.Close()
	return r
}

func playConflict(t *testing.T) *recording {
	p := copyVault(t, smallVault(t, "first"))
	v := mustOpen(t, p)
	write(t, v.tree, "file", "theirs")
	mustSave(t, v, true)
	v.Close()
	theirs, err := os.ReadFile(vaultPath(p))
	if err != nil {
		t.Fatal(err)
	}
	other := contentOf(t, p)
	if err := p.rename(generation(1), wire.VaultFile); err != nil {
		t.Fatal(err)
	}
	r := record(t, p, contentOf(t, p))
	v = mustOpen(t, p)
	r.may(r.now, other)
	f, err := p.create("other")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(theirs, 0)
	if err := errors.Join(err, f.Sync(), f.Close(), p.rename("other", wire.VaultFile), p.sync()); err != nil {
		t.Fatal(err)
	}
	r.may(other)
	var parked []string
	for _, content := range []string{"ours", "ours, later"} {
		want := r.change(v, "file", content)
		if parked != nil {
			r.log = append(r.log, event{may: []string{other}, parked: append(parked, want)})
		}
		if _, err := v.Save(context.Background()); !errors.Is(err, ErrParked) {
			t.Fatalf("Save() = %v; want %v", err, ErrParked)
		}
		parked = []string{want}
		r.log = append(r.log, event{may: []string{other}, parked: parked})
	}
	v.Close()
	return r
}

// playKeys changes who can open the vault, and never what is in it.
func playKeys(t *testing.T) *recording {
	p := copyVault(t, smallVault(t, "first"))
	r := record(t, p, contentOf(t, p))
	v := mustOpen(t, p)
	slot, err := v.AddKey(t.Context(), secret(t, "second"), "", Cost{})
	if err == nil {
		err = v.RemoveKey(t.Context(), slot)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.save(v, "file", "second")
	v.Close()
	return r
}

// twoGenerations is a closed vault that holds the content second, before which it
// had first.
func twoGenerations(t *testing.T) (p Place, first, second string) {
	p = copyVault(t, smallVault(t, "first"))
	first = contentOf(t, p)
	v := mustOpen(t, p)
	write(t, v.tree, "file", "second")
	mustSave(t, v, true)
	v.Close()
	return p, first, contentOf(t, p)
}

func playRollback(t *testing.T) *recording {
	p, first, second := twoGenerations(t)
	r := record(t, p, second)
	for range 2 { // there and back
		r.may(first, second)
		if err := Rollback(t.Context(), p, 1, secret(t, "pass")); err != nil {
			t.Fatal(err)
		}
		first, second = second, first
		r.may(second)
	}
	return r
}

func playRestore(t *testing.T) *recording {
	p, first, second := twoGenerations(t)
	backup, err := os.ReadFile(p.path(generation(1)))
	if err != nil {
		t.Fatal(err)
	}
	r := record(t, p, second)
	r.may(first, second)
	if err := Restore(t.Context(), p, bytes.NewReader(backup), int64(len(backup)), secret(t, "pass")); err != nil {
		t.Fatal(err)
	}
	r.may(first)
	return r
}

func playResize(t *testing.T) *recording {
	p := copyVault(t, smallVault(t, "first"))
	r := record(t, p, contentOf(t, p))
	v := mustOpen(t, p)
	if err := v.Resize(t.Context(), 2*smallestSize); err != nil {
		t.Fatal(err)
	}
	r.save(v, "file", "second")
	v.Close()
	return r
}

// smallVault is a vault that is quickly opened.
func smallVault(t testing.TB, content string) []byte {
	t.Helper()
	p := place(t)
	if err := Create(context.Background(), p, secret(t, "pass"), smallestSize, Cost{}); err != nil {
		t.Fatal(err)
	}
	v := mustOpen(t, p)
	write(t, v.tree, "file", content)
	mustSave(t, v, true)
	v.Close()
	sealed, err := os.ReadFile(vaultPath(p))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func contentOf(t testing.TB, p Place) string {
	t.Helper()
	v := mustOpen(t, p)
	defer v.Close()
	return hex.EncodeToString(v.digest[:])
}

// Crashed at any moment, a vault holds exactly the old or exactly the new content,
// and only the new once the save is done. Stock tools find nothing, and the next
// opening and the next save need no help.
func TestCrashes(t *testing.T) {
	random, least := 12, 2000
	long := os.Getenv(crashEnv) == "long"
	if long {
		random, least = 24, 20000
	}
	points, played := 0, 0
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			r := scene.play(t)
			r.end()
			c := &inspector{random: random, combinations: 24, drafts: long, stock: true}
			if err := c.inspect(t, r); err != nil {
				t.Error(err)
			}
			t.Logf("%d calls, %d points, %d states opened", len(r.log), len(c.points), len(c.states))
			points += len(c.points)
			played++
		})
	}
	t.Logf("%d points", points)
	if played == len(scenes) && points < least {
		t.Errorf("%d points; want %d", points, least)
	}
}

// A save without one of its syncs, or in another order, is found out.
func TestCrashesAreFound(t *testing.T) {
	r := playSaves(t, 1, nil)
	r.end()
	without := func(name string) []event {
		return slices.DeleteFunc(slices.Clone(r.log), func(e event) bool {
			return e.op.Call == "sync" && strings.HasPrefix(e.op.Name, name)
		})
	}
	late := without(draftPrefix)
	for i := len(late) - 1; i >= 0; i-- {
		if e := late[i]; e.op.Call == "rename to" && strings.HasPrefix(e.op.Name, draftPrefix) {
			late = slices.Insert(late, i+1, event{op: sys.Op{Call: "sync", Name: e.op.To}})
		}
	}
	for name, log := range map[string][]event{
		"the file's sync":      without(draftPrefix),
		"the directory's sync": without("."),
		"sync before rename":   late,
	} {
		broken := *r
		broken.log = log
		c := &inspector{random: 4, combinations: 24}
		if err := c.inspect(t, &broken); err == nil {
			t.Errorf("without %s %d points are all sound", name, len(c.points))
		} else {
			t.Logf("without %s: %v", name, err)
		}
	}
}

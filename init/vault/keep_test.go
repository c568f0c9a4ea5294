package vault

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
	"golang.org/x/sys/unix"
)

// What else has the names of generations costs those, and no save.
func TestPlantedGenerations(t *testing.T) {
	sound := soundVault(t)
	for _, c := range []struct {
		name string
		do   func(p Place) error
		kept []string // vault files that hold "before"
	}{
		{"the oldest", func(p Place) error { return os.Mkdir(p.path(generation(3)), 0o700) }, []string{".1"}},
		{"the newest", func(p Place) error { return os.Mkdir(p.path(generation(1)), 0o700) }, []string{".2"}},
		{"a full directory", func(p Place) error { return os.MkdirAll(p.path(generation(2))+"/x", 0o700) }, []string{".1"}},
		{"a link", func(p Place) error { return os.Symlink("elsewhere", p.path(generation(1))) }, []string{".2"}},
		{"all", func(p Place) error {
			return errors.Join(os.Mkdir(p.path(generation(1)), 0), unix.Mkfifo(p.path(generation(2)), 0o600), os.Mkdir(p.path(generation(3)), 0))
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := copyVault(t, sound)
			if err := c.do(p); err != nil {
				t.Fatal(err)
			}
			v := mustOpen(t, p)
			for _, content := range []string{"first", "second"} {
				write(t, v.tree, "file", content)
				v.kept = v.kept.Add(-2 * keepEvery) // every save is one that keeps
				mustSave(t, v, true)
			}
			if notes := v.Info().Notes; len(notes) != 1 || !strings.Contains(notes[0], ErrNotAFile.Error()) {
				t.Errorf("Notes = %q; want one on the name that is taken", notes)
			}
			v.Close()
			for _, suffix := range c.kept {
				content, err := os.ReadFile(vaultPath(p) + suffix)
				if err != nil {
					t.Fatal(err)
				}
				if got := read(t, mustOpen(t, copyVault(t, content)).tree, "file"); got != "first" {
					t.Errorf("%s = %.20q; want first", suffix, got)
				}
			}
			if got := read(t, mustOpen(t, p).tree, "file"); got != "second" {
				t.Errorf("file = %q; want second", got)
			}
		})
	}
}

// A generation that isn't as it was sealed stays, however many follow.
func TestSuspectIsKept(t *testing.T) {
	p := copyVault(t, soundVault(t))
	rewrite(t, p, func(plain string) { stock(t, "", "debugfs", "-w", "-R", "rm file", plain) })
	suspect, err := os.ReadFile(vaultPath(p))
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"a", "b", "c", "d", "e"} {
		v := mustOpen(t, p)
		if seal := v.Info().Seal; (seal == SealIntact) != (content != "a") {
			t.Errorf("the seal is %s", seal)
		}
		write(t, v.tree, "file", content)
		mustSave(t, v, true)
		if notes := v.Info().Notes; content == "a" && (len(notes) != 2 || !strings.Contains(notes[1], suspectPrefix)) {
			t.Errorf("Notes = %q; want the seal and where the file is", notes)
		}
		v.Close()
	}
	names, _ := filepath.Glob(p.path(suspectPrefix + "*"))
	if len(names) != 1 {
		t.Fatalf("%q are kept; want one", names)
	}
	if got, err := os.ReadFile(names[0]); err != nil || string(got) != string(suspect) {
		t.Errorf("%s isn't what was opened (%v)", names[0], err)
	}
}

// What is parked is whole and on disk, and stays what a retry returns for as
// long as it is.
func TestParked(t *testing.T) {
	p := copyVault(t, soundVault(t))
	v := mustOpen(t, p)
	write(t, v.tree, "new", "content")
	if err := errors.Join(os.Remove(vaultPath(p)), os.Mkdir(vaultPath(p), 0o700)); err != nil {
		t.Fatal(err)
	}
	first := v.besideName(conflictPrefix)
	if err := os.Mkdir(p.path(first), 0o700); err != nil { // something has that name
		t.Fatal(err)
	}
	park := func() os.FileInfo {
		t.Helper()
		_, err := v.Save(context.Background())
		if !errors.Is(err, ErrParked) || !errors.Is(err, ErrNotAFile) || !strings.Contains(err.Error(), v.parked.name) {
			t.Fatalf("Save() = %v; want %v, %v and the file", err, ErrParked, ErrNotAFile)
		}
		info, err := os.Lstat(p.path(v.parked.name))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	one := park()
	if two := park(); !os.SameFile(one, two) {
		t.Error("the same content was written twice")
	}
	if err := os.Remove(p.path(v.parked.name)); err != nil {
		t.Fatal(err)
	}
	park() // and not only said to be there
	parked := p.path(v.parked.name)
	v.Close()
	if err := errors.Join(os.Remove(vaultPath(p)), os.Rename(parked, p.path(wire.VaultFile))); err != nil {
		t.Fatal(err)
	}
	if got := read(t, mustOpen(t, p).tree, "new"); got != "content" {
		t.Errorf("new = %q", got)
	}
}

// A save that fails for another reason has parked nothing.
func TestNotParked(t *testing.T) {
	p := copyVault(t, soundVault(t))
	v := mustOpen(t, p)
	write(t, v.tree, "new", "content")
	for _, call := range []string{"create", "write", "sync", "read", "open", "rename to"} {
		before(t, call, func(*sys.Op) error { return unix.EIO })
		if _, err := v.Save(context.Background()); errors.Is(err, ErrParked) || !errors.Is(err, unix.EIO) {
			t.Errorf("Save() that fails at %s = %v", call, err)
		}
	}
}

// A copy that is kept replaces no file that has its name.
func TestCopyReplacesNothing(t *testing.T) {
	p := copyVault(t, smallVault(t, "content"))
	if err := os.WriteFile(p.path("taken"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.copyAs(context.Background(), "taken"); !errors.Is(err, unix.EEXIST) {
		t.Errorf("copyAs() = %v; want %v", err, unix.EEXIST)
	}
	if got, _ := os.ReadFile(p.path("taken")); string(got) != "mine" {
		t.Error("it was replaced")
	}
	noLitter(t, p)
}

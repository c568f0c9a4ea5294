package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tazzo/tazpod/init/vault/ext4"
	"golang.org/x/sys/unix"
)

// nest makes directories of a name, one in the other.
func nest(t testing.TB, tree *os.File, name string, levels int) {
	t.Helper()
	at, err := unix.Openat(int(tree.Fd()), ".", unix.O_PATH|unix.O_CLOEXEC, 0)
	for i := 0; i < levels && err == nil; i++ {
		var next int
		if err = unix.Mkdirat(at, name, 0o700); err == nil {
			next, err = unix.Openat(at, name, unix.O_PATH|unix.O_CLOEXEC, 0)
			unix.Close(at)
			at = next
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(at)
}

// What no vault can hold is left out and told; all else is saved, and the next
// save finds nothing to do.
func TestLeftOut(t *testing.T) {
	sound := soundVault(t)
	for _, c := range []struct {
		name, path, why string // path is its beginning, as it is told
		make            func(t *testing.T, tree *os.File)
		undo            func(tree string) error
	}{
		{"too long a file", `"dir/very long"`, "16 TiB", func(t *testing.T, tree *os.File) {
			write(t, tree, "dir/very long", "")
			sparse(t, tree, "dir/very long", ext4.MaxFile+1)
		}, func(tree string) error { return os.Truncate(tree+"/dir/very long", ext4.MaxFile) }},
		{"the longest file", `"longest"`, "16 TiB", func(t *testing.T, tree *os.File) { sparse(t, tree, "longest", 1<<63-1<<20) },
			func(tree string) error { return os.Remove(tree + "/longest") }},
		{"too long a path", `"nnn`, "a vault holds up to 2000", func(t *testing.T, tree *os.File) { nest(t, tree, strings.Repeat("n", 200), 10) },
			func(tree string) error { return os.RemoveAll(tree + "/" + strings.Repeat("n", 200)) }},
		{"no end of directories", `"d/d/`, "its path has 2001 bytes", func(t *testing.T, tree *os.File) { nest(t, tree, "d", 3000) },
			func(tree string) error { return os.Rename(tree+"/d/d", tree+"/../"+filepath.Base(tree)+"-moved") }},
		{"lost+found", `"lost+found"`, "a directory of its own", func(t *testing.T, tree *os.File) { write(t, tree, "lost+found", "mine") },
			func(tree string) error { return os.Rename(tree+"/lost+found", tree+"/found") }},
		{"attributes", `"dir/attributes"`, "its 30 extended attributes", func(t *testing.T, tree *os.File) {
			write(t, tree, "dir/attributes", "content")
			for i := range 30 {
				if err := unix.Setxattr(tree.Name()+"/dir/attributes", fmt.Sprint("trusted.", i), bytes.Repeat([]byte{byte(i)}, 150), 0); err != nil {
					t.Fatal(err)
				}
			}
		}, func(tree string) error {
			var errs []error
			for i := range 30 {
				if i%3 == 0 {
					errs = append(errs, unix.Removexattr(tree+"/dir/attributes", fmt.Sprint("trusted.", i)))
				}
			}
			return errors.Join(errs...)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := copyVault(t, sound)
			v := mustOpen(t, p)
			c.make(t, v.tree)
			write(t, v.tree, "beside", "content")
			inTime(t, func() { mustSave(t, v, true) })
			out := v.Info().LeftOut
			if len(out) != 1 || !strings.HasPrefix(out[0].String(), c.path) || !strings.Contains(out[0].String(), c.why) {
				t.Fatalf("LeftOut = %q; want %s: … %s …", out, c.path, c.why)
			}
			mustSave(t, v, false)
			if err := c.undo(v.tree.Name()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(v.tree.Name() + "-moved") })
			if _, err := v.Save(context.Background()); err != nil || len(v.Info().LeftOut) > 0 {
				t.Errorf("Save() without it = %v, LeftOut = %q; want nothing", err, v.Info().LeftOut)
			}
			v.Close()
			again := mustOpen(t, p)
			if got := again.Info(); read(t, again.tree, "beside") != "content" || len(got.LeftOut) > 0 || got.Seal != SealIntact {
				t.Errorf("what was saved beside it: %+v", got)
			}
		})
	}
}

// A name more than a file can have is left out, and a directory more than one can
// hold.
func TestTooManyLinks(t *testing.T) {
	s := newSieve()
	take := func(kind uint32, path string, most int) {
		t.Helper()
		taken := 0
		for range most + 3 {
			e := &entry{path: path}
			e.Mode, e.Ino, e.Nlink = kind, 7, 2
			if s.take(e) == nil {
				taken++
			}
		}
		if taken != most {
			t.Errorf("%d of kind %#o were taken; want %d", taken, kind, most)
		}
	}
	take(unix.S_IFREG, "file", ext4.MaxLinks)
	take(unix.S_IFDIR, "dir/sub", ext4.MaxLinks-2)
	if out := s.list(); len(out) != 6 || !strings.Contains(out[0].Why, "65000 names") || !strings.Contains(out[3].Why, "64998 directories") {
		t.Errorf("left out: %q; want three names and three directories", out)
	}
}

// Only so many are told by name.
func TestManyLeftOut(t *testing.T) {
	tree := newTree(t)
	for i := range mostLeftOut + 5 {
		sparse(t, tree, fmt.Sprintf("file %02d", i), ext4.MaxFile+1)
	}
	s := newSieve()
	if _, _, err := s.digest(context.Background(), tree); err != nil {
		t.Fatal(err)
	}
	if out := s.list(); len(out) != mostLeftOut+1 || out[mostLeftOut].String() != "and 5 more" {
		t.Errorf("left out: %q; want %d and 5 more", out, mostLeftOut)
	}
}

// What a foreign vault has that can't be saved again is told at once, and that
// generation stays.
func TestOpenedWithWhatIsLeftOut(t *testing.T) {
	p := place(t)
	source := newTree(t)
	write(t, source, "file", "content")
	for i := range 30 {
		if err := unix.Setxattr(source.Name()+"/file", fmt.Sprint("trusted.", i), bytes.Repeat([]byte{byte(i)}, 150), 0); err != nil {
			t.Fatal(err)
		}
	}
	stockVault(t, p, []string{"--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000"}, "-t", "ext4", "-O", "ea_inode", "-I", "1024", "-b", "4096", "-d", source.Name())
	v := mustOpen(t, p)
	if got := v.Info(); len(got.LeftOut) != 1 || len(got.Notes) != 1 {
		t.Fatalf("Info() = %+v; want what can't be saved again, and a note", got)
	}
	mustSave(t, v, false)
	write(t, v.tree, "new", "content")
	mustSave(t, v, true)
	if kept, _ := filepath.Glob(p.path(suspectPrefix + "*")); len(kept) != 1 {
		t.Errorf("%q are kept; want the vault as it was", kept)
	}
}

// Special files are counted, and no reason to save again.
func TestSpecialFiles(t *testing.T) {
	p := copyVault(t, soundVault(t))
	v := mustOpen(t, p)
	at := func(name string) string { return filepath.Join(v.tree.Name(), name) }
	write(t, v.tree, "new", "content")
	if err := errors.Join(unix.Mkfifo(at("fifo"), 0o600), unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0),
		unix.Mknod(at("null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))); err != nil {
		t.Fatal(err)
	}
	mustSave(t, v, true)
	if notes := v.Info().Notes; len(notes) != 1 || !strings.HasPrefix(notes[0], "3 devices, sockets or FIFOs are not saved") {
		t.Errorf("Notes = %q; want one on three special files", notes)
	}
	mustSave(t, v, false)
	v.Close()
	again := mustOpen(t, p)
	if names, err := os.ReadDir(again.tree.Name()); len(names) != 2 || err != nil {
		t.Errorf("the vault has %v, %v; want two files", names, err)
	}
}

// Names are chosen by a ghost's user, and what is left out ends on other people's
// terminals.
func TestNamesAreQuoted(t *testing.T) {
	tree := newTree(t)
	evil := "\x1b]0;evil\a\u202e\xff" + strings.Repeat("x", 200)
	sparse(t, tree, evil, ext4.MaxFile+1)
	nest(t, tree, evil+"d", 12)
	s := newSieve()
	if _, _, err := s.digest(context.Background(), tree); err != nil || len(s.list()) != 2 {
		t.Fatalf("left out: %q (%v); want two", s.list(), err)
	}
	for _, out := range s.list() {
		if text := out.String(); strings.ContainsAny(text, "\x1b\a\u202e\n") || !utf8.ValidString(text) || !strings.Contains(text, `\x1b]0;evil`) {
			t.Errorf("left out: %q; want a quoted name", text)
		}
	}
}

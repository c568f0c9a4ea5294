package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tazzo/tazpod/test/trees"
	"golang.org/x/sys/unix"
)

// capability is the attribute that gives a program CAP_CHOWN (version 2).
var capability = []byte{1, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// A save and an open give the same tree: with something of everything in it,
// 10,000 small files, and one of 200 MB.
func TestSameTree(t *testing.T) {
	p := place(t)
	if err := Create(context.Background(), p, secret(t, "pass"), 320<<20, Cost{}); err != nil {
		t.Fatal(err)
	}
	v := mustOpen(t, p)
	at := func(name string) string { return filepath.Join(v.tree.Name(), name) }
	trees.Fill(t, v.tree.Name(), 100, 1<<20)
	err := errors.Join(
		os.Symlink(strings.Repeat("y", 61), at("link of 61")),
		os.Symlink(strings.Repeat("y/", 2047)+"z", at("link of 4095")),
		unix.Setxattr(at("odd size"), "security.capability", capability, 0),
		unix.Setxattr(at("odd size"), "trusted.large", bytes.Repeat([]byte("large "), 10_000), 0),
		unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0),
		unix.Mknod(at("device"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0))),
		os.MkdirAll(at("nothing/in it"), 0o711),
		os.MkdirAll(at("inherits/sub"), 0o755),
		unix.Setxattr(at("inherits"), "system.posix_acl_default", trees.ACL(trees.Owner), 0),
		os.WriteFile(at("inherits/file"), nil, 0o640),
		thousands(at("thousands"), 100, 100),
		hundreds(at("200 MB")),
	)
	for i, sec := range []int64{-1 << 31, -1, 0, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<34 - 1<<31 - 1} { // 1901 to 2446
		name := at(fmt.Sprintf("many/file number %04d", i))
		when := unix.Timespec{Sec: sec, Nsec: 999_999_999}
		err = errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{when, when}, 0))
	}
	if err != nil {
		t.Fatal(err)
	}
	want := trees.Manifest(t, v.tree.Name())
	start := time.Now()
	mustSave(t, v, true)
	t.Log("save", time.Since(start))
	mustSave(t, v, false)
	info := v.Info()
	if len(info.LeftOut) > 0 || len(info.Notes) != 1 || !strings.HasPrefix(info.Notes[0], "3 devices, sockets or FIFOs") {
		t.Errorf("LeftOut = %q, Notes = %q; want nothing, and one on three special files", info.LeftOut, info.Notes)
	}
	trees.Same(t, trees.Manifest(t, v.tree.Name()), want) // saving changes nothing
	v.Close()
	start = time.Now()
	again := mustOpen(t, p)
	t.Log("open", time.Since(start))
	trees.Same(t, trees.Manifest(t, again.tree.Name()), want)
	if got := again.Info(); got.Seal != SealIntact || len(got.Notes) > 0 {
		t.Errorf("Info() = %+v; want an intact seal and no notes", got)
	}
}

// thousands makes directories with as many small files in each.
func thousands(dir string, dirs, files int) error {
	for d := range dirs {
		sub := filepath.Join(dir, fmt.Sprint(d))
		if err := os.MkdirAll(sub, 0o750); err != nil {
			return err
		}
		for f := range files {
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(f)), fmt.Appendf(nil, "%d in %d", f, d), 0o604); err != nil {
				return err
			}
		}
	}
	return nil
}

// hundreds makes a file of 200 MB, a tenth of it noise and the rest holes: with
// the race detector the cipher is ten times slower.
func hundreds(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	piece := make([]byte, 1_000_000)
	random := rand.NewChaCha8([32]byte{7})
	for i := range int64(20) {
		random.Read(piece)
		if _, err := f.WriteAt(piece, (10*i+9)*int64(len(piece))); err != nil {
			return err
		}
	}
	return nil
}

// A snapshot is the tree: what a default access list gives to new files isn't
// given to their copies, and what a change of owner takes from a file is there.
func TestSnapshotKeepsAttributes(t *testing.T) {
	tree := newTree(t)
	at := func(name string) string { return filepath.Join(tree.Name(), name) }
	trees.Fill(t, tree.Name(), 10, 1<<20)
	if err := errors.Join(
		os.Mkdir(at("inherits"), 0o755),
		os.WriteFile(at("inherits/before"), nil, 0o640),
		unix.Setxattr(at("inherits"), "system.posix_acl_default", trees.ACL(trees.Owner), 0),
		os.WriteFile(at("inherits/file"), nil, 0o640),
		os.Mkdir(at("inherits/sub"), 0o755),
		unix.Setxattr(at("odd size"), "security.capability", capability, 0),
	); err != nil {
		t.Fatal(err)
	}
	want := trees.Manifest(t, tree.Name())
	if strings.Count(want, "system.posix_acl_access") != 4 || !strings.Contains(want, "security.capability") {
		t.Fatalf("the tree is not as it should be:\n%s", want)
	}
	snap, err := takeSnapshot(context.Background(), tree, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	defer snap.wipe()
	trees.Same(t, trees.Manifest(t, snap.at(".")), want)
}

// While programs write all the time, each file of what is saved is some whole
// version of it: one that a rename put there, or the beginning of one that grows.
func TestWholeVersions(t *testing.T) {
	p := copyVault(t, soundVault(t))
	v := mustOpen(t, p)
	at := func(name string) string { return filepath.Join(v.tree.Name(), name) }
	version := func(n int) string { return strings.Repeat(fmt.Sprintf("version %08d\n", n), 1+n%900) }
	var stop atomic.Bool
	var writers sync.WaitGroup
	writer := func(do func(round int) error) {
		writers.Go(func() {
			for round := 0; !stop.Load(); round++ {
				if err := do(round); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Millisecond) // the saves want a processor, too
			}
		})
	}
	for w := range 3 {
		writer(func(round int) error { // as editors do it
			name := fmt.Sprintf("replaced-%d", w)
			return errors.Join(os.WriteFile(at(name+".new"), []byte(version(round)), 0o600), os.Rename(at(name+".new"), at(name)))
		})
	}
	writer(func(round int) error { // as logs grow
		f, err := os.OpenFile(at("appended"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(f, "line %08d\n", round)
		return errors.Join(err, f.Close())
	})
	writer(func(round int) error { // as directories are swapped
		dir := fmt.Sprintf("dir-%d", round%2)
		return errors.Join(os.MkdirAll(at(dir), 0o700), os.WriteFile(at(dir+"/file"), []byte(version(round)), 0o600),
			os.RemoveAll(at("current")), os.Rename(at(dir), at("current")))
	})
	check := func(tree *os.File) {
		t.Helper()
		for w := range 3 {
			name := fmt.Sprintf("replaced-%d", w)
			text := read(t, tree, name)
			var n int
			if _, err := fmt.Sscanf(text, "version %d\n", &n); err != nil || text != version(n) {
				t.Errorf("%s is no version: %d bytes, %.40q …", name, len(text), text)
			}
		}
		for i, line := range strings.SplitAfter(read(t, tree, "appended"), "\n") {
			if line != "" && line != fmt.Sprintf("line %08d\n", i) {
				t.Fatalf("line %d of what grows = %q", i, line)
			}
		}
	}
	deadline := time.Now().Add(2 * time.Minute) // for a slow machine
	for saves := 0; saves < 4; {
		saved, err := v.Save(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d saves in two minutes", saves)
		}
		if !saved {
			continue
		}
		saves++
		content, err := os.ReadFile(vaultPath(p))
		if err != nil {
			t.Fatal(err)
		}
		if saves > 1 { // before the first there may be a writer that has not begun
			check(mustOpen(t, copyVault(t, content)).tree)
		}
	}
	stop.Store(true)
	writers.Wait()
}

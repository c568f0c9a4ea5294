package sys

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/test/need"
)

// ramRoot mounts a new file system in RAM.
func ramRoot(t *testing.T, size int64) *os.File {
	t.Helper()
	need.Root(t)
	mount, _, err := NewRAM(size)
	if err != nil {
		t.Fatal(err)
	}
	defer mount.Close()
	dir := t.TempDir()
	target, err := OpenPath(nil, dir, unix.O_DIRECTORY)
	if err == nil {
		defer target.Close()
		err = Attach(mount, target)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Detach(dir); err != nil {
			t.Error(err)
		}
	})
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// Every way to change a tree is noticed, and looking at it isn't one.
func TestWatch(t *testing.T) {
	root := ramRoot(t, 1<<20)
	at := func(name string) string { return filepath.Join(root.Name(), name) }
	if err := errors.Join(os.Mkdir(at("dir"), 0o700), os.WriteFile(at("dir/file"), []byte("content"), 0o600), os.Mkdir(at("other"), 0o700)); err != nil {
		t.Fatal(err)
	}
	w, err := NewWatch(root)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, c := range []struct {
		what string
		do   func() error
		want bool
	}{
		{"nothing", func() error { return nil }, false},
		{"reading", func() error { _, err := os.ReadFile(at("dir/file")); return err }, false},
		{"listing", func() error { _, err := os.ReadDir(at("dir")); return err }, false},
		{"writing", func() error { return os.WriteFile(at("dir/file"), []byte("changed"), 0o600) }, true},
		{"nothing more", func() error { return nil }, false},
		{"a new file", func() error { f, err := os.Create(at("dir/new")); return errors.Join(err, f.Close()) }, true},
		{"a mode", func() error { return os.Chmod(at("dir/new"), 0o640) }, true},
		{"a time", func() error { return unix.Utimes(at("dir/new"), make([]unix.Timeval, 2)) }, true},
		{"an attribute", func() error { return unix.Setxattr(at("dir/new"), "trusted.a", []byte("b"), 0) }, true},
		{"a length", func() error { return os.Truncate(at("dir/new"), 5000) }, true},
		{"a link", func() error { return os.Link(at("dir/new"), at("link")) }, true},
		{"a symbolic link", func() error { return os.Symlink("x", at("symbolic")) }, true},
		{"a directory", func() error { return os.Mkdir(at("dir/sub"), 0o700) }, true},
		{"a name", func() error { return os.Rename(at("dir/sub"), at("other/sub")) }, true},
		{"an exchange", func() error {
			return unix.Renameat2(unix.AT_FDCWD, at("dir"), unix.AT_FDCWD, at("other"), unix.RENAME_EXCHANGE)
		}, true},
		{"a removal", func() error { return os.Remove(at("link")) }, true},
		{"a removed directory", func() error { return os.Remove(at("dir/sub")) }, true},
		{"more than the kernel keeps", func() error {
			for range 100_000 {
				if err := errors.Join(os.Chmod(at("dir"), 0o700), os.Chmod(at("other"), 0o700)); err != nil {
					return err
				}
			}
			return nil
		}, true},
		{"nothing at the end", func() error { return nil }, false},
	} {
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if got, err := w.Changed(); got != c.want || err != nil {
			t.Errorf("Changed() after %s = %v, %v; want %v", c.what, got, err, c.want)
		}
	}
}

func TestLimitRAM(t *testing.T) {
	root := ramRoot(t, 8<<20)
	fill := func(name string) (size int64) {
		t.Helper()
		f, err := os.Create(filepath.Join(root.Name(), name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil {
			var n int
			n, err = f.Write(make([]byte, 4096))
			size += int64(n)
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		return size
	}
	for _, c := range []struct{ limit, want int64 }{{12 << 20, 12 << 20}, {2 << 20, 2 << 20}} {
		err := os.RemoveAll(filepath.Join(root.Name(), "file"))
		if err == nil {
			err = LimitRAM(root, c.limit, 100)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := fill("file"); got != c.want {
			t.Errorf("with a limit of %d there are %d bytes; want %d", c.limit, got, c.want)
		}
	}
	if err := LimitRAM(root, 4096, 1); err != nil {
		t.Errorf("LimitRAM() below what is in use = %v", err)
	}
	if info, err := os.Stat(filepath.Join(root.Name(), "file")); err != nil || info.Size() != 2<<20 {
		t.Errorf("what was in use is %v, %v", info, err)
	}
	if err := os.Mkdir(filepath.Join(root.Name(), "dir"), 0o700); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("one name more = %v; want %v", err, unix.ENOSPC)
	}
}

package ext4

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/test/need"
	"github.com/tazzo/tazpod/test/trees"
)

// What the tests share: directories in RAM, and images that stock mke2fs makes.

// treeID is the owner of a ghost's files in its tree, diskID in the vault.
const (
	treeID = trees.Owner
	diskID = 1000
)

var ghostIDs = IDMap{Disk: diskID, Tree: treeID}

// ramDir makes a directory on a tmpfs of its own, as a vault's tree is.
func ramDir(t testing.TB) string {
	t.Helper()
	need.Root(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size=1g"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func open(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path string, content []byte, mode os.FileMode) {
	t.Helper()
	must(t, os.WriteFile(path, content, 0o600))
	must(t, unix.Chmod(path, uint32(mode)))
}

// mke2fs makes an image of the given size by the stock program.
func mke2fs(t testing.TB, size int64, tree string, args ...string) *os.File {
	t.Helper()
	need.Command(t, "mke2fs")
	path := filepath.Join(ramDir(t), "image")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	must(t, f.Truncate(size))
	args = append(args, "-q", "-F")
	if tree != "" {
		args = append(args, "-d", tree)
	}
	sh(t, "mke2fs", append(args, path)...)
	return f
}

func sh(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func sizeOf(t testing.TB, f *os.File) int64 {
	t.Helper()
	info, err := f.Stat()
	must(t, err)
	return info.Size()
}

func openFS(t testing.TB, image *os.File) *FS {
	t.Helper()
	fs, err := Open(image, sizeOf(t, image))
	must(t, err)
	return fs
}

// limited is a context that ends a test that hangs.
func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func fdPath(f *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()) }

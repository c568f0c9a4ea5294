package ghost

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/test/need"
)

// ramDir mounts a RAM file system of a type for one test.
func ramDir(t *testing.T, fstype string) string {
	t.Helper()
	need.Root(t)
	dir := t.TempDir()
	target, err := sys.OpenPath(nil, dir, unix.O_DIRECTORY)
	must(t, err)
	mount, err := sys.NewMount(fstype, 0, "mode=0700")
	must(t, err, sys.Attach(mount, target), mount.Close(), target.Close())
	t.Cleanup(func() { must(t, UnmountRAM(dir)) })
	return dir
}

// TestWipe looks at files through descriptors from before: they show the very
// pages that held the data.
func TestWipe(t *testing.T) {
	for _, fstype := range []string{"tmpfs", "ramfs"} {
		t.Run(fstype, func(t *testing.T) {
			dir := ramDir(t, fstype)
			data := bytes.Repeat([]byte("secret!"), 100_000)
			var files []*os.File
			put := func(name string, mode os.FileMode) {
				f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
				must(t, err)
				_, err = f.Write(data)
				must(t, err, f.Chmod(mode))
				files = append(files, f)
			}
			must(t, os.MkdirAll(dir+"/a/b", 0o755), os.Mkdir(dir+"/closed", 0o755))
			put("plain", 0o600)
			put("a/read-only", 0o400)
			put("a/b/nothing", 0)
			put("-rf *\n\xff", 0o600)
			put("closed/file", 0o600)
			must(t, os.Link(dir+"/plain", dir+"/a/link"), os.Chmod(dir+"/closed", 0))
			must(t, unix.Mkfifo(dir+"/pipe", 0o600), unix.Mknod(dir+"/null", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))

			// A link to a file on disk, and one to a directory there.
			outside := t.TempDir()
			must(t, os.WriteFile(outside+"/file", data, 0o600))
			must(t, os.Symlink(outside+"/file", dir+"/to-file"), os.Symlink(outside, dir+"/to-dir"))

			// A sparse file of far more than the machine's memory.
			sparse, err := os.Create(dir + "/sparse")
			must(t, err)
			_, err = sparse.WriteAt(data, 1<<40)
			must(t, err)
			if fstype == "ramfs" { // where finding the data takes a look at every page
				must(t, sparse.Truncate(0), sparse.Truncate(0))
				_, err = sparse.WriteAt(data, 4<<30)
				must(t, err)
			}

			// Bytes behind the end of a file, in its last page.
			tail, err := os.OpenFile(dir+"/tail", os.O_RDWR|os.O_CREATE, 0o600)
			must(t, err)
			_, err = tail.Write([]byte("x"))
			must(t, err)
			page, err := unix.Mmap(int(tail.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			must(t, err)
			copy(page[100:], "secret")

			// So deep that no path reaches the end, and no descriptor limit allows a chain.
			deep, err := os.Open(dir)
			must(t, err)
			for range 3000 {
				must(t, unix.Mkdirat(int(deep.Fd()), "deeper", 0o700))
				fd, err := unix.Openat(int(deep.Fd()), "deeper", unix.O_RDONLY|unix.O_DIRECTORY, 0)
				must(t, err)
				deep.Close()
				deep = os.NewFile(uintptr(fd), "deeper")
			}
			fd, err := unix.Openat(int(deep.Fd()), "bottom", unix.O_RDWR|unix.O_CREAT, 0o600)
			must(t, err)
			bottom := os.NewFile(uintptr(fd), "bottom")
			_, err = bottom.Write(data)
			must(t, err, deep.Close())
			files = append(files, bottom)

			must(t, Wipe(dir))

			for _, f := range files {
				got := make([]byte, len(data)+1)
				n, err := f.ReadAt(got, 0)
				if !errors.Is(err, io.EOF) && n < len(data) {
					t.Errorf("%s: %v", f.Name(), err)
				}
				if n < len(data) || !bytes.Equal(got[:n], make([]byte, n)) {
					t.Errorf("%q has %d bytes, not all zero; want at least %d zeroes", f.Name(), n, len(data))
				}
				f.Close()
			}
			got := make([]byte, len(data))
			offset := int64(1 << 40)
			if fstype == "ramfs" {
				offset = 4 << 30
			}
			_, err = sparse.ReadAt(got, offset)
			must(t, err)
			if !bytes.Equal(got, make([]byte, len(data))) {
				t.Error("the data of a sparse file is still there")
			}
			sparse.Close()
			if !bytes.Equal(page, make([]byte, 4096)) {
				t.Error("bytes behind the end of a file are still there")
			}
			must(t, unix.Munmap(page), tail.Close())
			if left, err := os.ReadFile(outside + "/file"); err != nil || !bytes.Equal(left, data) {
				t.Errorf("a file outside, to which a link led, was changed (%v)", err)
			}
		})
	}
}

// TestWipeStaysInside: what is mounted below isn't the ghost's, and what isn't
// in RAM is never wiped.
func TestWipeStaysInside(t *testing.T) {
	dir := ramDir(t, "tmpfs")
	other := dir + "/other"
	must(t, os.Mkdir(other, 0o755), MountRAM(other, 1<<20), os.WriteFile(other+"/file", []byte("other"), 0o600))
	if err := Wipe(dir); err == nil {
		t.Error("Wipe over a mount = nil; want an error that names it")
	}
	if left, err := os.ReadFile(other + "/file"); err != nil || string(left) != "other" {
		t.Errorf("file on the mount below = %q, %v; want it unchanged", left, err)
	}
	must(t, UnmountRAM(other))
	disk := t.TempDir()
	must(t, os.WriteFile(disk+"/file", []byte("disk"), 0o600))
	if err := Wipe(disk); err == nil {
		t.Error("Wipe of a directory on disk = nil; want a refusal")
	}
	if left, err := os.ReadFile(disk + "/file"); err != nil || string(left) != "disk" {
		t.Errorf("file on disk = %q, %v; want it unchanged", left, err)
	}
	must(t, os.Symlink(dir, disk+"/link"))
	if err := Wipe(disk + "/link"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("Wipe of a symbolic link = %v; want %v", err, unix.ELOOP)
	}
}

// TestGhostWiped: what a ghost wrote, and copied up, is zero afterwards.
func TestGhostWiped(t *testing.T) {
	c := prepare(t)
	g := start(t, c)
	marker := "mark" + "er-of-this-test"
	expect(t, g, "for f in /tmp/a ~/b /dev/shm/c /run/user/1000/d ~/secrets/e; do printf "+marker+" >$f; chmod 0 $f; done", "")
	var files []*os.File
	find := func(root string) {
		must(t, filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
			if err != nil || !info.Mode().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			must(t, err)
			if bytes.Contains(text, []byte(marker)) {
				f, err := os.Open(path)
				must(t, err)
				files = append(files, f)
			}
			return nil
		}))
	}
	find(c.Base)
	find(c.Tree)
	if len(files) != 5 {
		t.Fatalf("found %d files of the ghost in RAM; want 5", len(files))
	}
	must(t, g.Kill(), Wipe(c.Base), Wipe(c.Tree))
	for _, f := range files {
		text, err := io.ReadAll(f)
		must(t, err, f.Close())
		if len(text) < len(marker) || !bytes.Equal(text, make([]byte, len(text))) {
			t.Errorf("%s has %d bytes, not all zero; want at least %d zeroes", f.Name(), len(text), len(marker))
		}
	}
}

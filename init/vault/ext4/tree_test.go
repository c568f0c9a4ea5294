package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/test/need"
)

// What the tests share: trees with everything in them, images made of them by
// stock mke2fs, and a manifest that says all about a tree in lines.

// treeID is the owner of a ghost's files in its tree, diskID in the vault.
const (
	treeID = 71000
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

// acl is a list in the form of system calls that gives a user rwx.
func acl(uid uint32) []byte {
	b := le.AppendUint32(nil, aclCallVersion)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 6, aclNoID}, {aclUser, 7, uid}, {4, 4, aclNoID}, {aclGroup, 5, 5}, {0x10, 7, aclNoID}, {0x20, 4, aclNoID}} {
		b = le.AppendUint16(b, e.tag)
		b = le.AppendUint16(b, e.perm)
		b = le.AppendUint32(b, e.id)
	}
	return b
}

// fillTree makes a file of every kind in dir; many is how many small files are
// in one directory, large how many bytes in one file.
func fillTree(t testing.TB, dir string, many, large int) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	random := rand.NewChaCha8([32]byte{1})
	data := make([]byte, 3<<20)
	random.Read(data)

	write(t, at("empty"), nil, 0o644)
	write(t, at("small"), []byte("hello\n"), 0o600)
	write(t, at("block"), data[:4096], 0o640)
	write(t, at("odd size"), data[:100001], 0o755)
	write(t, at("setuid"), []byte("#!"), 0o4755|os.FileMode(0))
	must(t, unix.Chmod(at("setuid"), 0o6755))
	must(t, os.Mkdir(at("dir"), 0o700))
	must(t, unix.Chmod(at("dir"), 0o3775))
	must(t, os.Link(at("small"), at("dir/hard link")))
	must(t, os.Symlink("small", at("short link")))
	must(t, os.Symlink(strings.Repeat("x/", 100), at("long link")))
	must(t, os.Symlink(strings.Repeat("y", 59), at("link of 59")))
	must(t, os.Symlink(strings.Repeat("y", 60), at("link of 60")))
	must(t, os.Symlink("/etc/passwd", at("absolute link")))
	must(t, os.Symlink("..", at("dir/up")))
	must(t, unix.Mkfifo(at("fifo"), 0o600))
	for i, name := range []string{"ünï ☂", "new\nline", "-rf *", "back\\slash", "\xff\xfe not UTF-8", strings.Repeat("n", 255), "...", ". ", `"quoted"`} {
		write(t, at(name), fmt.Appendf(nil, "%d", i), 0o600)
	}
	deep := at("deep")
	for range 40 {
		must(t, os.Mkdir(deep, 0o755))
		deep += "/d"
	}

	sparse, err := os.Create(at("sparse"))
	must(t, err)
	_, err = sparse.WriteAt([]byte("middle"), 5<<20)
	must(t, err)
	_, err = sparse.WriteAt([]byte("more"), 900<<20)
	must(t, err)
	must(t, sparse.Truncate(3<<30))
	must(t, sparse.Close())
	checker, err := os.Create(at("every other block")) // more extents than an inode holds
	must(t, err)
	for i := range 400 {
		_, err = checker.WriteAt(data[:4096], int64(i)*8192)
		must(t, err)
	}
	must(t, checker.Close())

	must(t, unix.Setxattr(at("small"), "user.note", []byte("value"), 0))
	must(t, unix.Setxattr(at("small"), "user.empty", nil, 0))
	must(t, unix.Setxattr(at("dir"), "user.long", data[:900], 0))
	must(t, unix.Setxattr(at("block"), "security.tazpod", data[:40], 0))
	must(t, unix.Lsetxattr(at("short link"), "trusted.link", []byte("on a link"), 0))
	must(t, unix.Setxattr(at("empty"), "system.posix_acl_access", acl(treeID), 0))
	must(t, unix.Setxattr(at("dir"), "system.posix_acl_default", acl(treeID), 0))
	must(t, unix.Setxattr(at("block"), "system.posix_acl_access", acl(4242), 0))
	must(t, unix.Setxattr(dir, "user.root", []byte("of the root"), 0))

	for _, name := range []string{".", "small", "dir", "empty", "short link", "sparse", "deep"} {
		must(t, os.Lchown(at(name), treeID, treeID))
	}
	must(t, os.Lchown(at("block"), 123456, 70000))
	must(t, os.Mkdir(at("many"), 0o755))
	for i := range many {
		write(t, at(fmt.Sprintf("many/file number %04d", i)), data[i:i+500], 0o600)
	}
	write(t, at("large"), bytes.Repeat(data, 10)[:large], 0o600)
	for name, when := range map[string]unix.Timespec{
		"small": {Sec: 1_700_000_000, Nsec: 123_456_789}, "empty": {Sec: -1_000_000_000, Nsec: 1}, "dir": {Sec: 5_000_000_000, Nsec: 999_999_999},
		"short link": {Sec: 1_600_000_000, Nsec: 5}, "block": {Sec: 1 << 33, Nsec: 77}, "sparse": {Sec: 1 << 40}, ".": {Sec: 1_650_000_000, Nsec: 42},
	} {
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, at(name), []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW))
	}
	must(t, unix.Chmod(dir, 0o750))
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, dir, []unix.Timespec{{Sec: 1, Nsec: 2}, {Sec: 1_650_000_000, Nsec: 42}}, 0))
}

// manifest describes every entry below dir but special files and an empty
// lost+found, in lines, with nothing left out that Extract promises to keep.
func manifest(t testing.TB, dir string) string {
	t.Helper()
	var out strings.Builder
	first := map[uint64]string{}
	must(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if special(st.Mode) {
			return nil
		}
		if name == LostAndFound {
			if left, _ := os.ReadDir(path); len(left) == 0 {
				return filepath.SkipDir
			}
		}
		when := clampStamp(st.Mtim)
		fmt.Fprintf(&out, "%q %#o %d:%d %d.%09d", name, st.Mode, st.Uid, st.Gid, when.sec, when.nsec)
		d := folder{open(t, filepath.Dir(path)), ""}
		attrs, err := d.xattrs(filepath.Base(path))
		if err != nil {
			return err
		}
		for _, a := range attrs {
			fmt.Fprintf(&out, " %s=%x", a.name, a.value)
		}
		if !info.IsDir() {
			if old, ok := first[st.Ino]; ok && st.Nlink > 1 {
				fmt.Fprintf(&out, " link to %q", old)
			}
			first[st.Ino] = name
			fmt.Fprintf(&out, " %d", st.Size)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			target, _ := os.Readlink(path)
			fmt.Fprintf(&out, " -> %q", target)
		case unix.S_IFREG:
			fmt.Fprintf(&out, " %s", digest(t, path))
		}
		out.WriteByte('\n')
		d.Close()
		return nil
	}))
	return out.String()
}

// digest describes where a file's bytes that are not zero lie, and what they are.
func digest(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	sum, buffer, at := uint32(0), make([]byte, 4096), int64(0)
	for {
		data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return fmt.Sprintf("%08x", sum)
		}
		must(t, err)
		at = data - data%4096
		n, _ := f.ReadAt(buffer, at)
		if n > 0 && len(bytes.TrimLeft(buffer[:n], "\x00")) > 0 {
			sum = crc(sum, fmt.Appendf(nil, "%d", at))
			sum = crc(sum, bytes.TrimRight(buffer[:n], "\x00"))
		}
		at += 4096
	}
}

// sameTree compares manifests line by line.
func sameTree(t testing.TB, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			t.Fatalf("line %d of the tree =\n%.300s\nwant\n%.300s", i+1, a, b)
		}
	}
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

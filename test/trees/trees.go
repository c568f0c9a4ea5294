// Package trees makes directories with something of everything that a file system
// keeps, and describes them, so that what comes out of a vault can be compared
// with what went in.
package trees

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Owner is whose some of the files are.
const Owner = 71000

var le = binary.LittleEndian

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

// Fill makes a file of every kind in dir; many is how many small files are
// in one directory, large how many bytes in one file.
func Fill(t testing.TB, dir string, many, large int) {
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
	must(t, unix.Setxattr(at("empty"), "system.posix_acl_access", ACL(Owner), 0))
	must(t, unix.Setxattr(at("dir"), "system.posix_acl_default", ACL(Owner), 0))
	must(t, unix.Setxattr(at("block"), "system.posix_acl_access", ACL(4242), 0))
	must(t, unix.Setxattr(dir, "user.root", []byte("of the root"), 0))

	for _, name := range []string{".", "small", "dir", "empty", "short link", "sparse", "deep"} {
		must(t, os.Lchown(at(name), Owner, Owner))
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

// ACL is an access list in the form of system calls that gives a user rwx.
func ACL(uid uint32) []byte {
	const user, group, noID = 0x02, 0x08, 0xFFFFFFFF
	b := le.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 6, noID}, {user, 7, uid}, {4, 4, noID}, {group, 5, 5}, {0x10, 7, noID}, {0x20, 4, noID}} {
		b = le.AppendUint16(b, e.tag)
		b = le.AppendUint16(b, e.perm)
		b = le.AppendUint32(b, e.id)
	}
	return b
}

// Manifest describes every entry below dir in lines, with nothing left out that a
// vault promises to keep. Special files are not in it, and an empty lost+found.
func Manifest(t testing.TB, dir string) string {
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
		if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFDIR && kind != unix.S_IFREG && kind != unix.S_IFLNK {
			return nil
		}
		if name == "lost+found" {
			if left, _ := os.ReadDir(path); len(left) == 0 {
				return filepath.SkipDir
			}
		}
		when := inRange(st.Mtim)
		fmt.Fprintf(&out, "%q %#o %d:%d %d.%09d", name, st.Mode, st.Uid, st.Gid, when.Sec, when.Nsec)
		attributes(t, &out, path)
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
		return nil
	}))
	return out.String()
}

// attributes describes the extended attributes of a file, without those that an
// ext4 has no names for.
func attributes(t testing.TB, out *strings.Builder, path string) {
	t.Helper()
	list, value := make([]byte, 64<<10), make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if err == unix.ENOTSUP {
		return
	}
	must(t, err)
	names := strings.FieldsFunc(string(list[:n]), func(r rune) bool { return r == 0 })
	slices.Sort(names)
	for _, name := range names {
		n, err := unix.Lgetxattr(path, name, value)
		must(t, err)
		fmt.Fprintf(out, " %s=%x", name, value[:n])
	}
}

// inRange brings a time into ext4's range, 1901 to 2446, as the kernel does.
func inRange(t unix.Timespec) unix.Timespec {
	const first, last = -1 << 31, 1<<34 - 1<<31 - 1
	if t.Sec < first || t.Sec > last {
		return unix.Timespec{Sec: min(max(t.Sec, first), last)}
	}
	return t
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

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
			sum = crc32.Update(sum, castagnoli, fmt.Appendf(nil, "%d", at))
			sum = crc32.Update(sum, castagnoli, bytes.TrimRight(buffer[:n], "\x00"))
		}
		at += 4096
	}
}

// Same compares manifests line by line.
func Same(t testing.TB, got, want string) {
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

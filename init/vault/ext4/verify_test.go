package ext4

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tazzo/tazpod/test/trees"
	"golang.org/x/sys/unix"
)

// flip changes one bit of the byte at off.
func flip(t testing.TB, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	var b [1]byte
	f.ReadAt(b[:], off) // beyond the end of the data it is zero
	b[0] ^= 1
	_, err = f.WriteAt(b[:], off)
	must(t, err)
}

// TestVerifySees changes one thing in a tree that equals the image.
func TestVerifySees(t *testing.T) {
	from := ramDir(t)
	trees.Fill(t, from, 20, 1<<20)
	image, err := Build(limited(t), open(t, from), 64<<20, ghostIDs)
	must(t, err)
	defer image.Close()
	for _, c := range []struct {
		path, what string
		change     func(t *testing.T, path string)
	}{
		{"large", "content", func(t *testing.T, path string) { flip(t, path, 700_000) }},
		{"large", "content", func(t *testing.T, path string) { flip(t, path, 1<<20-1) }},
		{"sparse", "content", func(t *testing.T, path string) { flip(t, path, 0) }},
		{"sparse", "content", func(t *testing.T, path string) { flip(t, path, 700<<20) }},
		{"sparse", "content", func(t *testing.T, path string) { flip(t, path, 3<<30-1) }},
		{"sparse", "size", func(t *testing.T, path string) { must(t, os.Truncate(path, 3<<30+1)) }},
		{"block", "mode", func(t *testing.T, path string) { must(t, os.Chmod(path, 0o600)) }},
		{".", "mode", func(t *testing.T, path string) { must(t, os.Chmod(path, 0o751)) }},
		{"many", "mode", func(t *testing.T, path string) {
			must(t, os.RemoveAll(path))
			write(t, path, nil, 0o755)
		}},
		{"short link", "owner", func(t *testing.T, path string) { must(t, os.Lchown(path, 0, treeID)) }},
		{"block", "owner", func(t *testing.T, path string) { must(t, os.Lchown(path, 123456, 70001)) }},
		{"link of 59", "target", func(t *testing.T, path string) {
			must(t, os.Remove(path))
			must(t, os.Symlink(strings.Repeat("z", 59), path))
		}},
		{"many/new", "only in the tree", func(t *testing.T, path string) { write(t, path, nil, 0o600) }},
		{"zzz", "only in the tree", func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }},
		{"deep/d/d", "only in the image", func(t *testing.T, path string) { must(t, os.RemoveAll(path)) }},
		{"dir", "attributes", func(t *testing.T, path string) { must(t, unix.Setxattr(path, "user.new", nil, 0)) }},
		{"dir/hard link", "attributes", func(t *testing.T, path string) { must(t, unix.Removexattr(path, "user.empty")) }},
		{".", "attributes", func(t *testing.T, path string) { must(t, unix.Setxattr(path, "user.root", []byte("x"), 0)) }},
		{"small", "hard links", func(t *testing.T, path string) {
			must(t, os.Remove(path))
			write(t, path, []byte("hello\n"), 0o600)
			must(t, os.Lchown(path, treeID, treeID))
			must(t, unix.Setxattr(path, "user.note", []byte("value"), 0))
			must(t, unix.Setxattr(path, "user.empty", nil, 0))
		}},
		{"block", "modification time", nil},
		{"dir/up", "modification time", nil},
		{".", "modification time", nil},
	} {
		t.Run(c.path+" "+c.what, func(t *testing.T) {
			to := ramDir(t)
			tree := open(t, to)
			_, err := openFS(t, image).Extract(limited(t), tree, ghostIDs)
			must(t, err)
			path := filepath.Join(to, c.path)
			if c.change == nil {
				var st unix.Stat_t
				must(t, unix.Lstat(path, &st))
				st.Mtim.Nsec++
				must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW))
			} else {
				keepTimes(t, to, func() { c.change(t, path) })
			}
			err = openFS(t, image).Verify(limited(t), tree, ghostIDs)
			var diff *DiffError
			if !errors.As(err, &diff) || diff.What != c.what || c.what != "hard links" && diff.Path != c.path {
				t.Errorf("Verify after a change of %s = %v; want %s", c.path, err, c.what)
			}
		})
	}
}

// keepTimes restores every time below dir that a change moved.
func keepTimes(t testing.TB, dir string, change func()) {
	t.Helper()
	times := map[string][]unix.Timespec{}
	must(t, filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		times[path] = []unix.Timespec{st.Atim, st.Mtim}
		return err
	}))
	change()
	for path, ts := range times {
		err := unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			t.Fatal(err)
		}
	}
}

// TestLostAndFound keeps what e2fsck found, and nothing else.
func TestLostAndFound(t *testing.T) {
	from, to := ramDir(t), ramDir(t)
	must(t, os.Mkdir(filepath.Join(from, LostAndFound), 0o700))
	write(t, filepath.Join(from, LostAndFound, "#12"), []byte("found"), 0o600)
	tree := open(t, from)
	image, err := Build(limited(t), tree, 16<<20, IDMap{})
	must(t, err)
	defer image.Close()
	must(t, openFS(t, image).Verify(limited(t), tree, IDMap{}))
	_, err = openFS(t, image).Extract(limited(t), open(t, to), IDMap{})
	must(t, err)
	trees.Same(t, trees.Manifest(t, to), trees.Manifest(t, from))

	must(t, os.Remove(filepath.Join(from, LostAndFound, "#12")))
	empty, err := Build(limited(t), tree, 16<<20, IDMap{})
	must(t, err)
	defer empty.Close()
	must(t, openFS(t, empty).Verify(limited(t), tree, IDMap{}))
	stats, err := openFS(t, empty).Extract(limited(t), open(t, ramDir(t)), IDMap{})
	if err != nil || stats.Dirs != 1 {
		t.Errorf("Extract of an empty tree = %+v, %v; want one directory", stats, err)
	}
}

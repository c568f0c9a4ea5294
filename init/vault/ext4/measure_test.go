package ext4

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/test/need"
)

// TestBuildSparse measures data, not lengths, and names what can't be held.
func TestBuildSparse(t *testing.T) {
	dir := ramDir(t)
	path := filepath.Join(dir, "sparse")
	write(t, path, []byte("data"), 0o600)
	for _, c := range []struct {
		size int64
		want error
	}{{4 << 40, nil}, {MaxFile, nil}, {MaxFile + 1, ErrTooLong}, {1<<63 - 4096, ErrTooLong}} {
		must(t, os.Truncate(path, c.size))
		tree := open(t, dir)
		image, err := Build(limited(t), tree, 32<<20, ghostIDs)
		if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), `"sparse"`) {
			t.Errorf("Build with a file of %d bytes = %v; want %v and its name", c.size, err, c.want)
		}
		if err == nil {
			must(t, openFS(t, image).Verify(limited(t), tree, ghostIDs))
			must(t, image.Close())
		}
	}
}

// TestBuildFromRAMFS refuses holes that mke2fs would fill with memory.
func TestBuildFromRAMFS(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	must(t, unix.Mount("ramfs", dir, "ramfs", 0, "mode=0755"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	path := filepath.Join(dir, "sparse")
	write(t, path, []byte("data"), 0o600)
	must(t, os.Truncate(path, 40<<20))
	if image, err := Build(limited(t), open(t, dir), 32<<20, ghostIDs); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), `"sparse"`) {
		t.Errorf("Build = %v, %v; want %v and the name", image, err, ErrFull)
	}
	must(t, os.Truncate(path, 16<<20))
	image, err := Build(limited(t), open(t, dir), 32<<20, ghostIDs)
	must(t, err)
	must(t, image.Close())
}

// TestPatience follows names as well as bytes, whatever has how many.
func TestPatience(t *testing.T) {
	dir := ramDir(t)
	write(t, filepath.Join(dir, "file"), []byte("data"), 0o600)
	const links = 1000
	for i := range links {
		must(t, os.Link(filepath.Join(dir, "file"), filepath.Join(dir, fmt.Sprint(i))))
	}
	got, err := measure(limited(t), open(t, dir), 32<<20)
	if err != nil || got.names != links+1 || got.inodes != 2 {
		t.Errorf("measure() = %+v, %v; want %d names and 2 inodes", got, err, links+1)
	}
	for _, s := range []size{got, {inodes: 200_000, names: 200_000}} {
		if least := time.Duration(s.names) * 6 * time.Millisecond; s.patience() < least+patience {
			t.Errorf("patience() of %+v = %v; want at least %v", s, s.patience(), least+patience)
		}
	}
}

// TestErrorsQuoteNames keeps what a name holds off people's terminals.
func TestErrorsQuoteNames(t *testing.T) {
	const evil = "\x1b[2J\u202e\xff"
	d := folder{path: evil}
	for _, err := range []error{
		&DiffError{Path: evil, What: "mode"},
		within(evil, ErrCorrupt),
		d.fail("open", evil, unix.ENOENT),
		errors.New(lastLine("first\nmke2fs: " + evil + " 1")),
	} {
		if strings.ContainsAny(err.Error(), "\x1b\u202e") || !utf8.ValidString(err.Error()) {
			t.Errorf("%q isn't printable", err)
		}
	}
}

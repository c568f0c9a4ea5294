package vault

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExport(t *testing.T) {
	tree := newTree(t)
	write(t, tree, "dir/file", "content")
	write(t, tree, strings.Repeat("long/", 40)+"ü", "x")
	at := tree.Name() + "/"
	if err := errors.Join(os.Symlink("dir/file", at+"link"), os.Link(at+"dir/file", at+"hard"), unix.Mkfifo(at+"fifo", 0o600), os.Chmod(at+"dir/file", 0o640)); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Export(context.Background(), tree, &out); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, _ := io.ReadAll(r)
		got[h.Name] = fmt.Sprintf("%c %o %s %s", h.Typeflag, h.Mode, h.Linkname, content)
	}
	for name, want := range map[string]string{
		"dir/": "5 700  ", "dir/file": "0 640  content", "hard": "1 640 dir/file ", "link": "2 777 dir/file ",
		strings.Repeat("long/", 40) + "ü": "0 600  x", "fifo": "",
	} {
		if got[name] != want {
			t.Errorf("%s is exported as %q; want %q", name, got[name], want)
		}
	}
}

// TestExportOfHoles: a file that claims terabytes fills no disk.
func TestExportOfHoles(t *testing.T) {
	tree := newTree(t)
	write(t, tree, "huge", "x")
	if err := os.Truncate(tree.Name()+"/huge", 15<<40); err != nil {
		t.Fatal(err)
	}
	if err := Export(context.Background(), tree, io.Discard); !errors.Is(err, ErrHoles) || Hint(err) == "" {
		t.Errorf("Export() = %v; want %v and a hint", err, ErrHoles)
	}
}

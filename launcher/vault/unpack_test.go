package vault

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func archive(t *testing.T, entries ...tar.Header) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		content := h.Uname
		h.Uname, h.Size = "", int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// file is a regular file; its content travels in a field that has no other use.
func file(name, content string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Uname: content, Mode: mode, ModTime: time.Unix(1000, 0)}
}

func TestUnpack(t *testing.T) {
	dir := t.TempDir()
	root, err := emptyDir(filepath.Join(dir, "new"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	err = unpack(root, archive(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o500, ModTime: time.Unix(2000, 0)},
		file("d/f", "content", 0o4755),
		tar.Header{Typeflag: tar.TypeLink, Name: "hard", Linkname: "d/f"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "d/out", Linkname: "/etc/passwd"},
	))
	if err != nil {
		t.Fatal(err)
	}
	info, err := root.Stat("hard")
	if err != nil || info.Mode() != 0o755 || !info.ModTime().Equal(time.Unix(1000, 0)) {
		t.Errorf("hard is %v, %v; want mode 0755 and its time", info, err)
	}
	if info, err := root.Stat("d"); err != nil || info.Mode().Perm() != 0o500 || !info.ModTime().Equal(time.Unix(2000, 0)) {
		t.Errorf("d is %v, %v; want mode 0500 and its time", info, err)
	}
	if err := emptied(root); err != nil {
		t.Error(err)
	}
	if left, _ := fs.ReadDir(root.FS(), "."); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// TestUnpackStaysInside: the pod is trusted with secrets, not with this machine.
func TestUnpackStaysInside(t *testing.T) {
	for name, entries := range map[string][]tar.Header{
		"absolute":            {file("/tmp/unpacked", "x", 0o600)},
		"above":               {file("../out", "x", 0o600)},
		"through a link":      {{Typeflag: tar.TypeSymlink, Name: "l", Linkname: ".."}, file("l/out", "x", 0o600)},
		"over a link":         {{Typeflag: tar.TypeSymlink, Name: "out", Linkname: "../out"}, file("out", "x", 0o600)},
		"hard link to above":  {{Typeflag: tar.TypeLink, Name: "out", Linkname: "../secret"}},
		"device":              {{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}},
		"twice the same file": {file("f", "x", 0o600), file("f", "y", 0o600)},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "secret"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		root, err := emptyDir(filepath.Join(dir, "in"))
		if err != nil {
			t.Fatal(err)
		}
		if err := unpack(root, archive(t, entries...)); err == nil {
			t.Errorf("%s: unpacked", name)
		}
		root.Close()
		if _, err := os.Lstat(filepath.Join(dir, "out")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a file outside, %v", name, err)
		}
	}
}

func TestEmptyDir(t *testing.T) {
	dir := t.TempDir()
	if root, err := emptyDir(dir); err != nil {
		t.Errorf("emptyDir() of an empty one = %v", err)
	} else {
		root.Close()
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var usage *UsageError
	for _, path := range []string{dir, filepath.Join(dir, "f")} {
		if _, err := emptyDir(path); !errors.As(err, &usage) {
			t.Errorf("emptyDir(%s) = %v; want a UsageError", path, err)
		}
	}
}

func TestNewFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backup")
	broken := errors.New("broken")
	if err := newFile(path, func(*os.File) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("newFile() = %v; want %v", err, broken)
	}
	write := func(f *os.File) error {
		w := &sparse{file: f}
		for _, p := range [][]byte{make([]byte, 1<<20), []byte("end"), make([]byte, 5000)} {
			if _, err := w.Write(p); err != nil {
				return err
			}
		}
		return f.Truncate(w.size)
	}
	if err := newFile(path, write); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	want := append(append(make([]byte, 1<<20), "end"...), make([]byte, 5000)...)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file has %d bytes, %v; want %d", len(got), err, len(want))
	}
	var usage *UsageError
	if err := newFile(path, write); !errors.As(err, &usage) {
		t.Errorf("newFile() of a file that exists = %v; want a UsageError", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("%v are left; want the file alone", left)
	}
}

package tree

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tazzo/tazpod/test/need"
)

// example is a project with links out of it and within it.
func example(t *testing.T) (dir string, at *Tree) {
	t.Helper()
	outside := t.TempDir()
	dir = t.TempDir()
	for _, path := range []string{filepath.Join(outside, "id_ed25519"), filepath.Join(dir, "a/b/file"), filepath.Join(dir, "top")} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("content"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"out": outside, "outfile": filepath.Join(outside, "id_ed25519"), "within": "a", "a/up": "..", "dangling": "none", "withinfile": "top",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	at, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { at.Close() })
	return dir, at
}

func TestFile(t *testing.T) {
	_, at := example(t)
	for name, want := range map[string]error{
		"top": nil, "a/b/file": nil, "./a//b/file": nil,
		"outfile": ErrLink, "out/id_ed25519": ErrLink, "within/b/file": ErrLink, "withinfile": ErrLink, "dangling": ErrLink,
		"a/up/top": ErrLink, "fifo": ErrSpecial, "a": ErrSpecial, "none": os.ErrNotExist, "top/x": syscall.ENOTDIR,
	} {
		data, err := at.Read(name, 100)
		if !errors.Is(err, want) || want == nil && string(data) != "content" {
			t.Errorf("Read(%s) = %q, %v; want %v", name, data, err, want)
		}
	}
	if _, err := at.Read("../"+filepath.Base(at.path)+"/top", 100); err == nil {
		t.Error("Read() goes up and down again; want no way up")
	}
	if _, err := at.Read("top", 3); err == nil {
		t.Error("Read(7 bytes, at most 3) succeeds")
	}
}

func TestMake(t *testing.T) {
	dir, at := example(t)
	for name, want := range map[string]error{
		"new/deep": nil, "a/b": nil, "out/x": ErrLink, "within/x": ErrLink, "top": syscall.ENOTDIR, "dangling": ErrLink,
	} {
		made, err := at.Make(name, 0o700)
		if !errors.Is(err, want) {
			t.Errorf("Make(%s) = %v; want %v", name, err, want)
		}
		if err == nil {
			made.Close()
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "new/deep")); err != nil || !info.IsDir() {
		t.Errorf("Make() made %v, %v; want a directory", info, err)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "out")); err != nil || len(entries) != 1 {
		t.Errorf("outside are %v, %v; want nothing new", entries, err)
	}
}

func TestMakeKeepsTheOwner(t *testing.T) {
	need.Root(t)
	dir, at := example(t)
	if err := os.Chown(dir, 1234, 4321); err != nil {
		t.Fatal(err)
	}
	made, err := at.Make("new/deep", 0o700)
	if err != nil {
		t.Fatal(err)
	}
	made.Close()
	for _, name := range []string{"new", "new/deep"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 1234 || st.Gid != 4321 || info.Mode().Perm() != 0o700 {
			t.Errorf("%s is %d:%d, %v; want the project's owner and 0700", name, st.Uid, st.Gid, info.Mode())
		}
	}
}

// TestSwap has a program swap a directory and a link to somewhere else while it
// is read: whatever is read is the project's.
func TestSwap(t *testing.T) {
	dir, at := example(t)
	if err := os.WriteFile(filepath.Join(dir, "out", "file"), []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	one, two := filepath.Join(dir, "a/b"), filepath.Join(dir, "a/c")
	if err := os.Symlink("../out", two); err != nil {
		t.Fatal(err)
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			default:
				_ = os.Rename(one, one+"-") // what fails is tried again
				_ = os.Rename(two, one)
				_ = os.Rename(one, two)
				_ = os.Rename(one+"-", one)
			}
		}
	}()
	read := 0
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		data, err := at.Read("a/b/file", 100)
		if err == nil && string(data) != "content" {
			t.Fatalf("Read() = %q; want the project's file or an error", data)
		}
		if err == nil {
			read++
		}
	}
	close(quit)
	<-done
	if read == 0 {
		t.Error("nothing was ever read: the test shows nothing")
	}
}

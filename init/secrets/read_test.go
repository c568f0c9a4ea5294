package secrets

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/test/need"
)

func TestRead(t *testing.T) {
	need.Root(t)
	bin := t.TempDir()
	executable = filepath.Join(bin, "reader")
	build := exec.Command("go", "build", "-trimpath", "-o", executable, "./testdata/reader")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err = errors.Join(err, os.Chmod(bin, 0o755), os.Chmod(filepath.Dir(bin), 0o755)); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dir := t.TempDir()
	file := dir + "/secrets.yml"
	read := func(want int, says string) {
		t.Helper()
		list, err := Read(t.Context(), dir)
		if len(list) != want || (err != nil) != (says != "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("Read() = %v, %v; want %d entries, %q", list, err, want, says)
		}
	}
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	read(0, "")
	put(example)
	read(4, "")
	put("secrets: {")
	read(0, "secrets.yml:")
	put(strings.Repeat("#", maxFile+1))
	read(0, "not a file of up to 64 KiB")
	for what, plant := range map[string]func() error{
		"a link":        func() error { return os.Symlink("/etc/passwd", file) },
		"a pipe":        func() error { return unix.Mkfifo(file, 0o666) },
		"a directory":   func() error { return os.Mkdir(file, 0o755) },
		"a void socket": func() error { return unix.Mknod(file, unix.S_IFSOCK|0o666, 0) },
	} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := plant(); err != nil {
			t.Fatal(err)
		}
		if list, err := Read(t.Context(), dir); err == nil {
			t.Errorf("Read() of %s = %v; want an error", what, list)
		}
	}
}

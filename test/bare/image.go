package bare

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/tazzo/tazpod/test/need"
)

var exported struct {
	once sync.Once
	dir  string
	err  error
}

// Image returns a directory with the root file system of tazpod/base, as an
// engine has it. It is the same for all tests of a run: TestMain must call
// RemoveImage.
func Image(t testing.TB) string {
	t.Helper()
	need.Root(t)
	need.Docker(t)
	need.Command(t, "docker", "tar", "runc")
	exported.once.Do(func() { exported.dir, exported.err = export("tazpod/base") })
	if exported.err != nil {
		t.Fatal(exported.err)
	}
	return exported.dir
}

// RemoveImage removes what Image made, if it did.
func RemoveImage() error { return os.RemoveAll(exported.dir) }

func export(image string) (dir string, err error) {
	out, err := exec.Command("docker", "create", image).CombinedOutput()
	id := strings.TrimSpace(string(out))
	if err != nil {
		return "", fmt.Errorf("docker create %s: %w: %s: run tazpod build base first", image, err, id)
	}
	defer exec.Command("docker", "rm", id).Run()
	if dir, err = os.MkdirTemp("", "tazpod-image-"); err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return dir, err
	}
	read := exec.Command("docker", "export", id)
	write := exec.Command("tar", "--extract", "--directory", dir)
	var said strings.Builder
	read.Stderr, write.Stderr = &said, &said
	if write.Stdin, err = read.StdoutPipe(); err != nil {
		return dir, err
	}
	if err := write.Start(); err != nil {
		return dir, err
	}
	readErr, writeErr := read.Run(), write.Wait()
	if readErr != nil || writeErr != nil {
		return dir, fmt.Errorf("docker export %s: %v, tar: %v: %s", image, readErr, writeErr, said.String())
	}
	return dir, nil
}

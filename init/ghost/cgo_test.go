//go:build cgo

package ghost

import (
	"os"
	"os/exec"
	"path/filepath"
)

func init() {
	buildRoles = func() (remove func(), err error) {
		dir, err := os.MkdirTemp("", "roles")
		if err != nil {
			return nil, err
		}
		executable = filepath.Join(dir, "roles")
		build := exec.Command("go", "build", "-o", executable, "./testdata/roles")
		build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
		return func() { os.RemoveAll(dir) }, build.Run()
	}
}

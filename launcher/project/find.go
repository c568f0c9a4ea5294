package project

import (
	"errors"
	"os"
	"path/filepath"
)

// File is where a project's settings are, relative to its directory.
const File = ".tazpod/config.yaml"

// ErrNone is returned where there is no project.
var ErrNone = errors.New("no " + File + " here or in a directory above")

// Find returns the directory of the project that dir is in: the nearest one
// upwards that holds File, with symbolic links resolved, so that a project has
// one path only. A link to a file in its place is found too: reading it tells what
// is wrong with that.
func Find(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	for {
		info, err := os.Stat(filepath.Join(dir, File))
		switch {
		case err == nil && info.Mode().IsRegular():
			return dir, nil
		case err != nil && !errors.Is(err, os.ErrNotExist) && !isNotDir(err):
			return "", err
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", ErrNone
		}
		dir = parent
	}
}

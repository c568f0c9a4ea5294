package project

import (
	_ "embed"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

//go:embed config.yaml
var configTemplate string

//go:embed secrets.yml
var secretsTemplate string

const ignoreTemplate = `# The vault is encrypted, but every save is a new large file: keep it out of git.
/vault/
`

// Written is what Init did with one file.
type Written struct {
	Path string // relative to the project
	Kept bool   // it was there already and is untouched
}

// Init makes a project of dir. It never changes a file that is there.
func Init(dir, image string) ([]Written, error) {
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(File)), 0o755); err != nil {
		return nil, err
	}
	var done []Written
	for _, f := range []struct{ path, content string }{
		{File, strings.Replace(configTemplate, "IMAGE", image, 1)},
		{"secrets.yml", secretsTemplate},
		{".tazpod/.gitignore", ignoreTemplate},
	} {
		kept, err := write(filepath.Join(dir, f.path), f.content)
		if err != nil {
			return done, err
		}
		done = append(done, Written{f.path, kept})
	}
	return done, nil
}

// write makes a new file; kept is set if there is one (or anything else) at
// path. A dangling symbolic link there isn't followed.
func write(path, content string) (kept bool, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	_, err = f.WriteString(content)
	return false, errors.Join(err, f.Close())
}

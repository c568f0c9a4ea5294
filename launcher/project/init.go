package project

import (
	_ "embed"
	"path/filepath"
	"strings"

	"github.com/tazzo/tazpod/launcher/tree"
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
	t, err := tree.Open(dir)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	settings, err := t.Make(filepath.Dir(File), 0o755)
	if err != nil {
		return nil, err
	}
	defer settings.Close()
	var done []Written
	for _, f := range []struct {
		path    string
		in      *tree.Tree
		content string
	}{
		{File, settings, strings.Replace(configTemplate, "IMAGE", image, 1)},
		{"secrets.yml", t, secretsTemplate},
		{".tazpod/.gitignore", settings, ignoreTemplate},
	} {
		kept, err := f.in.Write(filepath.Base(f.path), f.content)
		if err != nil {
			return done, err
		}
		done = append(done, Written{f.path, kept})
	}
	return done, nil
}

package image

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/tazzo/tazpod/launcher/tree"
)

const maxIgnore = 1 << 20 // bytes

// ignored reads the .dockerignore of a context and returns what it leaves out.
// The vault and git's directory are always left out: the one is large, the
// other holds what its user may think is not in the image.
func ignored(files *tree.Tree, vault string) (func(name string) bool, error) {
	type rule struct {
		pattern string
		keep    bool
	}
	var rules []rule
	text, err := files.Read(".dockerignore", maxIgnore)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		keep := strings.HasPrefix(line, "!")
		pattern := strings.TrimPrefix(path.Clean("/"+strings.TrimPrefix(line, "!")), "/")
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("%s: pattern %q: %w", files.Path(".dockerignore"), line, err)
		}
		rules = append(rules, rule{pattern, keep})
	}
	return func(name string) bool {
		name = filepath.ToSlash(name)
		if name == ".git" || name == filepath.ToSlash(vault) {
			return true
		}
		out := false
		for _, r := range rules {
			if covers(r.pattern, name) {
				out = !r.keep
			}
		}
		return out
	}, nil
}

// covers tells whether a pattern names a path or a directory above it. ** stands
// for any number of directories, as in Docker's documentation.
func covers(pattern, name string) bool {
	return match(strings.Split(pattern, "/"), strings.Split(name, "/"))
}

func match(pattern, name []string) bool {
	switch {
	case len(pattern) == 0:
		return true // what is below a match is covered too
	case pattern[0] == "**":
		for i := range len(name) + 1 {
			if match(pattern[1:], name[i:]) && (len(pattern) > 1 || i < len(name)) {
				return true
			}
		}
		return false
	case len(name) == 0:
		return false
	}
	ok, err := path.Match(pattern[0], name[0])
	return err == nil && ok && match(pattern[1:], name[1:])
}

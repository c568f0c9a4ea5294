package image

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// ignored reads the .dockerignore of a context and returns what it leaves out.
// The vault and git's directory are always left out: the one is large, the
// other holds what its user may think is not in the image.
func ignored(root, vault string) (func(name string) bool, error) {
	type rule struct {
		pattern string
		keep    bool
	}
	var rules []rule
	f, err := os.Open(filepath.Join(root, ".dockerignore"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			line := strings.TrimSpace(lines.Text())
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			keep := strings.HasPrefix(line, "!")
			pattern := strings.TrimPrefix(path.Clean("/"+strings.TrimPrefix(line, "!")), "/")
			if _, err := path.Match(pattern, ""); err != nil {
				return nil, fmt.Errorf("%s: pattern %q: %w", f.Name(), line, err)
			}
			rules = append(rules, rule{pattern, keep})
		}
		if err := lines.Err(); err != nil {
			return nil, err
		}
	}
	vault, err = filepath.Rel(root, vault)
	if err != nil {
		return nil, err
	}
	return func(name string) bool {
		name = filepath.ToSlash(name)
		if name == ".git" || name == vault {
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

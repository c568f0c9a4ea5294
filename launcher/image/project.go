package image

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/tazzo/tazpod/launcher/tree"
)

const maxDockerfile = 1 << 20 // bytes

// Project is an image that a project describes itself.
type Project struct {
	Dir        string // absolute
	Dockerfile string // relative to Dir
	Context    string // directory, relative to Dir; that of the Dockerfile if empty
	Vault      string // directory relative to Dir that never goes into a context
	Tag        string
}

// Recipe is a project's image with its Dockerfile as it was read: what the user
// agrees to is what is built, whatever becomes of the file.
type Recipe struct {
	Project
	Text   []byte // of the Dockerfile
	inside string // the Dockerfile's path in the context
	files  *tree.Tree
}

// Read reads the Dockerfile of a project and opens its build context, neither of
// them outside of the project. The caller closes the recipe.
func Read(p Project) (*Recipe, error) {
	if p.Context == "" {
		p.Context = filepath.Dir(p.Dockerfile)
	}
	inside, err := filepath.Rel(p.Context, p.Dockerfile)
	if err != nil || !filepath.IsLocal(inside) {
		return nil, fmt.Errorf("%s is outside of its build context %s", p.Dockerfile, p.Context)
	}
	t, err := tree.Open(p.Dir)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	r := &Recipe{Project: p, inside: inside}
	if r.Text, err = t.Read(p.Dockerfile, maxDockerfile); err != nil {
		return nil, err
	}
	r.files, err = t.Dir(p.Context)
	return r, err
}

// Close closes the build context.
func (r *Recipe) Close() error { return r.files.Close() }

// EnsureProject builds a project's own image when it is missing, when its
// Dockerfile or an image of ours below it has changed, or when again is set:
// looking for changes in the whole context would take too long for every run.
func (b *Builder) EnsureProject(ctx context.Context, r *Recipe, again bool) (id string, err error) {
	// The directory too: another project could take the tag, and this text.
	of := &recipe{tag: r.Tag, file: filepath.ToSlash(r.inside), dockerfile: r.Text, parts: [][]byte{r.Text, []byte(r.Dir), []byte(r.Context)}}
	if id, err = b.current(ctx, of); err != nil || id != "" && !again && !b.NoCache {
		return id, err
	}
	vault, err := filepath.Rel(r.Context, r.Vault)
	if err != nil {
		return "", err
	}
	skip, err := ignored(r.files, vault)
	if err != nil {
		return "", err
	}
	in, out := io.Pipe()
	go func() { out.CloseWithError(packProject(out, r.files, r.inside, r.Text, skip)) }()
	defer in.Close()
	return b.build(ctx, of, in)
}

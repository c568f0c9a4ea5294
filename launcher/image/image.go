// Package image makes the images of pods: those that come with tazpod, each on
// top of the one before, and a project's own. It builds with the engine's
// classic builder, which every engine has.
//
//	debian:trixie-slim ← tazpod/base ← tazpod/k8s ← tazpod/gemini
//
// A label holds a hash of everything that went into an image, so that a new
// version of tazpod, a new certificate or a new base image means a new build,
// and nothing else does.
package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"github.com/tazzo/tazpod/images"
)

const (
	labelContext = "io.tazpod.context" // hash of what the image was made from
	labelFrom    = "io.tazpod.from"    // ids of the images that it started from
	prefix       = "tazpod/"
)

// Builder makes images.
type Builder struct {
	Engine       client.ImageAPIClient
	Progress     *Progress
	Certificates map[string][]byte   // that go into images, by their names there
	Env          func(string) string // for the proxies
	Locks        string              // a directory of the user's for lock files; "" for no locks
	Args         map[string]string   // build arguments, for the images that know them
	NoCache      bool                // build every step, of every image
	Pull         bool                // bring the newest of the images of others that ours start from
}

// Tag is what an image is called in the engine: names of ours get tazpod's
// prefix, references to other images are taken as they are.
func Tag(name string) string {
	if Ours(name) {
		return prefix + strings.TrimPrefix(name, prefix)
	}
	return name
}

// Ours tells whether tazpod knows how to build an image, by name or tag.
func Ours(name string) bool {
	name = strings.TrimSuffix(strings.TrimPrefix(name, prefix), ":latest")
	for _, n := range images.Names() {
		if n == name {
			return true
		}
	}
	return false
}

// Ensure makes sure that an image of ours, and what it stands on, is there and
// up to date, and returns its id.
func (b *Builder) Ensure(ctx context.Context, name string) (id string, err error) {
	name = strings.TrimSuffix(strings.TrimPrefix(name, prefix), ":latest")
	tree, err := images.Context(name)
	if err != nil {
		return "", err
	}
	dockerfile, err := fs.ReadFile(tree, "Dockerfile")
	if err != nil {
		return "", err
	}
	var init []byte
	if images.Parent(name) == "" {
		if init, err = images.Init(); err != nil {
			return "", err
		}
	}
	content, err := pack(tree, b.Certificates, init)
	if err != nil {
		return "", err
	}
	r := &recipe{tag: prefix + name, file: "Dockerfile", dockerfile: dockerfile, args: declared(dockerfile, b.Args), parts: [][]byte{content}}
	unlock, err := b.lock(ctx, r.tag)
	if err != nil {
		return "", err
	}
	defer unlock()
	if id, err = b.current(ctx, r); err != nil || id != "" && !b.NoCache {
		return id, err
	}
	if id, err = b.build(ctx, r, bytes.NewReader(content)); err == nil {
		err = b.forget(ctx, r)
	}
	return id, err
}

// recipe is what an image is made of.
type recipe struct {
	tag        string
	file       string // the Dockerfile's path in the context
	dockerfile []byte
	args       map[string]string
	parts      [][]byte // what it depends on besides
	from       []string // ids of the images that it starts from
	hash       string   // of all that
}

// current returns the id of the image if it is what the recipe would make now, ""
// if it isn't. The images that it starts from are there, then or after.
func (b *Builder) current(ctx context.Context, r *recipe) (id string, err error) {
	id, labels, err := b.inspect(ctx, r.tag)
	if err != nil {
		return "", err
	}
	refs := bases(r.dockerfile)
	var missing []string
	r.from = make([]string, len(refs))
	for i, ref := range refs {
		switch {
		case Ours(ref):
			r.from[i], err = b.Ensure(ctx, ref)
		case b.Pull:
			r.from[i], err = b.pull(ctx, ref)
		default:
			r.from[i], err = b.Find(ctx, ref)
		}
		if err != nil {
			return "", err
		}
		if r.from[i] == "" {
			missing = append(missing, ref)
		}
	}
	// One that is gone since is not needed for what was made of it.
	if was := strings.Fields(labels[labelFrom]); len(missing) > 0 && len(was) == len(refs) {
		for i, now := range r.from {
			if now == "" {
				r.from[i] = was[i]
			}
		}
	}
	if r.sum(); id != "" && labels[labelContext] == r.hash {
		return id, nil
	}
	for i, ref := range refs {
		if slices.Contains(missing, ref) {
			if r.from[i], err = b.pull(ctx, ref); err != nil {
				return "", err
			}
		}
	}
	r.sum()
	return "", nil
}

func (r *recipe) sum() {
	parts := slices.Clone(r.parts)
	for _, name := range slices.Sorted(maps.Keys(r.args)) {
		parts = append(parts, []byte(name), []byte(r.args[name]))
	}
	for _, id := range r.from {
		parts = append(parts, []byte(id))
	}
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	r.hash = hex.EncodeToString(h.Sum(nil))
}

// unique is the tag that an image of ours has besides, which no other content gets.
func (r *recipe) unique() string { return r.tag + ":" + r.hash[:12] }

// Find returns the id of an image that is there, "" if it isn't.
func (b *Builder) Find(ctx context.Context, tag string) (id string, err error) {
	id, _, err = b.inspect(ctx, tag)
	return id, err
}

// inspect returns the id and the labels of an image, both empty if it isn't there.
func (b *Builder) inspect(ctx context.Context, tag string) (id string, labels map[string]string, err error) {
	found, err := b.Engine.ImageInspect(ctx, tag)
	if errdefs.IsNotFound(err) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	if found.Config != nil {
		labels = found.Config.Labels
	}
	return found.ID, labels, nil
}

func (b *Builder) build(ctx context.Context, r *recipe, content io.Reader) (id string, err error) {
	args := proxies(b.Env)
	for name, value := range r.args {
		args[name] = &value
	}
	options := build.ImageBuildOptions{
		Version: build.BuilderV1, Tags: []string{r.tag}, Dockerfile: r.file, NoCache: b.NoCache, Remove: true, ForceRemove: true,
		BuildArgs: args, Labels: map[string]string{labelContext: r.hash, labelFrom: strings.Join(r.from, " ")},
	}
	if Ours(r.tag) {
		options.Tags = append(options.Tags, r.unique())
	}
	b.Progress.begin("building", "built", r.tag)
	response, err := b.Engine.ImageBuild(ctx, content, options)
	if err == nil {
		err = b.Progress.follow(response.Body)
		response.Body.Close()
	}
	b.Progress.end(err)
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", &Error{"build", r.tag, err, ""}
	}
	id, err = b.Find(ctx, r.tag)
	if err == nil && id == "" {
		err = fmt.Errorf("%s is gone right after it was built", r.tag)
	}
	return id, err
}

// forget drops the unique tags of what an image was before, and with them all that
// no pod and no other image uses.
func (b *Builder) forget(ctx context.Context, r *recipe) error {
	list, err := b.Engine.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", r.tag), filters.Arg("label", labelContext))})
	if err != nil {
		return err
	}
	for _, old := range list {
		was := recipe{tag: r.tag, hash: old.Labels[labelContext]}
		if len(was.hash) == len(r.hash) && was.hash != r.hash && slices.Contains(old.RepoTags, was.unique()) {
			// Without force: what is in use stays.
			_, err := b.Engine.ImageRemove(ctx, was.unique(), image.RemoveOptions{PruneChildren: true})
			if err != nil && !errdefs.IsConflict(err) && !errdefs.IsNotFound(err) {
				return err
			}
		}
	}
	return nil
}

// pull brings an image from its registry and returns its id.
func (b *Builder) pull(ctx context.Context, ref string) (id string, err error) {
	b.Progress.begin("pulling", "pulled", ref)
	answer, err := b.Engine.ImagePull(ctx, ref, image.PullOptions{})
	if err == nil {
		err = b.Progress.follow(answer)
		answer.Close()
	}
	b.Progress.end(err)
	switch {
	case err == nil:
		return b.Find(ctx, ref)
	case ctx.Err() != nil:
		return "", ctx.Err()
	}
	here, _ := b.Find(ctx, ref) // what is said about it is said in any case
	hint := "without --pull the image that is here is used"
	switch {
	case here == "" && ref == "debian:trixie-slim":
		hint = "without a registry, make it from Debian's packages: make setup in tazpod's sources, or\n" +
			"mmdebstrap --variant=minbase --include=ca-certificates trixie - | docker import - debian:trixie-slim"
	case here == "":
		hint = "pull or build it first"
	}
	return "", &Error{"pull", ref, fmt.Errorf("no registry gives this image: %w", err), hint}
}

// Error is an image that could not be built or pulled.
type Error struct {
	Op, Tag string
	Err     error
	Hint    string
}

func (e *Error) Error() string { return e.Op + " " + e.Tag + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// bases lists the images that a Dockerfile starts from, without its own stages.
func bases(dockerfile []byte) []string {
	var refs []string
	stages := map[string]bool{"scratch": true}
	for _, line := range instructions(dockerfile, "FROM") {
		words := strings.Fields(line)
		for len(words) > 1 && strings.HasPrefix(words[0], "--") {
			words = words[1:]
		}
		if !stages[words[0]] && !strings.Contains(words[0], "$") && !slices.Contains(refs, words[0]) {
			refs = append(refs, words[0])
		}
		if len(words) == 3 && strings.EqualFold(words[1], "AS") {
			stages[words[2]] = true
		}
	}
	return refs
}

// instructions are what follows one of a Dockerfile's keywords, each time.
func instructions(dockerfile []byte, keyword string) (rest []string) {
	for line := range strings.Lines(string(dockerfile)) {
		word, after, ok := strings.Cut(strings.TrimSpace(line), " ")
		if after = strings.TrimSpace(after); ok && after != "" && strings.EqualFold(word, keyword) {
			rest = append(rest, after)
		}
	}
	return rest
}

// Args lists the arguments that the images of ours know (ARG in a Dockerfile).
func Args() (names []string, err error) {
	for _, name := range images.Names() {
		tree, err := images.Context(name)
		if err != nil {
			return nil, err
		}
		dockerfile, err := fs.ReadFile(tree, "Dockerfile")
		if err != nil {
			return nil, err
		}
		for _, word := range instructions(dockerfile, "ARG") {
			name, _, _ := strings.Cut(word, "=")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// declared are those of args that a Dockerfile knows.
func declared(dockerfile []byte, args map[string]string) map[string]string {
	known := map[string]string{}
	for _, word := range instructions(dockerfile, "ARG") {
		name, _, _ := strings.Cut(word, "=")
		if value, ok := args[name]; ok {
			known[name] = value
		}
	}
	return known
}

// proxies are the build arguments that every engine knows without an ARG.
func proxies(env func(string) string) map[string]*string {
	args := map[string]*string{}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"} {
		for _, n := range []string{name, strings.ToLower(name)} {
			if value := env(n); value != "" {
				args[n] = &value
			}
		}
	}
	return args
}

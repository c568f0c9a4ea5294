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
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/client"

	"github.com/tazzo/tazpod/images"
)

const (
	labelContext = "io.tazpod.context" // hash of what the image was made from
	prefix       = "tazpod/"
)

// Builder makes images.
type Builder struct {
	Engine       client.ImageAPIClient
	Progress     *Progress
	Certificates map[string][]byte   // that go into images, by their names there
	Env          func(string) string // for the proxies
	NoCache      bool                // build every step, of every image
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
	parent := images.Parent(name)
	var below string // id of the parent
	var init []byte
	if parent != "" {
		below, err = b.Ensure(ctx, parent)
	} else {
		init, err = images.Init()
	}
	if err != nil {
		return "", err
	}
	content, err := pack(tree, b.Certificates, init)
	if err != nil {
		return "", err
	}
	hash := sum(content, []byte(below))
	tag := prefix + name
	if id, found, err := b.inspect(ctx, tag); err != nil || found == hash && !b.NoCache {
		return id, err
	}
	dockerfile, err := fs.ReadFile(tree, "Dockerfile")
	if err != nil {
		return "", err
	}
	return b.build(ctx, tag, "Dockerfile", hash, bytes.NewReader(content), dockerfile)
}

// Find returns the id of an image that is there, "" if it isn't.
func (b *Builder) Find(ctx context.Context, tag string) (id string, err error) {
	id, _, err = b.inspect(ctx, tag)
	return id, err
}

// inspect returns the id and the hash of an image, both empty if it isn't there.
func (b *Builder) inspect(ctx context.Context, tag string) (id, hash string, err error) {
	found, err := b.Engine.ImageInspect(ctx, tag)
	if errdefs.IsNotFound(err) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	if found.Config != nil {
		hash = found.Config.Labels[labelContext]
	}
	return found.ID, hash, nil
}

func (b *Builder) build(ctx context.Context, tag, file, hash string, content io.Reader, dockerfile []byte) (id string, err error) {
	b.Progress.begin(tag)
	options := build.ImageBuildOptions{
		Version: build.BuilderV1, Tags: []string{tag}, Dockerfile: file, NoCache: b.NoCache,
		Remove: true, ForceRemove: true, BuildArgs: proxies(b.Env), Labels: map[string]string{labelContext: hash},
	}
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
		return "", b.explain(ctx, tag, dockerfile, err)
	}
	id, err = b.Find(ctx, tag)
	if err == nil && id == "" {
		err = fmt.Errorf("%s is gone right after it was built", tag)
	}
	return id, err
}

// Error is a build that went wrong.
type Error struct {
	Tag  string
	Err  error
	Hint string
}

func (e *Error) Error() string { return "build " + e.Tag + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// explain finds out whether a build failed because the image that it starts
// from is not to be had.
func (b *Builder) explain(ctx context.Context, tag string, dockerfile []byte, err error) error {
	for _, ref := range bases(dockerfile) {
		if id, _, inspectErr := b.inspect(ctx, ref); inspectErr != nil || id != "" {
			continue
		}
		hint := "pull or build it first"
		if ref == "debian:trixie-slim" {
			hint = "without a registry, make it from Debian's packages: make setup in tazpod's sources, or\n" +
				"mmdebstrap --variant=minbase --include=ca-certificates trixie - | docker import - debian:trixie-slim"
		}
		return &Error{tag, fmt.Errorf("the image %s is not here and no registry gives it: %w", ref, err), hint}
	}
	return &Error{Tag: tag, Err: err}
}

// bases lists the images that a Dockerfile starts from, without its own stages.
func bases(dockerfile []byte) []string {
	var refs []string
	stages := map[string]bool{"scratch": true}
	for line := range strings.Lines(string(dockerfile)) {
		words := strings.Fields(line)
		if len(words) < 2 || !strings.EqualFold(words[0], "FROM") {
			continue
		}
		words = words[1:]
		for len(words) > 1 && strings.HasPrefix(words[0], "--") {
			words = words[1:]
		}
		if !stages[words[0]] && !strings.Contains(words[0], "$") {
			refs = append(refs, words[0])
		}
		if len(words) == 3 && strings.EqualFold(words[1], "AS") {
			stages[words[2]] = true
		}
	}
	return refs
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

func sum(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

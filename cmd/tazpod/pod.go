package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/engine"
	"github.com/tazzo/tazpod/launcher/image"
	"github.com/tazzo/tazpod/launcher/project"
	"github.com/tazzo/tazpod/launcher/tree"
)

// place is the project that a command works on, its engine, and its pod.
type place struct {
	*call
	config *project.Config
	engine *engine.Engine
}

// here loads the project around the working directory and connects to the
// engine.
func (c *call) here(flags project.Overrides) (*place, error) {
	config, err := c.project(flags)
	if err != nil {
		return nil, err
	}
	e, err := engine.Open(c.ctx, os.Getenv)
	if err != nil {
		return nil, err
	}
	return &place{c, config, e}, nil
}

// project loads the project around the working directory. A mistake in its
// settings counts as wrong usage.
func (c *call) project(flags project.Overrides) (*project.Config, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	config, err := project.Load(dir, flags, os.Getenv)
	if err != nil && !errors.Is(err, project.ErrNone) {
		return nil, &exit{wire.ExitUsage, err, ""}
	}
	if err != nil {
		return nil, err
	}
	for _, note := range config.Notes {
		c.notify(note)
	}
	return config, nil
}

// pod returns the project's container as it is.
func (p *place) pod() (*engine.Pod, error) {
	pod, err := p.engine.Find(p.ctx, p.config.Name)
	if err == nil && pod.State != engine.StateAbsent && pod.Project != p.config.Dir {
		return nil, &engine.ForeignError{Name: pod.Name, Project: pod.Project}
	}
	return pod, err
}

// running is pod for commands that need it to run.
func (p *place) running() (*engine.Pod, error) {
	pod, err := p.pod()
	if err == nil && !pod.Running() {
		err = &exit{0, fmt.Errorf("the pod %s is not running (%s)", pod.Name, pod.State), "tazpod up starts it"}
	}
	return pod, err
}

// image makes sure that the image is there: the named one, else what the
// project says, else the one that the pod has, else base. What the project has
// a say in needs the user's yes before anything is built of it.
func (p *place) image(b *image.Builder, name string, pod *engine.Pod, again bool, yes bool) (tag, id string, err error) {
	own := p.config.Build.Dockerfile != "" && name == ""
	theirs := name == "" && p.config.Image.Theirs
	for _, n := range []string{p.config.Image.Name, pod.Image, "base"} {
		if name == "" {
			name = n
		}
	}
	q := p.question(b.Certificates)
	if own {
		// Under no name that the project chooses: that could be one of another image.
		tag = "tazpod-project:" + p.config.Name
		recipe, err := image.Read(image.Project{Dir: p.config.Dir, Dockerfile: p.config.Build.Dockerfile,
			Context: p.config.Build.Context, Vault: p.config.Vault.Path, Tag: tag})
		if err != nil {
			return "", "", &exit{wire.ExitUsage, err, ""}
		}
		defer recipe.Close()
		q.dockerfile(recipe)
		if err := p.consent(q, yes); err != nil {
			return "", "", err
		}
		id, err = b.EnsureProject(p.ctx, recipe, again)
		return tag, id, err
	}
	tag = image.Tag(name)
	if image.Ours(tag) {
		if err := p.consent(q, yes); err != nil {
			return "", "", err
		}
		id, err = b.Ensure(p.ctx, tag)
		return tag, id, err
	}
	id, err = b.Find(p.ctx, tag)
	if err == nil && id == "" {
		err = &exit{0, fmt.Errorf("the image %s is not here", tag), "docker pull " + tag + ", if that is an image you trust with secrets"}
	}
	if err == nil {
		if theirs {
			q.image(tag, id)
		}
		err = p.consent(q, yes)
	}
	return tag, id, err
}

// up makes the project's pod run. fresh is set when it was started by this.
func (p *place) up(name string, yes bool) (pod *engine.Pod, fresh bool, err error) {
	if pod, err = p.pod(); err != nil {
		return nil, false, err
	}
	b, err := builder(p.engine, p.config, false)
	if err != nil {
		return nil, false, err
	}
	tag, id, err := p.image(b, name, pod, false, yes)
	if err != nil {
		return nil, false, err
	}
	if err := p.makeVault(); err != nil {
		return nil, false, err
	}
	spec := engine.Spec{Name: p.config.Name, Project: p.config.Dir, Vault: p.config.Vault.Path, Image: tag, ImageID: id, Pod: p.config.Pod(),
		Memory: p.config.Memory, Network: p.config.Network, Ports: p.config.Ports}
	pod, fresh, notes, err := p.engine.Up(p.ctx, spec, p.busy)
	for _, note := range notes {
		p.notify(note)
	}
	return pod, fresh, err
}

// makeVault makes the vault's directory, before an engine that follows links
// mounts what is there.
func (p *place) makeVault() error {
	err := p.config.MakeVault()
	if errors.Is(err, tree.ErrLink) {
		return &exit{wire.ExitVault, fmt.Errorf("the vault's directory: %w", err), "if you didn't put it there, a program in the pod may have; the vault must lie in the project itself"}
	}
	return err
}

// busy tells whether a ghost is open in the pod. One that can't be asked has
// none that could be reached, and is replaced.
func (p *place) busy(ctx context.Context, pod *engine.Pod) (bool, error) {
	client, err := p.control(pod, false)
	if err != nil {
		return false, ctx.Err()
	}
	defer client.Close()
	status, err := client.Status()
	if err != nil {
		return false, ctx.Err()
	}
	return len(status.Ghosts) > 0 || status.Vault.State == wire.VaultUnsaved, nil
}

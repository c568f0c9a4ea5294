package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/engine"
	"github.com/tazzo/tazpod/launcher/image"
	"github.com/tazzo/tazpod/launcher/project"
	"github.com/tazzo/tazpod/launcher/term"
	"github.com/tazzo/tazpod/launcher/tree"
)

var buildCommand = command{"build", "Build an image, and those that it stands on, as far as they are missing or old.", false, false,
	func(c *kingpin.CmdClause) func(*call) (int, error) {
		name := imageArg(c)
		noCache := c.Flag("no-cache", "Build every step again.").Bool()
		pull := c.Flag("pull", "Bring the newest of the images of others that these start from.").Bool()
		yes := trustFlag(c)
		verbose := c.Flag("verbose", "Show all that the steps write.").Short('v').Bool()
		return func(c *call) (int, error) {
			config, err := c.project(project.Overrides{})
			if err != nil && !(errors.Is(err, project.ErrNone) && image.Ours(*name)) {
				return 0, err
			}
			e, err := engine.Open(c.ctx, os.Getenv)
			if err != nil {
				return 0, err
			}
			b, err := builder(e, config, *verbose)
			if err != nil {
				return 0, err
			}
			b.NoCache, b.Pull = *noCache, *pull
			var tag, id string
			if config == nil {
				tag = image.Tag(*name)
				id, err = b.Ensure(c.ctx, tag)
			} else {
				tag, id, err = (&place{c, config, e}).image(b, *name, &engine.Pod{}, true, *yes)
			}
			if err != nil {
				return 0, err
			}
			_, err = fmt.Println(tag, id)
			return wire.ExitOK, err
		}
	}}

// builder makes images with what the project and this machine say.
func builder(e *engine.Engine, config *project.Config, verbose bool) (*image.Builder, error) {
	b := &image.Builder{Engine: e.Images(), Env: os.Getenv, Progress: &image.Progress{W: os.Stderr, Verbose: verbose}}
	if t, ok := term.From(os.Stderr); ok {
		b.Progress.Width = func() int { return t.Size().Columns }
	}
	var settings project.Build
	var in *tree.Tree
	var err error
	if config == nil {
		settings, err = project.UserBuild(os.Getenv)
	} else if settings = config.Build; settings.TheirCA {
		in, err = tree.Open(config.Dir)
	}
	if err != nil {
		return nil, err
	}
	if in != nil {
		defer in.Close()
	}
	known, err := image.Args()
	if err != nil {
		return nil, err
	}
	for name := range settings.Args {
		if !slices.Contains(known, name) {
			return nil, &exit{wire.ExitUsage, fmt.Errorf("build.args: no image has the argument %q", name), "there are " + strings.Join(known, ", ")}
		}
	}
	b.Args = settings.Args
	if cache, err := os.UserCacheDir(); err == nil { // one without a home builds alone
		b.Locks = filepath.Join(cache, "tazpod")
	}
	b.Certificates, err = image.Certificates(in, settings.CACertificates)
	return b, err
}

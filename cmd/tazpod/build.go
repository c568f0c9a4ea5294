package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/engine"
	"github.com/tazzo/tazpod/launcher/image"
	"github.com/tazzo/tazpod/launcher/project"
)

var buildCommand = command{"build", "Build an image, and those that it stands on, as far as they are missing or old.", false, false,
	func(c *kingpin.CmdClause) func(*call) (int, error) {
		name := imageArg(c)
		noCache := c.Flag("no-cache", "Build every step again.").Bool()
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
			b.NoCache = *noCache
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

package main

import (
	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/project"
)

var upCommand = command{"up", "Build and start what is missing of this project's pod.", false, false,
	func(c *kingpin.CmdClause) func(*call) (int, error) {
		name := imageArg(c)
		network := networkFlag(c)
		engine := engineFlag(c)
		yes := trustFlag(c)
		return func(c *call) (int, error) {
			p, err := c.here(project.Overrides{Network: *network, Engine: *engine})
			if err != nil {
				return 0, err
			}
			pod, fresh, err := p.up(*name, *yes)
			if err != nil {
				return 0, err
			}
			client, err := p.control(pod, fresh) // it is up when it answers
			if err != nil {
				return 0, err
			}
			client.Close()
			state := "already runs"
			if fresh {
				state = "is up"
			}
			c.notify("the pod " + pod.Name + " " + state + ", with " + pod.Image)
			return wire.ExitOK, nil
		}
	}}

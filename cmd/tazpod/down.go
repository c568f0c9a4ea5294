package main

import (
	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/project"
)

var downCommand = command{"down", "End every ghost, save the vault and remove the pod. The vault stays.", false, false,
	func(c *kingpin.CmdClause) func(*call) (int, error) {
		force := forceFlag(c)
		return func(c *call) (int, error) {
			p, err := c.here(project.Overrides{})
			if err != nil {
				return 0, err
			}
			return wire.ExitOK, p.end(*force, p.engine.Down)
		}
	}}

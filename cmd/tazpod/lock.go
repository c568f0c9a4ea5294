package main

import (
	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/project"
)

var lockCommand = command{"lock", "End every ghost of this project, save the vault and forget the key, at once.", false, false,
	func(*kingpin.CmdClause) func(*call) (int, error) {
		return func(c *call) (int, error) {
			p, err := c.here(project.Overrides{})
			if err != nil {
				return 0, err
			}
			pod, err := p.pod()
			if err != nil {
				return 0, err
			}
			if !pod.Running() {
				c.notify("the pod " + pod.Name + " is not running: nothing is open")
				return wire.ExitOK, nil
			}
			_, err = p.lock(pod)
			return wire.ExitOK, err
		}
	}}

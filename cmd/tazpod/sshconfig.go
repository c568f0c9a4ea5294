package main

import (
	"fmt"
	"os"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/project"
)

var sshConfigCommand = command{"ssh-config", "Print a block for ~/.ssh/config by which ssh, scp and editors reach the ghost.", false, false,
	func(*kingpin.CmdClause) func(*call) (int, error) {
		return func(c *call) (int, error) {
			config, err := c.project(project.Overrides{})
			if err != nil {
				return 0, err
			}
			self, err := os.Executable()
			if err != nil {
				return 0, err
			}
			fmt.Printf("Host %s\n", config.Name)
			for _, o := range sshOptions(self, config.Name) {
				if _, err = fmt.Printf("  %s %s\n", o.key, o.value); err != nil {
					return 0, err
				}
			}
			return wire.ExitOK, nil
		}
	}}

package main

import (
	"errors"
	"os"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
	"github.com/tazzo/tazpod/launcher/engine"
	"github.com/tazzo/tazpod/launcher/project"
	"github.com/tazzo/tazpod/launcher/vault"
)

// vaultCommands work on the vault of this project, in its pod.
func vaultCommands() (list []command) {
	for _, v := range vault.Commands {
		list = append(list, command{"vault " + v.Name, v.Help, false, false, func(c *kingpin.CmdClause) func(*call) (int, error) {
			flags := declarePassphrase(c)
			run := v.Setup(c)
			return func(c *call) (int, error) {
				config, err := c.project(project.Overrides{})
				if err != nil {
					return 0, err
				}
				undumpable()
				code, err := run(vault.Front{Ctx: c.ctx, Source: flags.source, Tell: c.notify, Connect: func() (*dial.Client, error) {
					e, err := engine.Open(c.ctx, os.Getenv)
					if err != nil {
						return nil, err
					}
					p := &place{c, config, e}
					pod, fresh, err := p.started()
					if err != nil {
						return nil, err
					}
					return p.control(pod, fresh)
				}})
				var usage *vault.UsageError
				if errors.As(err, &usage) {
					err = &exit{wire.ExitUsage, usage, ""}
				}
				return code, err
			}
		}})
	}
	return list
}

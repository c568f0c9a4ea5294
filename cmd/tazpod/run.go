package main

import (
	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/launcher/project"
)

var runCommand = command{"run", "Build and start what is missing, and open a ghost: a shell, or the command behind --.", true, true,
	func(c *kingpin.CmdClause) func(*call) (int, error) {
		name := imageArg(c)
		network := networkFlag(c)
		engine := engineFlag(c)
		yes := trustFlag(c)
		flags := declareSession(c)
		return func(c *call) (int, error) {
			ask, err := flags.ask()
			if err != nil {
				return 0, err
			}
			p, err := c.here(project.Overrides{Network: *network, Engine: *engine})
			if err != nil {
				return 0, err
			}
			source, err := flags.source()
			if err != nil {
				return 0, err
			}
			pod, fresh, err := p.up(*name, *yes)
			if err != nil {
				return 0, err
			}
			return p.session(pod, fresh, source, ask, *flags.plain, nil)
		}
	}}

func imageArg(c *kingpin.CmdClause) *string {
	return c.Arg("image", "base, k8s, gemini, or an image made from one of them; without it, what the project says.").
		Envar("TAZPOD_IMAGE").HintOptions("base", "k8s", "gemini").String()
}

func networkFlag(c *kingpin.CmdClause) *string {
	return c.Flag("network", "The engine's network for the pod, such as none or host.").PlaceHolder("NAME").String()
}

func engineFlag(c *kingpin.CmdClause) *string {
	return c.Flag("engine", "How the vault is opened: memory, or dmcrypt, for content larger than the pod's memory, which gives the pod devices of this machine.").
		PlaceHolder("NAME").HintOptions("memory", "dmcrypt").String()
}

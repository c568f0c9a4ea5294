package main

import (
	"fmt"
	"os"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/engine"
	"github.com/tazzo/tazpod/launcher/project"
)

var logsCommand = command{"logs", "Print what the pod has logged. No secret is ever in it.", false, false,
	func(c *kingpin.CmdClause) func(*call) (int, error) {
		follow := c.Flag("follow", "Go on as long as the pod does.").Short('f').Bool()
		lines := c.Flag("lines", "Only this many of the last lines.").Short('n').Default("-1").Int()
		return func(c *call) (int, error) {
			p, err := c.here(project.Overrides{})
			if err != nil {
				return 0, err
			}
			pod, err := p.pod()
			if err != nil {
				return 0, err
			}
			if pod.State == engine.StateAbsent {
				return 0, &exit{0, fmt.Errorf("there is no pod %s", pod.Name), "its log went with it"}
			}
			return wire.ExitOK, p.engine.Logs(c.ctx, pod, os.Stdout, os.Stderr, *lines, *follow)
		}
	}}

package main

import (
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
	"github.com/tazzo/tazpod/launcher/engine"
	"github.com/tazzo/tazpod/launcher/project"
	"github.com/tazzo/tazpod/launcher/term"
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
			return wire.ExitOK, p.engine.Logs(c.ctx, pod, forTerminal(os.Stdout), forTerminal(os.Stderr), *lines, *follow)
		}
	}}

// forTerminal keeps what the pod's programs have logged from steering a
// terminal; into a file it goes as it is.
func forTerminal(f *os.File) io.Writer {
	if _, ok := term.From(f); ok {
		return dial.PrintableWriter(f)
	}
	return f
}

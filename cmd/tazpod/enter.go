package main

import (
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/launcher/dial"
	"github.com/tazzo/tazpod/launcher/project"
	"github.com/tazzo/tazpod/launcher/term"
)

var enterCommand = command{"enter", "Open a plain shell in the pod, without secrets, or run the command behind --.", true, true,
	func(*kingpin.CmdClause) func(*call) (int, error) {
		return func(c *call) (int, error) {
			p, err := c.here(project.Overrides{})
			if err != nil {
				return 0, err
			}
			pod, _, err := p.started()
			if err != nil {
				return 0, err
			}
			argv := c.argv
			if len(argv) == 0 {
				argv = []string{"/bin/bash", "-l"}
			}
			// The image's own locale: what a ghost checks nobody checks here.
			env := slices.DeleteFunc(dial.Environment(os.Environ()), func(v string) bool {
				return strings.HasPrefix(v, "LANG=") || strings.HasPrefix(v, "LC_")
			})
			terminal, isIn := term.From(os.Stdin)
			if _, isOut := term.From(os.Stdout); !isIn || !isOut {
				terminal = nil
			} else if name := os.Getenv("TERM"); name != "" {
				env = append(slices.Clip(env), "TERM="+name)
			}
			return p.engine.Shell(c.ctx, pod, argv, env, terminal)
		}
	}}

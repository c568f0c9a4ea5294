package main

import (
	"os"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
)

var pullCommand = command{"pull", "Bring the secrets that secrets.yml names into the vault.", false, true,
	func(c *kingpin.CmdClause) func(*call) (int, error) {
		inGhost := declareInGhost(c)
		dryRun := c.Flag("dry-run", "Tell what would change.").Bool()
		replace := c.Flag("replace", "Even what was changed in the vault.").Bool()
		yes := c.Flag("trust", "Say yes to the commands that secrets.yml wants to run in the ghost.").Bool()
		watch := c.Flag("watch", "Go on, and pull again after each such time.").PlaceHolder("5m").String()
		return func(c *call) (int, error) {
			argv := []string{"pull"}
			for flag, given := range map[string]bool{"--dry-run": *dryRun, "--replace": *replace, "--trust": *yes, "--watch=" + *watch: *watch != ""} {
				if given {
					argv = append(argv, flag)
				}
			}
			return inGhost(c, argv)
		}
	}}

// declareInGhost declares the flags of commands that are tazpod-init's own in a ghost,
// and returns what runs them there.
func declareInGhost(c *kingpin.CmdClause) func(*call, []string) (int, error) {
	flags, profile := declarePassphrase(c), profileFlag(c)
	return func(c *call, argv []string) (int, error) {
		ask, err := dial.ParseAsk(*profile, nil, "", "", func(name string) string {
			if name == wire.AskOnly { // there, no file can be replaced
				return ""
			}
			return os.Getenv(name)
		})
		if err != nil {
			return 0, &exit{wire.ExitUsage, err, ""}
		}
		c.argv = append([]string{wire.Binary}, argv...)
		return c.ghost(flags, ask, false)
	}
}

// Command tazpod-init is everything that runs inside a pod: its first process,
// the supervisor of vault and ghosts, the ghosts' own first processes, and the
// commands that people run there. As `pid1` and `run` it never comes to main: see
// init/pid1.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/tazzo/tazpod/init/ghost"
	_ "github.com/tazzo/tazpod/init/pid1"
	"github.com/tazzo/tazpod/init/secrets"
	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
)

// roles are what a process of this binary can be when another one starts it, as
// `tazpod-init role NAME`. They take their configuration from inherited
// descriptors and are of no use to people.
var roles = map[string]func() error{
	"serve":   serve,           // supervisor: control socket, vault, ghosts
	"ghost":   ghost.RoleGhost, // first process of a ghost; builds its root
	"keeper":  ghost.RoleKeeper,
	"hold":    ghost.RoleHold, // keeps a user namespace alive while mounts are mapped by it
	"secrets": secrets.Role,   // reads what a hostile project may have written, as nobody
}

func main() {
	args := os.Args[1:]
	switch {
	case len(args) > 0 && (args[0] == "run" || args[0] == "pid1"): // with --version
		args = []string{versionCommand.name}
	case len(args) == 2 && args[0] == "role":
		os.Exit(role(args[1]))
	}
	os.Exit(commands(args))
}

func role(name string) int {
	run, ok := roles[name]
	if !ok {
		return fail(wire.ExitUsage, fmt.Errorf("no role %q", name), "")
	}
	if err := run(); err != nil {
		return fail(wire.ExitFailure, fmt.Errorf("%s: %w", name, err), "")
	}
	return wire.ExitOK
}

// fail prints an error the way both programs do and returns its exit code.
func fail(code int, err error, hint string) int {
	fmt.Fprintln(os.Stderr, "tazpod: error:", dial.Printable(err.Error()))
	if hint != "" {
		fmt.Fprintln(os.Stderr, "tazpod: hint:", strings.ReplaceAll(hint, "\n", "\n              "))
	}
	return code
}

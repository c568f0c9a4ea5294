package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
)

// exit is an error that has an exit code of its own.
type exit struct {
	code int
	err  error
	hint string
}

func (e *exit) Error() string { return e.err.Error() }
func (e *exit) Unwrap() error { return e.err }

// command is one of the commands for people. setup declares its flags and
// returns what runs it; the exit code is that of a session where there is one.
type command struct {
	name, help string
	setup      func(*kingpin.CmdClause) func() (int, error)
}

// commandList is in the order of the help.
var commandList = []command{
	ghostCommand,
	connectCommand,
	lockCommand,
	statusCommand,
	doctorCommand,
	healthcheckCommand,
	versionCommand,
}

const help = `First process and supervisor of a TazPod pod.

pid1 and run stand apart: "tazpod-init pid1 -h" and "tazpod-init run -h" tell
their own flags.`

// commands parses the command line and runs one command.
func commands(args []string) int {
	app := kingpin.New("tazpod-init", help).UsageWriter(os.Stdout).ErrorWriter(io.Discard)
	app.HelpFlag.Short('h')
	done := -1
	app.Terminate(func(code int) { done = code })
	run := map[string]func() (int, error){}
	for _, c := range commandList {
		run[c.name] = c.setup(app.Command(c.name, c.help))
	}
	// pid1 and run parse their own command lines; they are named here for the help.
	app.Command("pid1", "Be a pod's first process: reap, forward signals, supervise [flags] [--] [CMD...].")
	app.Command("run", "Run one command as tini does [flags] -- CMD...")
	name, err := app.Parse(args)
	switch {
	case done >= 0 && len(args) > 0: // help was asked for and printed
		return wire.ExitOK
	case err != nil:
		return fail(wire.ExitUsage, err, "tazpod-init --help lists commands and flags")
	}
	code, err := run[name]()
	var e *exit
	switch {
	case err == nil:
		return code
	case errors.As(err, &e):
		return fail(e.code, e.err, e.hint)
	case code != wire.ExitOK:
		return fail(code, err, "")
	}
	return fail(wire.ExitFailure, err, "")
}

var versionCommand = command{"version", "Print the version.", func(*kingpin.CmdClause) func() (int, error) {
	return func() (int, error) {
		_, err := fmt.Println("tazpod-init", version())
		return wire.ExitOK, err
	}
}}

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/vault"
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
// returns what runs it, with what stands behind --; the exit code is that of a
// session where there is one.
type command struct {
	name, help string
	argv       bool // takes a command behind --
	setup      func(*kingpin.CmdClause) func(argv []string) (int, error)
}

// commandList is in the order of the help.
var commandList = []command{
	ghostCommand,
	connectCommand,
	lockCommand,
	statusCommand,
	loginCommand,
	pullCommand,
	envCommand,
	doctorCommand,
	healthcheckCommand,
	versionCommand,
}

const help = `First process and supervisor of a TazPod pod.

pid1 and run stand apart: "tazpod-init pid1 -h" and "tazpod-init run -h" tell
their own flags.`

// commands parses the command line and runs one command.
func commands(args []string) int {
	args, argv, dashes := split(args)
	kingpin.EnableFileExpansion = false // @ begins no file name to read arguments from
	app := kingpin.New("tazpod-init", help).UsageWriter(os.Stdout).ErrorWriter(io.Discard)
	app.HelpFlag.Short('h')
	if len(args) == 0 { // the usage is no result then
		app.UsageWriter(os.Stderr)
	}
	done := false
	app.Terminate(func(int) {
		done = true
		app.UsageWriter(io.Discard) // the library goes on, and would print it again
	})
	run := map[string]func([]string) (int, error){}
	for _, c := range commandList {
		run[c.name] = c.setup(app.Command(c.name, c.help))
	}
	parent := app.Command("vault", vault.Help)
	for i, c := range vaultCommands() {
		run[c.name] = c.setup(vault.Commands[i].Clause(parent))
	}
	// pid1 and run parse their own command lines; they are named here for the help.
	app.Command("pid1", "Be a pod's first process: reap, forward signals, supervise [flags] [--] [CMD...].")
	app.Command("run", "Run one command as tini does [flags] -- CMD...")
	name, err := app.Parse(args)
	switch {
	case done && len(args) > 0: // help was asked for and printed
		return wire.ExitOK
	case len(args) == 0:
		return wire.ExitUsage
	case err != nil:
		return usage(err)
	}
	list := append(slices.Clone(commandList), vaultCommands()...)
	i := slices.IndexFunc(list, func(c command) bool { return c.name == name })
	switch {
	case dashes && !list[i].argv:
		return usage(fmt.Errorf("%s takes no command behind --", name))
	case dashes && len(argv) == 0:
		return usage(errors.New("there is no command behind --"))
	}
	code, err := run[name](argv)
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

// split cuts a command line at the first --, behind which nothing is ours.
func split(args []string) (ours, argv []string, dashes bool) {
	i := slices.Index(args, "--")
	if i < 0 || strings.HasPrefix(args[0], "--completion") {
		return args, nil, false
	}
	return args[:i], args[i+1:], true
}

func usage(err error) int {
	hint := "tazpod-init --help lists commands and flags"
	if strings.HasPrefix(err.Error(), "unexpected ") {
		hint = "a command to run stands behind --, as in: tazpod-init ghost -- ls -l"
	}
	return fail(wire.ExitUsage, err, hint)
}

var versionCommand = command{"version", "Print the version.", false, func(*kingpin.CmdClause) func([]string) (int, error) {
	return func([]string) (int, error) {
		_, err := fmt.Println("tazpod-init", wire.Version())
		return wire.ExitOK, err
	}
}}

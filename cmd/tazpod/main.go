// Command tazpod makes pods, opens ghosts in them and connects terminals to
// those. It runs on the host and never sees a secret but the passphrase on its
// way to the pod.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
	"github.com/tazzo/tazpod/launcher/term"
	"github.com/tazzo/tazpod/launcher/vault"
)

// command is one of tazpod's commands. setup declares its flags and returns
// what runs it; the result is the exit code where there is no error.
type command struct {
	name, help string
	argv       bool // takes a command behind --
	session    bool // its exit code is that of a session's program
	setup      func(*kingpin.CmdClause) func(*call) (int, error)
}

// call is one use of a command.
type call struct {
	ctx    context.Context // done when a signal asks for an end
	argv   []string        // behind --
	app    *kingpin.Application
	notify func(text string) // a line for people
}

// commandList is in the order of the help.
var commandList = []command{
	initCommand, buildCommand, runCommand, upCommand, stopCommand, downCommand,
	ghostCommand, enterCommand, sshCommand, connectCommand,
	lockCommand, statusCommand, logsCommand, loginCommand, pullCommand,
	sshConfigCommand, doctorCommand, completionCommand, versionCommand,
}

// everyCommand has those about the vault, too.
func everyCommand() []command { return append(slices.Clone(commandList), vaultCommands()...) }

const help = `Secrets that exist only inside a ghost: a shell in a container whose files live
in memory and in an encrypted vault.

Start with "tazpod init" in a project, then "tazpod run base".`

func main() { os.Exit(run(os.Args[1:])) }

// run is main with an exit code.
func run(args []string) int {
	args, argv, dashes := split(args)
	app, runners, done := application()
	if len(args) == 0 {
		app.UsageWriter(os.Stderr)
	}
	name, err := app.Parse(args)
	if *done && len(args) > 0 { // help or a completion was asked for, and printed
		return wire.ExitOK
	}
	if len(args) == 0 {
		return wire.ExitUsage
	}
	list := everyCommand()
	i := slices.IndexFunc(list, func(c command) bool { return c.name == name })
	if err != nil {
		return fail(usageError(err), false)
	}
	c := list[i]
	switch {
	case dashes && !c.argv:
		return fail(usageError(fmt.Errorf("%s takes no command behind --", c.name)), false)
	case dashes && len(argv) == 0:
		return fail(usageError(errors.New("there is no command behind --")), false)
	}
	ctx, stop := untilSignal()
	defer stop()
	code, err := runners[name](&call{ctx: ctx, argv: argv, app: app, notify: func(text string) {
		fmt.Fprintln(os.Stderr, "tazpod: "+dial.Printable(text))
	}})
	if err == nil {
		return code
	}
	if cause := context.Cause(ctx); ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	return fail(err, c.session)
}

// application declares every command. done is set when the library would have
// ended the process.
func application() (app *kingpin.Application, runners map[string]func(*call) (int, error), done *bool) {
	app = kingpin.New("tazpod", help).UsageWriter(os.Stdout).ErrorWriter(io.Discard)
	app.HelpFlag.Short('h')
	kingpin.EnableFileExpansion = false // @ begins no file name to read arguments from
	done = new(bool)
	app.Terminate(func(int) {
		*done = true
		app.UsageWriter(io.Discard) // the library goes on, and would print it again
	})
	runners = map[string]func(*call) (int, error){}
	for _, c := range commandList {
		runners[c.name] = c.setup(app.Command(c.name, c.help))
	}
	parent := app.Command("vault", vault.Help)
	for i, c := range vaultCommands() {
		runners[c.name] = c.setup(vault.Commands[i].Clause(parent))
	}
	return app, runners, done
}

// split cuts a command line at the first --, behind which nothing is tazpod's.
func split(args []string) (ours, argv []string, dashes bool) {
	i := slices.Index(args, "--")
	if i < 0 || strings.HasPrefix(args[0], "--completion") {
		return args, nil, false
	}
	return args[:i], args[i+1:], true
}

// untilSignal returns a context that ends, with a *term.SignalError as its
// cause, when a signal asks this process to end.
func untilSignal() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		cancel(&term.SignalError{Signal: (<-signals).(syscall.Signal)})
	}()
	return ctx, func() { signal.Stop(signals) }
}

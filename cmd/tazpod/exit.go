package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/tazzo/tazpod/images"
	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
	"github.com/tazzo/tazpod/launcher/engine"
	"github.com/tazzo/tazpod/launcher/image"
	"github.com/tazzo/tazpod/launcher/project"
	"github.com/tazzo/tazpod/launcher/term"
)

// exit is an error with an exit code or a hint of its own.
type exit struct {
	code int // 0 for the usual one
	err  error
	hint string
}

func (e *exit) Error() string { return e.err.Error() }
func (e *exit) Unwrap() error { return e.err }

func usageError(err error) error {
	hint := "tazpod --help lists commands and flags"
	if strings.Contains(err.Error(), "unexpected ") {
		hint = "a command to run stands behind --, as in: tazpod run base -- ls -l"
	}
	return &exit{wire.ExitUsage, err, hint}
}

// fail prints an error and returns its exit code: the specific one, or 1, or
// wire.ExitSession where codes are those of a session's program.
func fail(err error, session bool) int {
	code, hint := explain(err)
	if code == 0 {
		code = wire.ExitFailure
		if session {
			code = wire.ExitSession
		}
	}
	var signal *term.SignalError
	if errors.As(err, &signal) { // who sent it knows
		return wire.ExitSignal + int(signal.Signal)
	}
	fmt.Fprintln(os.Stderr, "tazpod: error:", dial.Printable(err.Error())) // parts of it may be a pod's or a project's words
	if hint != "" {
		fmt.Fprintln(os.Stderr, "tazpod: hint:", strings.ReplaceAll(dial.Printable(hint), "\n", "\n              "))
	}
	return code
}

// explain finds the exit code of an error, 0 if it has none of its own, and the
// way out.
func explain(err error) (code int, hint string) {
	var own *exit
	var unreachable *engine.UnreachableError
	var refusal *dial.Refusal
	var foreign *engine.ForeignError
	var busy *engine.BusyError
	var build *image.Error
	var mapper *engine.MapperError
	switch {
	case errors.As(err, &own):
		return own.code, own.hint
	case errors.As(err, &unreachable):
		return wire.ExitNoEngine, unreachable.Hint
	case errors.As(err, &refusal):
		return refusal.Code, refusal.Hint
	case errors.Is(err, dial.ErrPassphrase), errors.Is(err, dial.ErrNoPassphrase):
		return wire.ExitPassphrase, ""
	case errors.Is(err, project.ErrNone):
		return 0, "tazpod init makes a project of this directory"
	case errors.As(err, &foreign):
		return 0, "give this project's pod another name in " + project.File + ", or remove that container: docker rm -f " + foreign.Name
	case errors.As(err, &busy):
		return 0, "end it first (tazpod lock ends all that are open), or stay with it: tazpod ghost"
	case errors.As(err, &mapper):
		return wire.ExitPrivileges, mapper.Hint
	case errors.As(err, &build):
		return 0, build.Hint
	case errors.Is(err, images.ErrNoInit):
		return 0, "use a released tazpod, or make build in its sources"
	case errors.Is(err, dial.ErrHostKey):
		return 0, "if the pod was not started anew this moment, something stands in between: tazpod down, then try again"
	}
	return 0, ""
}

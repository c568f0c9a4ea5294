// Package vault has the commands about a vault that people give, for both programs:
// what their flags mean, what they print, and the files that they read and write.
// What they do is done in the pod (init/control); of the vault's content they handle
// only what export writes.
package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/locked"
	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
	"github.com/tazzo/tazpod/launcher/term"
)

// Front is how a program reaches pod and user.
type Front struct {
	Ctx     context.Context
	Connect func() (*dial.Client, error)
	Source  func() (dial.Source, error) // today's passphrase
	Tell    func(text string)           // for people
}

// Command is one of them. Setup declares its flags and returns what runs it and
// gives the exit code; the error may be a *UsageError.
type Command struct {
	Name, Help string
	Setup      func(*kingpin.CmdClause) func(Front) (int, error)
}

// Help is that of all of them together.
const Help = "Keys, generations and copies of the vault."

// Clause declares the command below parent.
func (c Command) Clause(parent *kingpin.CmdClause) *kingpin.CmdClause {
	group, name, grouped := strings.Cut(c.Name, " ")
	if !grouped {
		return parent.Command(c.Name, c.Help)
	}
	above := parent.GetCommand(group)
	if above == nil {
		above = parent.Command(group, "Who can open the vault.")
	}
	return above.Command(name, c.Help)
}

// UsageError is a mistake in the command line.
type UsageError struct{ error }

func (e *UsageError) Unwrap() error { return e.error }

// Commands are in the order of the help.
var Commands = []Command{
	{"create", "Make a new, empty vault.", create},
	{"passwd", "Change the passphrase.", passwd},
	{"key list", "List the keyslots: who can open the vault.", keyList},
	{"key add", "Let another passphrase open the vault, too.", keyAdd},
	{"key remove", "Make a keyslot's passphrase unusable.", keyRemove},
	{"recovery", "Make a recovery code to write down, in the place of an earlier one.", recovery},
	{"check", "Look at header, keyslots, seal and file system; mend a damaged copy of the header.", check},
	{"generations", "List the vault and its earlier generations.", generations},
	{"rollback", "Go back to an earlier generation; the vault becomes generation 1.", rollback},
	{"backup", "Write a copy of the vault, encrypted as it is.", backup},
	{"restore", "Make a backup the vault; the present one becomes generation 1.", restore},
	{"resize", "Make the vault larger or smaller.", resize},
	{"export", "Write the vault's files in clear to a directory.", export},
}

// visit carries out a request. desk has what is special about it.
func visit(front Front, request wire.VaultRequest, answers answers, desk dial.Desk) (*wire.VaultResult, error) {
	if desk.Source == nil {
		source, err := front.Source()
		if err != nil {
			return nil, err
		}
		desk.Source = source
	}
	if desk.New == nil {
		source, err := answers.source(desk.Source)
		if err != nil {
			return nil, err
		}
		desk.New = source
	}
	desk.Confirm = answers.confirm
	client, err := front.Connect()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.Vault(front.Ctx, request, desk)
}

// answers are to what is asked besides today's passphrase.
type answers struct {
	yes      bool
	fd, file string // of a new passphrase
}

type answerFlags struct {
	yes      *bool
	fd, file *string
}

func yesFlag(c *kingpin.CmdClause) answerFlags {
	return answerFlags{yes: c.Flag("yes", "Answer yes to every question.").Short('y').Bool()}
}

func newFlags(c *kingpin.CmdClause) answerFlags {
	return answerFlags{
		fd:   c.Flag("new-passphrase-fd", "Read the new passphrase from this file descriptor.").PlaceHolder("N").String(),
		file: c.Flag("new-passphrase-file", "Read the new passphrase from this file.").PlaceHolder("FILE").String(),
	}
}

func (f answerFlags) get() (a answers) {
	if f.yes != nil {
		a.yes = *f.yes
	}
	if f.fd != nil {
		a.fd, a.file = *f.fd, *f.file
	}
	return a
}

// source is who knows a new passphrase: a file, or the person who is asked for
// today's. One who can only give today's would make no change.
func (a answers) source(today dial.Source) (dial.Source, error) {
	if a.fd == "" && a.file == "" {
		if today.Tries() == 1 {
			return noNew{today}, nil
		}
		return today, nil
	}
	return GivenPassphrase("new-passphrase", a.fd, a.file)
}

// noNew knows today's passphrase alone.
type noNew struct{ dial.Source }

func (noNew) Ask(context.Context, string) (*locked.Buffer, error) {
	return nil, &UsageError{errors.New("there is no new passphrase: --new-passphrase-fd and --new-passphrase-file give it")}
}

// GivenPassphrase reads the passphrase that the flags --NAME-fd and --NAME-file say.
func GivenPassphrase(name, fd, file string) (dial.Source, error) {
	var f *os.File
	switch {
	case fd != "" && file != "":
		return nil, &UsageError{fmt.Errorf("--%s-fd and --%s-file exclude each other", name, name)}
	case fd != "":
		n, err := strconv.ParseUint(fd, 10, 31)
		if err != nil {
			return nil, &UsageError{fmt.Errorf("--%s-fd: %q is no descriptor; give its number, such as 3", name, fd)}
		}
		f = os.NewFile(uintptr(n), "descriptor "+fd)
	default:
		var err error
		if f, err = os.Open(file); err != nil {
			return nil, fmt.Errorf("%w: %w", dial.ErrNoPassphrase, err)
		}
	}
	source, err := dial.Given(f, os.Stderr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", dial.ErrNoPassphrase, err)
	}
	return source, nil
}

func (a answers) confirm(ctx context.Context, question string) (bool, error) {
	if a.yes {
		return true, nil
	}
	t, err := term.Controlling()
	if errors.Is(err, term.ErrNone) {
		return false, &UsageError{fmt.Errorf("%s There is no terminal to ask on; --yes answers", question)}
	}
	if err != nil {
		return false, err
	}
	defer t.Close()
	return t.Confirm(ctx, question+" [y/N] ")
}

// costFlag is for commands that make a keyslot.
func costFlag(c *kingpin.CmdClause) func() (time.Duration, error) {
	text := c.Flag("iter-time", "How long trying the new passphrase shall take on this machine, such as 2s.").PlaceHolder("TIME").String()
	return func() (time.Duration, error) {
		if *text == "" {
			return 0, nil
		}
		d, err := time.ParseDuration(*text)
		if err != nil || d < wire.ShortestTry || d > wire.LongestTry {
			return 0, &UsageError{fmt.Errorf("--iter-time: %q is not between %v and %v", *text, wire.ShortestTry, wire.LongestTry)}
		}
		return d, nil
	}
}

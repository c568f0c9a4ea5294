package vault

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
)

func create(c *kingpin.CmdClause) func(Front) (int, error) {
	size := c.Flag("size", "Its size, such as 1GiB.").PlaceHolder("SIZE").String()
	cost := costFlag(c)
	return func(front Front) (_ int, err error) {
		request := wire.VaultRequest{Command: wire.VaultCreate}
		if *size != "" {
			if request.Size, err = wire.ParseSize(*size); err != nil {
				return 0, &UsageError{err}
			}
		}
		source, err := front.Source()
		if err != nil {
			return 0, err
		}
		return done(change(front, request, cost, answers{}, dial.Desk{Source: source, New: source}))
	}
}

func passwd(c *kingpin.CmdClause) func(Front) (int, error) {
	cost, flags := costFlag(c), newFlags(c)
	return func(front Front) (int, error) {
		return done(change(front, wire.VaultRequest{Command: wire.VaultPasswd}, cost, flags.get(), dial.Desk{}))
	}
}

func keyAdd(c *kingpin.CmdClause) func(Front) (int, error) {
	label := c.Flag("label", "Who or what it is for.").PlaceHolder("TEXT").String()
	cost, flags := costFlag(c), newFlags(c)
	return func(front Front) (int, error) {
		return done(change(front, wire.VaultRequest{Command: wire.VaultKeyAdd, Label: *label}, cost, flags.get(), dial.Desk{}))
	}
}

func keyRemove(c *kingpin.CmdClause) func(Front) (int, error) {
	slot := c.Arg("slot", "Number of the keyslot: vault key list.").Required().String()
	flags := yesFlag(c)
	return func(front Front) (int, error) {
		n, err := number(*slot)
		if err != nil {
			return 0, err
		}
		return done(visit(front, wire.VaultRequest{Command: wire.VaultKeyRemove, Number: n}, flags.get(), dial.Desk{}))
	}
}

func recovery(c *kingpin.CmdClause) func(Front) (int, error) {
	cost, flags := costFlag(c), yesFlag(c)
	return func(front Front) (int, error) {
		show := func(code []byte) error {
			if _, err := os.Stdout.Write(code); err != nil {
				return err
			}
			_, err := os.Stdout.WriteString("\n")
			return err
		}
		return done(change(front, wire.VaultRequest{Command: wire.VaultRecovery}, cost, flags.get(), dial.Desk{Show: show}))
	}
}

// change is visit for what makes a keyslot.
func change(front Front, request wire.VaultRequest, cost func() (time.Duration, error), answers answers, desk dial.Desk) (_ *wire.VaultResult, err error) {
	if request.Time, err = cost(); err != nil {
		return nil, err
	}
	return visit(front, request, answers, desk)
}

// done is the exit code of a command that prints nothing.
func done(result *wire.VaultResult, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return result.Code, nil
}

func resize(c *kingpin.CmdClause) func(Front) (int, error) {
	size := c.Arg("size", "The new size, such as 1GiB.").Required().String()
	return func(front Front) (int, error) {
		n, err := wire.ParseSize(*size)
		if err != nil {
			return 0, &UsageError{err}
		}
		return done(visit(front, wire.VaultRequest{Command: wire.VaultResize, Size: n}, answers{}, dial.Desk{}))
	}
}

func rollback(c *kingpin.CmdClause) func(Front) (int, error) {
	generation := c.Arg("generation", "1 for the newest of the earlier ones: vault generations.").Required().String()
	return func(front Front) (int, error) {
		n, err := number(*generation)
		if err != nil {
			return 0, err
		}
		return done(visit(front, wire.VaultRequest{Command: wire.VaultRollback, Number: n}, answers{}, dial.Desk{}))
	}
}

func number(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		err = &UsageError{fmt.Errorf("%q is no number", text)}
	}
	return n, err
}

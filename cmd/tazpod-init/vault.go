package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/control"
	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
	"github.com/tazzo/tazpod/launcher/vault"
)

// vaultCommands are the launcher's, with the pod's own socket as carrier.
func vaultCommands() (list []command) {
	for _, v := range vault.Commands {
		list = append(list, command{"vault " + v.Name, v.Help, false, func(c *kingpin.CmdClause) func([]string) (int, error) {
			given := c.Flag("passphrase-fd", "Read the passphrase from this descriptor instead of asking.").PlaceHolder("N").String()
			run := v.Setup(c)
			return func([]string) (int, error) {
				_ = lockMemory() // as for a ghost
				fd, err := descriptor("passphrase-fd", *given)
				if err != nil {
					return 0, err
				}
				ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
				defer stop()
				code, err := run(vault.Front{Ctx: ctx, Connect: func() (*dial.Client, error) { return connectControl(ctx) },
					Source: func() (dial.Source, error) { return passphraseSource(fd) },
					Tell:   func(text string) { fmt.Fprintln(os.Stderr, "tazpod: "+text) }})
				return code, vaultFailure(err)
			}
		}})
	}
	return list
}

func connectControl(ctx context.Context) (*dial.Client, error) {
	carrier, err := net.Dial("unix", wire.Socket)
	if err != nil {
		if why, hint, ok := control.Unreachable(err); ok {
			return nil, &exit{wire.ExitFailure, why, hint}
		}
		return nil, err
	}
	return dial.Control(ctx, carrier, control.HostKey)
}

// vaultFailure gives the error of a command about the vault its exit code.
func vaultFailure(err error) error {
	var own *exit
	var usage *vault.UsageError
	switch {
	case err == nil, errors.As(err, &own):
		return err
	case errors.As(err, &usage):
		return &exit{wire.ExitUsage, usage, ""}
	}
	if failed := loginFailure(err); errors.As(failed, &own) && own.code != wire.ExitSession {
		return failed
	}
	return &exit{wire.ExitFailure, err, ""}
}

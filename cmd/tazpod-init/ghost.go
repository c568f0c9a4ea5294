package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/control"
	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
	"github.com/tazzo/tazpod/launcher/term"
)

// ghostCommand is the launcher's client with the pod's own socket as carrier,
// for `docker exec -it POD tazpod-init ghost`.
var ghostCommand = command{"ghost", "Open or join the ghost: a shell, or the command behind --.", true,
	func(c *kingpin.CmdClause) func([]string) (int, error) {
		given := c.Flag("passphrase-fd", "Read the passphrase from this descriptor instead of asking.").PlaceHolder("N").String()
		profile := c.Flag("profile", "Show only this group of secrets, in a ghost of its own.").PlaceHolder("NAME").String()
		only := c.Flag("only", "Show only this secret, to this one session (may be repeated).").PlaceHolder("NAME").Strings()
		ttl := c.Flag("ttl", "End the ghost after this time.").PlaceHolder("8h").String()
		idle := c.Flag("idle", "End the ghost when nobody uses it for this time.").PlaceHolder("30m").String()
		return func(argv []string) (int, error) {
			fd, err := descriptor("passphrase-fd", *given)
			if err != nil {
				return 0, err
			}
			ask, err := dial.ParseAsk(*profile, *only, *ttl, *idle, os.Getenv)
			if err != nil {
				return 0, &exit{wire.ExitUsage, err, ""}
			}
			return enterGhost(fd, ask, argv)
		}
	}}

// nobodysFD stands for a passphrase that nobody gives: people are asked.
const nobodysFD = -1

// descriptor reads the value of a flag such as --passphrase-fd.
func descriptor(flag, given string) (int, error) {
	if given == "" {
		return nobodysFD, nil
	}
	fd, err := strconv.ParseUint(given, 10, 31)
	if err != nil {
		err = &exit{wire.ExitUsage, fmt.Errorf("--%s: %q is no descriptor", flag, given), "its number, such as 3"}
	}
	return int(fd), err
}

func enterGhost(fd int, ask dial.Ask, argv []string) (int, error) {
	// What the SSH library makes of the passphrase stays out of swap where the
	// pod's limit allows; nobody else can read this process (mode 0711).
	_ = lockMemory()
	carrier, err := net.Dial("unix", wire.Socket)
	if err != nil {
		if why, hint, ok := control.Unreachable(err); ok {
			return 0, &exit{wire.ExitSession, why, hint}
		}
		return wire.ExitSession, err
	}
	source, err := passphraseSource(fd)
	if err != nil {
		carrier.Close()
		return 0, err
	}
	streams := dial.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	if here, ok := term.From(os.Stdin); ok {
		if _, ok := term.From(os.Stdout); ok {
			streams.Terminal = here
		}
	}
	if streams.Terminal == nil && len(argv) == 0 { // before the vault is opened for nothing
		carrier.Close()
		return 0, &exit{wire.ExitUsage, errors.New("a shell needs a terminal"), "docker exec -it, or name a command: ghost -- CMD"}
	}
	client, err := dial.Ghost(context.Background(), carrier, control.HostKey, source, ask)
	if err != nil {
		return 0, loginFailure(err)
	}
	defer client.Close()
	status, err := client.Run(dial.Quote(argv), dial.Environment(os.Environ()), streams)
	if err != nil {
		return 0, &exit{wire.ExitSession, err, "the pod's log tells more: docker logs POD"}
	}
	return status, nil
}

// passphraseSource is the descriptor if one is given, else whoever sits at a
// terminal that nobody else in the pod can open.
func passphraseSource(fd int) (dial.Source, error) {
	if fd >= 0 {
		unix.CloseOnExec(fd)
		source, err := dial.Given(os.NewFile(uintptr(fd), fmt.Sprintf("descriptor %d", fd)), os.Stderr)
		if err != nil {
			err = &exit{wire.ExitPassphrase, err, ""}
		}
		return source, err
	}
	here, err := term.Controlling()
	if err != nil {
		return nil, &exit{wire.ExitPassphrase, errors.New("no terminal to ask for the passphrase on"),
			"docker exec -it, or give it by --passphrase-fd N"}
	}
	if err := private(); err != nil {
		return nil, &exit{wire.ExitPassphrase, err, "docker exec without -u gives root's own terminal; from the host: tazpod ghost"}
	}
	return dial.Person(here), nil
}

// private refuses a terminal that a process of another user of the pod could
// open, and so read the passphrase from.
func private() error {
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if _, ok := term.From(f); !ok {
			continue
		}
		info, err := f.Stat()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		// The group tty may write messages to a terminal (mesg(1)), never read.
		if st.Uid != 0 || st.Mode&(unix.S_IRGRP|unix.S_IRWXO) != 0 {
			return fmt.Errorf("other processes of the pod could read this terminal (%s belongs to uid %d)", f.Name(), st.Uid)
		}
		return nil
	}
	return errors.New("the terminal is none of the standard streams")
}

// loginFailure gives a failed login its exit code and hint.
func loginFailure(err error) error {
	var refused *dial.Refusal
	var signaled *term.SignalError
	switch {
	case errors.As(err, &refused):
		return &exit{refused.Code, errors.New(refused.Text), refused.Hint}
	case errors.As(err, &signaled):
		return &exit{wire.ExitSignal + int(signaled.Signal), errors.New(strings.ToLower(signaled.Error())), ""}
	case errors.Is(err, dial.ErrPassphrase), errors.Is(err, dial.ErrNoPassphrase):
		return &exit{wire.ExitPassphrase, err, ""}
	}
	return &exit{wire.ExitSession, err, "the pod's log tells more: docker logs POD"}
}

package main

import (
	"errors"
	"io"
	"os"
	"sync/atomic"

	"github.com/alecthomas/kingpin/v2"
	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/dial"
	"github.com/tazzo/tazpod/launcher/engine"
	"github.com/tazzo/tazpod/launcher/term"
	"github.com/tazzo/tazpod/launcher/vault"
)

// sessionFlags are those of the commands that open a ghost.
type sessionFlags struct {
	passphraseFlags
	plain     *bool
	profile   *string
	only      *[]string
	ttl, idle *string
}

// passphraseFlags are those of the commands that need the passphrase.
type passphraseFlags struct{ fd, file *string }

func declarePassphrase(c *kingpin.CmdClause) passphraseFlags {
	return passphraseFlags{
		c.Flag("passphrase-fd", "Read the passphrase from this file descriptor instead of the terminal.").PlaceHolder("N").String(),
		c.Flag("passphrase-file", "Read the passphrase from this file instead of the terminal.").PlaceHolder("FILE").Envar("TAZPOD_PASSPHRASE_FILE").String(),
	}
}

func profileFlag(c *kingpin.CmdClause) *string {
	return c.Flag("profile", "Show only this group of secrets, in a ghost of its own.").PlaceHolder("NAME").String()
}

func declareSession(c *kingpin.CmdClause) sessionFlags {
	return sessionFlags{
		declarePassphrase(c),
		c.Flag("no-tty", "Give the command no terminal although there is one.").Short('T').Bool(),
		profileFlag(c),
		c.Flag("only", "Show only this secret, to this one session (may be repeated).").PlaceHolder("NAME").Strings(),
		c.Flag("ttl", "End the ghost after this time.").PlaceHolder("8h").String(),
		c.Flag("idle", "End the ghost when nobody uses it for this time.").PlaceHolder("30m").String(),
	}
}

// ask is which ghost the flags mean.
func (f sessionFlags) ask() (dial.Ask, error) {
	ask, err := dial.ParseAsk(*f.profile, *f.only, *f.ttl, *f.idle, os.Getenv)
	if err != nil {
		err = &exit{wire.ExitUsage, err, ""}
	}
	return ask, err
}

// source finds out who knows the passphrase, and asks for nothing where nobody
// can answer.
func (f passphraseFlags) source() (dial.Source, error) {
	if *f.fd != "" || *f.file != "" {
		source, err := vault.GivenPassphrase("passphrase", *f.fd, *f.file)
		var usage *vault.UsageError
		if errors.As(err, &usage) {
			err = usageError(usage)
		}
		return source, err
	}
	if t, err := term.Controlling(); err == nil {
		return dial.Person(t), nil
	}
	if t, ok := term.From(os.Stdin); ok {
		return dial.Person(t), nil
	}
	return nil, &exit{wire.ExitPassphrase, errors.New("there is no terminal to ask for the passphrase on"),
		"give it with --passphrase-fd N or --passphrase-file F"}
}

// undumpable keeps the passphrase that goes by from other processes of this user;
// where this is refused they could see it anyway.
func undumpable() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// session runs argv, or a login shell, in the pod's ghost, after what is to be done
// before in the same ghost.
func (p *place) session(pod *engine.Pod, fresh bool, source dial.Source, ask dial.Ask, plain bool, before func(*place, *dial.Client) error) (int, error) {
	undumpable()
	client, err := p.ghost(pod, fresh, source, ask)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	if before != nil {
		release := hold(client)
		defer release()
		if err := before(p, client); err != nil {
			return 0, p.lost(pod, err)
		}
	}
	streams := dial.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	in, isIn := term.From(os.Stdin)
	if _, isOut := term.From(os.Stdout); isIn && isOut && !plain {
		streams.Terminal = in
	}
	status, err := client.Run(dial.Quote(p.argv), dial.Environment(os.Environ()), streams)
	return status, p.lost(pod, err)
}

// hold keeps the ghost while sessions in it follow each other: it would end with the
// first of them, and the next would need the passphrase.
func hold(client *dial.Client) (release func()) {
	in, keep := io.Pipe()
	started, out := io.Pipe()
	done, errs := make(chan struct{}), &late{w: os.Stderr}
	go func() {
		defer close(done)
		// If there is no such session, the next says why.
		_, _ = client.Run("echo && exec cat", nil, dial.Streams{In: in, Out: out, Err: errs})
		out.Close()
	}()
	_, _ = started.Read(make([]byte, 1)) // it is there, or there will be none
	go func() { _, _ = io.Copy(io.Discard, started) }()
	return func() {
		errs.open.Store(true)
		keep.Close()
		<-done
	}
}

// late passes on what is written at the end: that the vault could not be saved, say.
// What a session is told at its beginning, the others are told too.
type late struct {
	w    io.Writer
	open atomic.Bool
}

func (l *late) Write(p []byte) (int, error) {
	if !l.open.Load() {
		return len(p), nil
	}
	return l.w.Write(p)
}

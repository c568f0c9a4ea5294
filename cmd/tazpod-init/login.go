package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/tazzo/tazpod/init/pull"
	"github.com/tazzo/tazpod/init/secrets"
	"github.com/tazzo/tazpod/init/secrets/infisical"
	"github.com/tazzo/tazpod/init/wire"
)

const maxCredential = 8 << 10 // bytes

var loginCommand = command{"login", "In a ghost: log in to Infisical for pull; the login stays in the vault.", false,
	func(c *kingpin.CmdClause) func([]string) (int, error) {
		address := c.Flag("url", "The server, instead of the one in secrets.yml.").PlaceHolder("URL").String()
		id := c.Flag("client-id", "Of the machine identity (Universal Auth).").PlaceHolder("ID").String()
		secretFD := c.Flag("client-secret-fd", "Read the identity's secret from this descriptor instead of asking.").PlaceHolder("N").String()
		tokenFD := c.Flag("token-fd", "Log in with the access token that this descriptor has.").PlaceHolder("N").String()
		return func([]string) (int, error) {
			g, err := inside()
			if err != nil {
				return 0, err
			}
			defer g.dir.Close()
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			file, err := pull.Secrets(wire.Workspace)
			if errors.Is(err, os.ErrNotExist) {
				file, err = &secrets.File{}, nil
			}
			if err != nil {
				return 0, err
			}
			server, err := g.server(ctx, *address, file.Config.URL)
			if err != nil {
				return 0, err
			}
			login := &pull.Login{URL: server.URL, ID: *id}
			defer login.Wipe()
			if *tokenFD != "" {
				login.Token, err = credential("token-fd", *tokenFD)
			} else if err = g.identity(ctx, login, *secretFD); err == nil && login.ID != "" {
				err = login.Again(ctx, server, g.dir)
			}
			if err == nil && file.Config.Project != "" {
				err = tried(ctx, server, login, file.Config)
			}
			if err == nil {
				err = login.Write(g.dir)
			}
			if err != nil {
				return 0, err
			}
			until := ""
			if !login.Expires.IsZero() {
				until = ", until " + login.Expires.UTC().Format(time.RFC3339)
			}
			tell("logged in at " + server.URL + until + "; tazpod pull brings the secrets")
			return wire.ExitOK, nil
		}
	}}

// server is the one to log in to. Whoever can write to the project says which in
// secrets.yml, and would get what is typed here: any but Infisical's own takes a yes.
func (g *here) server(ctx context.Context, given, named string) (*infisical.Server, error) {
	address := given
	if address == "" {
		address = named
	}
	server, err := infisical.New(address, nil)
	if err != nil {
		return nil, &exit{wire.ExitUsage, err, ""}
	}
	if given != "" || slices.Contains(infisical.Clouds, server.URL) {
		return server, nil
	}
	says := fmt.Sprintf("%s says that your Infisical is %s", wire.SecretsFile, server.URL)
	if g.terminal == nil {
		return nil, &exit{wire.ExitUsage, errors.New(says), "if that is right: --url " + server.URL}
	}
	g.terminal.Tell("tazpod: " + says + ".")
	yes, err := g.terminal.Confirm(ctx, "Log in there? [y/N] ")
	if err == nil && !yes {
		err = &exit{wire.ExitUsage, errors.New("not logged in"), ""}
	}
	return server, err
}

// identity asks for what isn't given: the identity's id and secret or, without an id,
// an access token, such as a browser shows.
func (g *here) identity(ctx context.Context, login *pull.Login, secretFD string) (err error) {
	if login.ID == "" {
		if g.terminal == nil || secretFD != "" {
			return &exit{wire.ExitUsage, errors.New("which machine identity?"), "--client-id ID with --client-secret-fd N, or --token-fd N"}
		}
		if login.ID, err = g.terminal.Line(ctx, "Client id of the machine identity (empty for an access token): "); err != nil {
			return err
		}
	}
	if secretFD != "" {
		login.Secret, err = credential("client-secret-fd", secretFD)
		return err
	}
	if g.terminal == nil {
		return &exit{wire.ExitUsage, errors.New("there is no terminal to ask for the client secret on"), "--client-secret-fd N"}
	}
	question, to := "Client secret: ", &login.Secret
	if login.ID == "" {
		question, to = "Access token: ", &login.Token
	}
	line, err := g.terminal.Passphrase(ctx, question)
	if err != nil {
		return err
	}
	defer line.Destroy()
	if line.Len() == 0 {
		return &exit{wire.ExitUsage, errors.New("nothing was typed"), ""}
	}
	*to = bytes.Clone(line.Bytes())
	return nil
}

// tried is nil when the login may read the project.
func tried(ctx context.Context, server *infisical.Server, login *pull.Login, config secrets.Config) error {
	q := infisical.Query{Project: config.Project}
	q.Environment, q.Path = config.Folder(secrets.Entry{})
	values, _, err := server.List(ctx, login.Token, q)
	for _, v := range values {
		clear(v)
	}
	if errors.Is(err, infisical.ErrDenied) || errors.Is(err, infisical.ErrNotFound) {
		tell("note: " + err.Error()) // single secrets may be elsewhere
		return nil
	}
	return err
}

// credential reads a secret from a descriptor, up to its end, without the end of its
// last line.
func credential(flag, given string) ([]byte, error) {
	fd, err := descriptor(flag, given)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "descriptor "+given)
	defer f.Close()
	data := make([]byte, maxCredential)
	n, err := io.ReadFull(f, data)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		clear(data)
		return nil, &exit{wire.ExitUsage, fmt.Errorf("descriptor %s has no credential of up to %d KiB", given, maxCredential>>10), ""}
	}
	return bytes.TrimRight(data[:n], "\r\n"), nil
}

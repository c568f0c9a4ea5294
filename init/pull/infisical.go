package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/tazzo/tazpod/init/secrets"
	"github.com/tazzo/tazpod/init/secrets/infisical"
)

// FromInfisical is the source infisical: the project of secrets.yml, with the login of
// the vault. It asks for each folder once in a run, and then keeps what it was told: a
// folder that is the same the next time isn't sent again.
type FromInfisical struct {
	Dir    *os.Root
	Config secrets.Config

	server  *infisical.Server
	login   *Login
	folders map[infisical.Query]*folder
	refused error // the login was: trying again would lock the identity out
}

type folder struct {
	etag   string
	values map[string][]byte
	fresh  bool // asked for in this run
	err    error
}

// Again begins another run.
func (s *FromInfisical) Again() {
	for _, f := range s.folders {
		f.fresh = false
	}
}

func (s *FromInfisical) Fetch(ctx context.Context, e secrets.Entry) ([]byte, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	q := infisical.Query{Project: s.Config.Project}
	q.Environment, q.Path = s.Config.Folder(e)
	f, err := s.folder(ctx, q)
	if err != nil {
		return nil, err
	}
	value, ok := f.values[e.Name]
	if !ok {
		return nil, fmt.Errorf("%s has none of that name for this login in the environment %q, folder %q", s.server.URL, q.Environment, q.Path)
	}
	return bytes.Clone(value), nil
}

// open reads the login, which is for its own server and for no other: secrets.yml may
// name another by now.
func (s *FromInfisical) open() error {
	if s.server != nil {
		return nil
	}
	server, err := infisical.New(s.Config.URL, nil)
	if err != nil {
		return err
	}
	login, err := ReadLogin(s.Dir)
	if err != nil {
		return err
	}
	if login.URL != server.URL {
		return fmt.Errorf("the login is for %s, and %s says %s: tazpod login, if that is right", login.URL, "secrets.yml", server.URL)
	}
	s.server, s.login, s.folders = server, login, map[infisical.Query]*folder{}
	return nil
}

func (s *FromInfisical) folder(ctx context.Context, q infisical.Query) (*folder, error) {
	f := s.folders[q]
	if f == nil {
		f = &folder{}
		s.folders[q] = f
	}
	if !f.fresh {
		f.err, f.fresh = s.ask(ctx, q, f), true
	}
	return f, f.err
}

// ask brings a folder up to date.
func (s *FromInfisical) ask(ctx context.Context, q infisical.Query, f *folder) error {
	if s.refused != nil {
		return s.refused
	}
	ask := q
	ask.ETag = f.etag
	values, etag, err := s.server.List(ctx, s.login.Token, ask)
	if errors.Is(err, infisical.ErrExpired) {
		if err = s.login.Again(ctx, s.server, s.Dir); err == nil {
			values, etag, err = s.server.List(ctx, s.login.Token, ask)
		} else if errors.Is(err, infisical.ErrCredentials) || errors.Is(err, infisical.ErrLockedOut) || errors.Is(err, infisical.ErrExpired) {
			s.refused = fmt.Errorf("%w: tazpod login", err)
			err = s.refused
		}
	}
	if errors.Is(err, infisical.ErrUnchanged) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, old := range f.values {
		clear(old)
	}
	f.values, f.etag = values, etag
	return nil
}

// Again gets another token: by the identity's secret, or by the old token, which a
// server renews for as long as it likes.
func (l *Login) Again(ctx context.Context, server *infisical.Server, dir *os.Root) error {
	var token *infisical.Token
	var err error
	if l.ID != "" {
		token, err = server.Login(ctx, l.ID, l.Secret)
	} else {
		token, err = server.Renew(ctx, l.Token)
	}
	if err != nil {
		return err
	}
	clear(l.Token)
	l.Token, l.Expires = token.Access, token.Expires
	return l.Write(dir)
}

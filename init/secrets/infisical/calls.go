package infisical

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Token gives access for some time.
type Token struct {
	Access  []byte    // its owner zeroes it
	Expires time.Time // zero if it doesn't
}

// Login logs in a machine identity (Universal Auth). The request is sent once: three
// wrong ones lock the identity out for minutes.
func (s *Server) Login(ctx context.Context, id string, secret []byte) (*Token, error) {
	t, err := s.token(ctx, "/v1/auth/universal-auth/login", map[string]string{"clientId": id, "clientSecret": string(secret)})
	var e *Error
	if errors.As(err, &e) && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden) {
		e.kind = ErrCredentials
		if strings.Contains(strings.ToLower(e.Message), "locked") {
			e.kind = ErrLockedOut
		}
	}
	return t, err
}

// Renew makes a token last longer, as far as its identity allows. ErrExpired says that
// only a login helps.
func (s *Server) Renew(ctx context.Context, access []byte) (*Token, error) {
	return s.token(ctx, "/v1/auth/token/renew", map[string]string{"accessToken": string(access)})
}

func (s *Server) token(ctx context.Context, path string, body map[string]string) (*Token, error) {
	a, err := s.do(ctx, call{method: http.MethodPost, path: path, body: body, once: true})
	if err != nil {
		return nil, err
	}
	defer clear(a.body)
	var said struct {
		Access    string `json:"accessToken"`
		ExpiresIn int64  `json:"expiresIn"` // seconds
	}
	if json.Unmarshal(a.body, &said) != nil || said.Access == "" {
		return nil, fmt.Errorf("%s: its answer to a login has no token: is it a server of Infisical?", s.URL)
	}
	t := &Token{Access: []byte(said.Access)}
	if said.ExpiresIn > 0 {
		t.Expires = time.Now().Add(time.Duration(min(said.ExpiresIn, 1<<32)) * time.Second)
	}
	return t, nil
}

// Query is a folder of a project.
type Query struct {
	Project, Environment, Path string
	ETag                       string // of an earlier answer; then ErrUnchanged may be the answer
}

// List returns the folder's secrets by name, references expanded and imports included:
// its own before those of imports, and those of earlier imports before those of later
// ones, as Infisical's own SDK has it. The caller zeroes the values.
func (s *Server) List(ctx context.Context, access []byte, q Query) (secrets map[string][]byte, etag string, err error) {
	versions := []version{v4, v3}
	if s.old.Load() {
		versions = versions[1:]
	}
	var a *answer
	for _, v := range versions {
		a, err = s.do(ctx, call{method: http.MethodGet, path: v.path, query: v.query(q), access: access, etag: q.ETag})
		if !errors.Is(err, errNoRoute) {
			break
		}
		s.old.Store(true)
	}
	if err != nil {
		return nil, "", err
	}
	defer clear(a.body)
	if a.status == http.StatusNotModified {
		return nil, q.ETag, ErrUnchanged
	}
	if secrets, err = decode(a.body); err != nil {
		return nil, "", fmt.Errorf("%s: %w", s.URL, err)
	}
	return secrets, a.etag, nil
}

// version is one of the API's ways to list secrets.
type version struct {
	path    string
	project string // what that is called
}

var (
	v3 = version{"/v3/secrets/raw", "workspaceId"}
	v4 = version{"/v4/secrets", "projectId"}
)

func (v version) query(q Query) url.Values {
	yes := strconv.FormatBool(true)
	return url.Values{v.project: {q.Project}, "environment": {q.Environment}, "secretPath": {q.Path},
		"include_imports": {yes}, "includeImports": {yes}, // v4 has had both names
		"expandSecretReferences": {yes}, "viewSecretValue": {yes}, "recursive": {strconv.FormatBool(false)}}
}

// decode reads a list of secrets. Where there is a personal value beside the shared one
// it takes the shared one, which is everybody's.
func decode(body []byte) (map[string][]byte, error) {
	type secret struct {
		Key    *string `json:"secretKey"`
		Value  *string `json:"secretValue"`
		Type   string  `json:"type"`
		Hidden bool    `json:"secretValueHidden"`
	}
	var said struct {
		Secrets *[]secret `json:"secrets"`
		Imports []struct {
			Secrets []secret `json:"secrets"`
		} `json:"imports"`
	}
	if json.Unmarshal(body, &said) != nil || said.Secrets == nil {
		return nil, errors.New("its answer is no list of secrets: is it a server of Infisical?")
	}
	lists := [][]secret{*said.Secrets}
	for _, i := range said.Imports {
		lists = append(lists, i.Secrets)
	}
	all := map[string][]byte{}
	for _, list := range lists {
		for _, e := range list {
			if e.Key == nil || e.Value == nil || e.Hidden || e.Type == "personal" {
				continue // a value that the identity may not see is as good as none
			}
			if _, ok := all[*e.Key]; !ok {
				all[*e.Key] = []byte(*e.Value)
			}
		}
	}
	return all, nil
}

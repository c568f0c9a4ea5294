// Package engine runs pods on a container engine: Docker's API, which Podman
// speaks too. It finds the engine as the docker command does, by DOCKER_HOST,
// DOCKER_CONTEXT or the current context.
//
// Nothing secret passes through the engine in clear: what it carries for the
// control channel is encrypted between launcher and pod.
package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/context/docker"
	"github.com/docker/cli/cli/context/store"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"
)

// oldestAPI is that of Docker 20.10.
const oldestAPI = "1.41"

// Engine is a connection to a container engine that answers.
type Engine struct {
	api     *client.Client
	Host    string // its address
	Version string // of its API, as used
}

// UnreachableError says that no usable engine answers.
type UnreachableError struct {
	Host string
	Err  error
	Hint string
}

func (e *UnreachableError) Error() string {
	return "container engine at " + e.Host + ": " + e.Err.Error()
}
func (e *UnreachableError) Unwrap() error { return e.Err }

// Open connects to the engine that env and docker's own settings name. Every
// error is an *UnreachableError.
func Open(ctx context.Context, env func(string) string) (*Engine, error) {
	options, host, err := endpoint(env)
	if err != nil {
		return nil, &UnreachableError{host, err, "docker context ls shows what docker itself would use"}
	}
	api, err := client.NewClientWithOpts(options...)
	if err != nil {
		return nil, &UnreachableError{host, err, "check DOCKER_HOST and `docker context ls`"}
	}
	if host == "" {
		host = api.DaemonHost()
	}
	ping, err := api.Ping(ctx)
	if err != nil {
		api.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, unreachable(host, err)
	}
	api.NegotiateAPIVersionPing(ping)
	if v := api.ClientVersion(); versions.LessThan(v, oldestAPI) {
		api.Close()
		return nil, &UnreachableError{host, fmt.Errorf("its API %s is older than %s", v, oldestAPI), "Docker 20.10, Podman 4 or newer is needed"}
	}
	return &Engine{api: api, Host: host, Version: api.ClientVersion()}, nil
}

// Close closes idle connections.
func (e *Engine) Close() error { return e.api.Close() }

// Images is the engine's side of image builds.
func (e *Engine) Images() client.ImageAPIClient { return e.api }

// Info describes the engine.
func (e *Engine) Info(ctx context.Context) (system.Info, error) { return e.api.Info(ctx) }

// unreachable explains an engine that doesn't answer.
func unreachable(host string, err error) error {
	hint := "start it, or install one: apt-get install docker.io"
	if os.IsPermission(err) || errors.Is(err, os.ErrPermission) || strings.Contains(err.Error(), "permission denied") {
		hint = "your user may not use it: add yourself to its group (sudo usermod -aG docker $USER), then log in again"
	} else if strings.HasPrefix(host, "tcp:") || strings.HasPrefix(host, "ssh:") {
		hint = "check DOCKER_HOST and `docker context ls`"
	}
	return &UnreachableError{host, errors.New("no answer: " + firstLine(err.Error())), hint}
}

// endpoint resolves the engine's address the way the docker command does, since
// its client library alone knows neither contexts nor ssh. The host is empty
// where the library's default is used.
func endpoint(env func(string) string) (options []client.Opt, host string, err error) {
	if host := env("DOCKER_HOST"); host != "" {
		if strings.HasPrefix(host, "ssh://") {
			options, err := (&docker.Endpoint{EndpointMeta: docker.EndpointMeta{Host: host}}).ClientOpts()
			return options, host, err
		}
		return []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}, host, nil
	}
	name := env("DOCKER_CONTEXT")
	if name == "" {
		file, err := config.Load(config.Dir())
		if err != nil {
			return nil, config.Dir(), err
		}
		name = file.CurrentContext
	}
	if name == "" || name == "default" {
		options := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
		if socket := podmanSocket(env); socket != "" {
			return append(options, client.WithHost(socket)), socket, nil
		}
		return options, "", nil
	}
	contexts := store.New(config.ContextStoreDir(), store.NewConfig(
		func() any { return &map[string]any{} },
		store.EndpointTypeGetter(docker.DockerEndpoint, func() any { return &docker.EndpointMeta{} })))
	metadata, err := contexts.GetMetadata(name)
	if err != nil {
		return nil, "context " + name, err
	}
	meta, err := docker.EndpointFromContext(metadata)
	if err != nil {
		return nil, "context " + name, err
	}
	ep, err := docker.WithTLSData(contexts, name, meta)
	if err != nil {
		return nil, "context " + name, err
	}
	options, err = ep.ClientOpts()
	return options, ep.Host, err
}

// podmanSocket is where a user's own Podman answers on a machine without Docker.
func podmanSocket(env func(string) string) string {
	if _, err := os.Stat("/var/run/docker.sock"); err == nil {
		return ""
	}
	for _, path := range []string{
		filepath.Join(env("XDG_RUNTIME_DIR"), "podman/podman.sock"),
		"/run/podman/podman.sock",
	} {
		if info, err := os.Stat(path); filepath.IsAbs(path) && err == nil && info.Mode()&os.ModeSocket != 0 {
			return "unix://" + path
		}
	}
	return ""
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}

package project

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tazzo/tazpod/init/strict"
	"github.com/tazzo/tazpod/init/wire"
)

const maxFile = 64 << 10 // bytes; no settings are longer

// file is a settings file as written. What a key does stands in apply; pointers
// tell what was said from what wasn't.
type file struct {
	Image  *string `yaml:"image"`
	Name   *string `yaml:"name"`
	Memory *string `yaml:"memory"`
	Vault  struct {
		Path   *string `yaml:"path"`
		Size   *string `yaml:"size"`
		Engine *string `yaml:"engine"`
	} `yaml:"vault"`
	Ghost struct {
		Bridges []string `yaml:"bridges"`
		Persist []string `yaml:"persist"`
		RAM     *string  `yaml:"ram"`
		TTL     *string  `yaml:"ttl"`
		Idle    *string  `yaml:"idle"`
		History *string  `yaml:"history"`
	} `yaml:"ghost"`
	Build struct {
		Dockerfile     *string   `yaml:"dockerfile"`
		Context        *string   `yaml:"context"`
		CACertificates *[]string `yaml:"ca_certificates"`
		Args           []string  `yaml:"args"`
	} `yaml:"build"`
	Network *string  `yaml:"network"`
	Ports   []string `yaml:"ports"`

	// Keys of the original TazPod's file that say nothing new here.
	Version       *string `yaml:"version"`
	ContainerName *string `yaml:"container_name"` // means name
	User          *string `yaml:"user"`
	Features      struct {
		GhostMode *bool `yaml:"ghost_mode"`
		Debug     *bool `yaml:"debug"`
	} `yaml:"features"`

	path string
	user bool // the user's own file, which may say anything
}

// read reads and checks the file at path.
func read(path string) (*file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: longer than %d KiB", path, maxFile>>10)
	}
	return parse(path, data)
}

// parse decodes settings strictly.
func parse(path string, data []byte) (*file, error) {
	f := &file{path: path}
	if err := strict.Decode(path, data, f); err != nil {
		return nil, err
	}
	return f, nil
}

// apply adds what the file says to c.
func (f *file) apply(c *Config) error {
	wrap := func(key string, err error) error { return fmt.Errorf("%s: %s: %w", f.path, key, err) }
	if f.Image != nil && *f.Image != "" {
		c.Image = Image{*f.Image, !f.user}
	}
	set(&c.Name, f.ContainerName)
	set(&c.Name, f.Name)
	set(&c.Network, f.Network)
	for key, size := range map[string]struct {
		text *string
		to   *int64
	}{
		"memory":     {f.Memory, &c.Memory},
		"vault.size": {f.Vault.Size, &c.Vault.Size},
		"ghost.ram":  {f.Ghost.RAM, &c.Ghost.RAM},
	} {
		if size.text == nil {
			continue
		}
		n, err := wire.ParseSize(*size.text)
		if err != nil {
			return wrap(key, err)
		}
		*size.to = n
	}
	if c.Vault.Size < wire.MinVault {
		return wrap("vault.size", errSmallVault)
	}
	for key, path := range map[string]struct {
		text *string
		to   *string
	}{
		"vault.path":       {f.Vault.Path, &c.Vault.Path},
		"build.dockerfile": {f.Build.Dockerfile, &c.Build.Dockerfile},
		"build.context":    {f.Build.Context, &c.Build.Context},
	} {
		if path.text == nil || *path.text == "" {
			continue
		}
		if !filepath.IsLocal(*path.text) {
			return wrap(key, fmt.Errorf("%q leads out of the project", *path.text))
		}
		*path.to = filepath.Clean(*path.text)
	}
	if c.Vault.Path == "." || c.Vault.Path == filepath.Dir(File) {
		return wrap("vault.path", fmt.Errorf("%q holds other things than the vault, which pods need to see", c.Vault.Path))
	}
	if f.Vault.Engine != nil {
		var err error
		if c.Vault.Engine, err = engine(*f.Vault.Engine); err != nil {
			return wrap("vault.engine", err)
		}
		c.Vault.TheirEngine = c.Vault.Engine != "" && !f.user
	}
	if err := f.applyGhost(&c.Ghost); err != nil {
		return err
	}
	if f.Build.CACertificates != nil {
		c.Build.CACertificates, c.Build.TheirCA = f.certificates(), !f.user
	}
	for _, arg := range f.Build.Args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return wrap("build.args", fmt.Errorf("%q is not NAME=VALUE", arg))
		}
		if c.Build.Args == nil {
			c.Build.Args = map[string]string{}
		}
		c.Build.Args[name] = value
	}
	c.Ports = append(c.Ports, f.Ports...)
	if f.User != nil && *f.User != "tazpod" {
		c.Notes = append(c.Notes, fmt.Sprintf("%s: user %q is ignored: it is always tazpod in a pod", f.path, *f.User))
	}
	return nil
}

// applyGhost adds what the file says of ghosts. The limits of two files are both
// in force.
func (f *file) applyGhost(g *Ghost) error {
	wrap := func(key string, err error) error { return fmt.Errorf("%s: ghost.%s: %w", f.path, key, err) }
	for _, list := range []struct {
		said []string
		to   *[]string
	}{{f.Ghost.Bridges, &g.Bridges}, {f.Ghost.Persist, &g.Persist}} {
		for _, name := range list.said {
			name = filepath.Clean(strings.TrimPrefix(name, "~/"))
			if !slices.Contains(*list.to, name) {
				*list.to = append(*list.to, name)
			}
		}
	}
	if err := wire.CheckHome(g.Bridges, g.Persist); err != nil {
		return fmt.Errorf("%s: ghost: %w", f.path, err)
	}
	if !f.user {
		g.TheirPersist = f.Ghost.Persist
	}
	for key, limit := range map[string]struct {
		text *string
		to   *time.Duration
	}{"ttl": {f.Ghost.TTL, &g.TTL}, "idle": {f.Ghost.Idle, &g.Idle}} {
		if limit.text == nil {
			continue
		}
		d, err := wire.ParseLimit(*limit.text)
		if err != nil {
			return wrap(key, err)
		}
		*limit.to = wire.Tighter(*limit.to, d)
	}
	switch h := f.Ghost.History; {
	case h == nil:
	case *h == "ram" || *h == "vault":
		g.History = *h == "vault"
	default:
		return wrap("history", fmt.Errorf("%q is neither ram nor vault", *h))
	}
	return nil
}

// certificates makes the paths of a user's file absolute. Those of a project's
// stay relative to the project.
func (f *file) certificates() []string {
	paths := []string{}
	for _, p := range *f.Build.CACertificates {
		if f.user && !filepath.IsAbs(p) {
			p = filepath.Join(filepath.Dir(filepath.Dir(f.path)), p)
		}
		paths = append(paths, p)
	}
	return paths
}

func set(to *string, from *string) {
	if from != nil && *from != "" {
		*to = *from
	}
}

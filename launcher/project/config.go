// Package project reads what a project and its user want of a pod: the project's
// .tazpod/config.yaml, the user's own file, the environment and the command
// line, in that order of growing weight. It touches no engine and no secret.
//
// A project's file comes from whoever wrote the project, who need not be
// trusted: it may make a pod stricter than the user would, never looser.
package project

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/tree"
)

// Config is everything that is known about the pod of one project.
type Config struct {
	Dir     string // absolute path of the project; mounted at wire.Workspace
	Name    string // of the pod: container name, host name, prompt
	Image   Image
	Vault   Vault
	Ghost   Ghost
	Build   Build
	Memory  int64    // bytes that the pod may use; 0 for no limit
	Network string   // the engine's network; empty for its default
	Ports   []string // as `docker run -p` takes them
	Notes   []string // things that the user should hear of, for people
}

// Image says which image the pod has.
type Image struct {
	Name   string // as written; empty when nobody said which
	Theirs bool   // the project's file says so, not the user
}

// Vault says where the vault is and what a new one is like.
type Vault struct {
	Path        string // directory, relative to the project
	Size        int64  // bytes
	Engine      string // as wire.Pod's
	TheirEngine bool   // the project's file says so, not the user
}

// Ghost says what the ghosts of the pod are like.
type Ghost struct {
	Bridges      []string // directories below the home that are kept in the vault
	Persist      []string // directories below the home that are kept on a volume, in clear
	TheirPersist []string // those of them that the project's file asks for
	RAM          int64    // bytes for a ghost's files; 0 for a quarter of the pod's memory
	TTL, Idle    time.Duration
	History      bool // the shell's history is kept in the vault
}

// Build says how the project's image is made.
type Build struct {
	Dockerfile     string            // relative to the project; empty for the images that come with tazpod
	Context        string            // directory, relative to the project
	CACertificates []string          // files; nil for those the host itself added
	TheirCA        bool              // the project's file says so, and they are relative to the project
	Args           map[string]string // build arguments of the images that come with tazpod
}

const defaultVaultSize = 256 << 20 // bytes

// Overrides are what the command line says; empty fields say nothing.
type Overrides struct {
	Image, Network, Engine string
}

// Load finds the project that dir belongs to and reads all its settings.
// ErrNone if there is no project.
func Load(dir string, flags Overrides, env func(string) string) (*Config, error) {
	root, err := Find(dir)
	if err != nil {
		return nil, err
	}
	c := &Config{Dir: root, Vault: Vault{Path: wire.VaultDir, Size: defaultVaultSize}}
	user, err := readUser(env)
	if err != nil {
		return nil, err
	}
	own, err := readProject(root)
	if err != nil {
		return nil, err
	}
	if err := own.mayOnlyTighten(user); err != nil {
		return nil, err
	}
	for _, f := range []*file{user, own} {
		if err := f.apply(c); err != nil {
			return nil, err
		}
	}
	if err := c.applyEnv(env); err != nil {
		return nil, err
	}
	if name := first(flags.Image, env("TAZPOD_IMAGE")); name != "" { // stronger than any file
		c.Image, c.Build.Dockerfile = Image{Name: name}, ""
	}
	c.Network = first(flags.Network, c.Network)
	if name := first(flags.Engine, env("TAZPOD_ENGINE")); name != "" {
		c.Vault.TheirEngine = false
		if c.Vault.Engine, err = engine(name); err != nil {
			return nil, fmt.Errorf("engine: %w", err)
		}
	}
	if c.Name == "" {
		c.Name = DefaultName(root)
	}
	if err := checkName(c.Name); err != nil {
		return nil, err
	}
	return c, nil
}

// UserBuild is what the user's own file says of builds, for those outside of any
// project.
func UserBuild(env func(string) string) (Build, error) {
	c := &Config{Vault: Vault{Path: wire.VaultDir, Size: defaultVaultSize}}
	user, err := readUser(env)
	if err == nil {
		err = user.apply(c)
	}
	return c.Build, err
}

// Pod is the part of the configuration that goes into the pod.
func (c *Config) Pod() wire.Pod {
	p := wire.Pod{Name: c.Name, VaultSize: c.Vault.Size, GhostRAM: c.Ghost.RAM, Bridges: c.Ghost.Bridges, Persist: c.Ghost.Persist,
		TTL: wire.Duration(c.Ghost.TTL), Idle: wire.Duration(c.Ghost.Idle), History: c.Ghost.History, Engine: c.Vault.Engine}
	if c.Vault.Path != wire.VaultDir {
		p.Vault = c.Vault.Path
	}
	return p
}

// VaultFile is the vault's path on the host.
func (c *Config) VaultFile() string {
	return filepath.Join(c.Dir, c.Vault.Path, wire.VaultFile)
}

var errSmallVault = fmt.Errorf("a vault needs %d MiB at least", wire.MinVault>>20)

// applyEnv applies the variables that say the same as keys of the files.
func (c *Config) applyEnv(env func(string) string) error {
	c.Name = first(env("TAZPOD_NAME"), c.Name)
	c.Network = first(env("TAZPOD_NETWORK"), c.Network)
	for name, field := range map[string]*int64{
		"TAZPOD_VAULT_SIZE": &c.Vault.Size,
		"TAZPOD_GHOST_RAM":  &c.Ghost.RAM,
		"TAZPOD_MEMORY":     &c.Memory,
	} {
		text := env(name)
		if text == "" {
			continue
		}
		n, err := wire.ParseSize(text)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*field = n
	}
	if c.Vault.Size < wire.MinVault {
		return fmt.Errorf("TAZPOD_VAULT_SIZE: %w", errSmallVault)
	}
	return nil
}

// readProject reads the project's file, which has to lie where it seems to: a
// link in its place could be one to a file that programs in the pod can write.
func readProject(root string) (*file, error) {
	t, err := tree.Open(root)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	data, err := t.Read(File, maxFile)
	if err != nil {
		return nil, err
	}
	return parse(t.Path(File), data)
}

// readUser reads the user's own file, if there is one.
func readUser(env func(string) string) (*file, error) {
	dir := env("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		home := env("HOME")
		if !filepath.IsAbs(home) {
			return &file{}, nil
		}
		dir = filepath.Join(home, ".config")
	}
	path := filepath.Join(dir, "tazpod", "config.yaml")
	f, err := read(path)
	if os.IsNotExist(err) {
		return &file{path: path}, nil
	}
	if err == nil {
		f.user = true
	}
	return f, err
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

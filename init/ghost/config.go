// Package ghost makes and ends ghosts: sets of namespaces in which everything
// that is written lands in RAM, whose processes nobody outside can see, and
// which leave nothing behind.
//
//	serve (package control)         the only user of this package's API
//	  └─ role ghost                 PID 1 of its PID namespace: builds the root, then only reaps
//	       └─ role keeper           root of the ghost's user namespace, hardened: forks sessions
//	            └─ sessions         uid 1000 inside, Config.KernelID outside; no capabilities
//
// When serve dies so does PID 1 (parent-death signal), when PID 1 dies so does
// all that is in its namespace, and when the keeper dies PID 1 exits.
//
// The package trusts root's files of the pod (the image, the home template) and
// serve. It trusts neither what lies in the workspace, nor what a program of
// the pod's user may have planted elsewhere, nor a ghost's sessions. It never
// touches a passphrase or a key; the vault's content is files to it.
package ghost

import (
	"fmt"
	"syscall"

	"github.com/tazzo/tazpod/init/wire"
)

// Config says what a ghost is made of. Nothing in it is secret: it goes to the
// roles as JSON.
type Config struct {
	Profile   string   // empty for the default ghost
	Name      string   // the pod's, shown in prompts
	Hostname  string   // inside; the pod's if empty
	Base      string   // mount point, for serve, of the RAM file system that takes every write
	Tree      string   // mount point, for serve, of the vault's content
	Device    bool     // that is the vault itself, which the kernel decrypts; a file system in RAM if not
	Part      string   // the directory of it that this ghost shows, made if missing; all of it if empty
	Files     []File   // what of Part is shown alone, without bridges; all if nil
	Workspace string   // the project's directory in the pod; none if empty
	Vault     string   // the vault's directory below Workspace, hidden in the ghost; wire.VaultDir if empty
	Template  string   // root's template of the home directory; wire.HomeSource if empty
	KernelID  uint32   // what uid and gid 1000 are outside (Support.KernelID)
	Idmap     bool     // the workspace can be idmapped (Support.Idmap)
	Bridges   []string // directories of the vault to appear below the home directory
	Persist   []string // directories of the volume at Volume to appear there; they hold nothing secret
	Volume    string   // mount point of that volume; wire.PersistMount if empty
	Socket    string   // name in Base of a listening socket to appear at wire.GhostSocket; none if empty
	History   bool     // the shell's history is kept in the vault
	RAM       int64    // bytes, what Base was limited to
}

// File is one of the vault that a ghost shows.
type File struct {
	Path string // below Part
	Name string // below wire.Secrets
}

func (c *Config) complete() error {
	if c.Vault == "" {
		c.Vault = wire.VaultDir
	}
	if c.Template == "" {
		c.Template = wire.HomeSource
	}
	if c.KernelID == 0 {
		return fmt.Errorf("a ghost's user can't be root outside")
	}
	if c.Volume == "" {
		c.Volume = wire.PersistMount
	}
	paths := []string{c.Vault}
	if c.Part != "" {
		paths = append(paths, c.Part)
	}
	for _, f := range c.Files {
		paths = append(paths, f.Path, f.Name)
	}
	for _, p := range paths {
		if !wire.Below(p) {
			return fmt.Errorf("%q is not the relative path of something that a ghost can have", p)
		}
	}
	return wire.CheckHome(c.Bridges, c.Persist)
}

// SessionConfig says what to run in a ghost.
type SessionConfig struct {
	Argv     []string // nil: the user's login shell
	Env      []string // added to, or replacing, what every session has
	Dir      string   // /workspace if empty, or the home directory without one
	Terminal *Size    // nil: three pipes instead of a terminal
}

// Size is a terminal's, in characters.
type Size struct{ Columns, Rows uint16 }

// Status is how a session ended.
type Status struct {
	Code    int            // exit status; 126 or 127 when the command could not be run, 125 when nothing could
	Signal  syscall.Signal // that killed the session's main process, or 0; SIGKILL too when the ghost ended
	Message string         // for people, when the command could not be run
	Ended   bool           // the ghost did, and took the session along
}

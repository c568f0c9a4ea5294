// Package secrets reads a project's secrets.yml: the names of its secrets, the
// files of the vault that hold them, and the profiles that show them. No value
// ever stands there.
//
// Whoever can write to the project wrote the file, so it is parsed by a process
// of its own that has no privilege (Read), and what it says only narrows what a
// ghost shows, and names variables for that, none of which steers a program.
package secrets

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/tazzo/tazpod/init/strict"
	"github.com/tazzo/tazpod/init/wire"
)

// longest is what a name or a path may have.
const longest = 255 // bytes

// Entry is one secret.
type Entry struct {
	Name        string `yaml:"name"`        // what it is called where it comes from
	File        string `yaml:"file"`        // relative to the vault, or to its profile's directory
	Env         string `yaml:"env"`         // a variable of sessions that holds the path of the file
	Value       bool   `yaml:"value"`       // it holds the content instead
	Profile     string `yaml:"profile"`     // whose ghosts show it; empty for the default ghost's alone
	Environment string `yaml:"environment"` // of Infisical, instead of the file's
	Path        string `yaml:"path"`        // folder of Infisical, instead of the file's
	Source      string `yaml:"source"`      // see Kind
	Mode        uint32 `yaml:"mode"`        // of the file, such as 0400; 0600 if 0
}

// List is the secrets of a secrets.yml.
type List []Entry

// File is the content of a secrets.yml. Its keys are those of the original TazPod,
// and some more.
type File struct {
	Config  Config `yaml:"config"`
	Secrets List   `yaml:"secrets"`
}

// Config says where in Infisical the secrets are.
type Config struct {
	Project     string `yaml:"infisical_project_id"`
	URL         string `yaml:"infisical_url"`
	Environment string `yaml:"environment"` // "dev" if empty, as for Infisical's own program
	Path        string `yaml:"path"`        // folder, "/" if empty
}

// Parse reads data, which came from path. Errors name file and line, or file and
// entry. Every entry has a file then: one that names none gets the secret's name, or,
// if there is only a variable, a place that is tazpod's own.
func Parse(path string, data []byte) (*File, error) {
	var f File
	if err := strict.Decode(path, data, &f); err != nil {
		return nil, err
	}
	if err := f.Config.check(); err != nil {
		return nil, fmt.Errorf("%s: config: %w", path, err)
	}
	taken := map[[3]string]bool{}
	for i := range f.Secrets {
		e := &f.Secrets[i]
		err := e.check()
		if err == nil {
			e.complete()
			for _, key := range [][3]string{{"env", e.Profile, e.Env}, {"file", e.Profile, e.File}} {
				if err == nil && key[2] != "" && taken[key] {
					err = fmt.Errorf("%s %s: another secret of the same group has it", key[0], key[2])
				}
				taken[key] = true
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: secrets[%d]: %w", path, i, err)
		}
	}
	return &f, nil
}

func (e *Entry) complete() {
	switch {
	case e.File != "":
	case e.Env != "":
		e.File, e.Value = path.Join(wire.Values, e.Env), true
	default:
		e.File = e.Name
	}
}

func (e Entry) check() error {
	for key, value := range map[string]string{"name": e.Name, "file": e.File, "env": e.Env, "source": e.Source} {
		if strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) || len(value) > longest && key != "source" || key == "name" && (value == "" || strings.Contains(value, ",")) {
			return fmt.Errorf("%s %q: must be there, short, without commas and characters that don't print, such as control characters", key, value)
		}
	}
	file := e.File
	if file == "" && e.Env == "" {
		file = e.Name
	}
	if file != "" {
		top, _, _ := strings.Cut(file, "/")
		if !wire.Below(file) || top == wire.Profiles || top == wire.Kept {
			return fmt.Errorf("file %q is not a file's path below ~/secrets", file)
		}
	}
	if e.Env != "" {
		if err := checkVariable(e.Env); err != nil {
			return err
		}
	}
	if e.Value && e.Env == "" {
		return errors.New("value: it takes env for the variable")
	}
	if err := e.checkSource(); err != nil {
		return err
	}
	if e.Profile != "" {
		return wire.CheckProfile(e.Profile)
	}
	return nil
}

// Place is where in the vault the entry's file belongs.
func (e Entry) Place() string {
	if e.Profile == "" {
		return e.File
	}
	return path.Join(wire.Profiles, e.Profile, e.File)
}

// Profiles are the names that entries give, in order.
func (l List) Profiles() []string {
	var names []string
	for _, e := range l {
		if e.Profile != "" {
			names = append(names, e.Profile)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Shared tells whether secrets of different profiles have a file of that name.
func (l List) Shared(file string) bool {
	first := ""
	for _, e := range l {
		if e.File != file || e.Profile == "" {
			continue
		}
		if first != "" && e.Profile != first {
			return true
		}
		first = e.Profile
	}
	return false
}

// Only returns the entries of the given names that have a file and that a ghost
// of the profile shows: of its own group, or all in the default ghost. A name
// without one is an error.
func (l List) Only(profile string, names []string) (List, error) {
	var only List
	for _, name := range names {
		n := len(only)
		for _, e := range l {
			if e.Name == name && e.File != "" && (profile == "" || e.Profile == profile) {
				only = append(only, e)
			}
		}
		if len(only) == n {
			where := "the default ghost"
			if profile != "" {
				where = "the profile " + profile
			}
			return nil, fmt.Errorf("%s has no secret %q with a file for %s", wire.SecretsFile, name, where)
		}
	}
	return only, nil
}

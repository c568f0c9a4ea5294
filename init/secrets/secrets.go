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

// Entry is one secret.
type Entry struct {
	Name    string `yaml:"name"`    // where it comes from
	File    string `yaml:"file"`    // relative to the vault, or to its profile's directory; may be empty
	Env     string `yaml:"env"`     // a variable of sessions that holds the path of the file
	Value   bool   `yaml:"value"`   // it holds the content instead
	Profile string `yaml:"profile"` // whose ghosts show it; empty for the default ghost's alone
}

// List is the content of a secrets.yml.
type List []Entry

// document has the keys of the file, those of the original TazPod's among them.
type document struct {
	Config struct {
		Project string `yaml:"infisical_project_id"`
		URL     string `yaml:"infisical_url"`
	} `yaml:"config"`
	Secrets []Entry `yaml:"secrets"`
}

// Parse reads data, which came from path. Errors name file and line, or file and
// entry.
func Parse(path string, data []byte) (List, error) {
	var d document
	if err := strict.Decode(path, data, &d); err != nil {
		return nil, err
	}
	taken := map[[2]string]bool{}
	for i, e := range d.Secrets {
		err := e.check()
		if key := [2]string{e.Profile, e.Env}; err == nil && e.Env != "" {
			if taken[key] {
				err = fmt.Errorf("env %s: another secret of the same group has it", e.Env)
			}
			taken[key] = true
		}
		if err != nil {
			return nil, fmt.Errorf("%s: secrets[%d]: %w", path, i, err)
		}
	}
	return d.Secrets, nil
}

func (e Entry) check() error {
	for key, value := range map[string]string{"name": e.Name, "file": e.File, "env": e.Env} {
		if strings.ContainsFunc(value, unicode.IsControl) || key == "name" && (value == "" || strings.Contains(value, ",")) {
			return fmt.Errorf("%s %q: must be there, without commas and control characters", key, value)
		}
	}
	if e.File != "" {
		top, _, _ := strings.Cut(e.File, "/")
		if !wire.Below(e.File) || top == wire.Profiles {
			return fmt.Errorf("file %q is not a file's path below ~/secrets", e.File)
		}
	}
	if e.Env != "" {
		if err := checkVariable(e.Env); err != nil {
			return err
		}
	}
	if e.Value && (e.Env == "" || e.File == "") {
		return errors.New("value: it takes a file, and env for the variable")
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

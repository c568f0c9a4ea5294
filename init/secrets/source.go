package secrets

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"unicode"
)

// Kinds of sources: what the word at the beginning of source may be.
const (
	Infisical = "infisical" // the default: from the project in Infisical
	Exec      = "exec"      // the output of the shell command that follows
	FromHost  = "file"      // a file of the launcher's machine, whose path follows; once
	Prompt    = "prompt"    // whoever sits at the terminal; once
)

// Kind is what source begins with, and what follows.
func (e Entry) Kind() (kind, argument string) {
	kind, argument, _ = strings.Cut(strings.TrimSpace(e.Source), " ")
	if kind == "" {
		kind = Infisical
	}
	return kind, strings.TrimSpace(argument)
}

// Perm is the mode of the entry's file: nobody's but the owner's.
func (e Entry) Perm() fs.FileMode {
	if e.Mode == 0 {
		return 0o600
	}
	return fs.FileMode(e.Mode)
}

// longestSource is what people read at a glance before they say yes to it.
const longestSource = 500 // bytes

func (e Entry) checkSource() error {
	if len(e.Source) > longestSource {
		return fmt.Errorf("source is longer than %d bytes: let it name a script", longestSource)
	}
	kind, argument := e.Kind()
	switch kind {
	case Infisical, Prompt:
		if argument != "" {
			return fmt.Errorf("source %s takes nothing behind it", kind)
		}
	case Exec, FromHost:
		if argument == "" {
			return fmt.Errorf("source %s: what? As in %q", kind, map[string]string{Exec: "exec vault kv get -field=token secret/ci", FromHost: "file ~/.kube/config"}[kind])
		}
	default:
		return fmt.Errorf("source %q begins with none of %s, %s, %s, %s", e.Source, Infisical, Exec, FromHost, Prompt)
	}
	if kind == FromHost && !path.IsAbs(argument) && !strings.HasPrefix(argument, "~/") {
		return fmt.Errorf("source file %s: from the root or the home, as in \"file ~/.kube/config\"", argument)
	}
	if kind != Infisical && (e.Environment != "" || e.Path != "") {
		return fmt.Errorf("environment and path are Infisical's, and source is %s", kind)
	}
	switch e.Mode {
	case 0, 0o400, 0o500, 0o600, 0o700:
	default:
		return fmt.Errorf("mode %#o is none of 0400, 0500, 0600, 0700", e.Mode)
	}
	return checkFolder(e.Environment, e.Path)
}

func (c Config) check() error { return checkFolder(c.Environment, c.Path) }

func checkFolder(environment, folder string) error {
	if strings.ContainsFunc(environment, func(r rune) bool { return r != '-' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		return fmt.Errorf("environment %q is no slug of Infisical", environment)
	}
	if folder != "" && (!path.IsAbs(folder) || path.Clean(folder) != folder || strings.ContainsFunc(folder, unicode.IsControl)) {
		return errors.New("path " + strconv.Quote(folder) + " is no folder of Infisical, such as /backend/keys")
	}
	return nil
}

// Folder is where in Infisical the entry is.
func (c Config) Folder(e Entry) (environment, folder string) {
	environment, folder = "dev", "/"
	for _, from := range [][2]string{{c.Environment, c.Path}, {e.Environment, e.Path}} {
		if from[0] != "" {
			environment = from[0]
		}
		if from[1] != "" {
			folder = from[1]
		}
	}
	return environment, folder
}

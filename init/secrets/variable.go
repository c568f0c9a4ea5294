package secrets

import (
	"fmt"
	"slices"
	"strings"
)

// steering are variables by which programs find code to run, or themselves: whoever
// can write to the project would choose it. Those that begin with steeringPrefixes
// are, too.
var (
	steering = []string{"BASHOPTS", "CDPATH", "EDITOR", "ENV", "GCONV_PATH", "HISTFILE", "HOME", "IFS", "LANG", "LANGUAGE", "LOCPATH", "LOGNAME",
		"LS_COLORS", "MAIL", "NODE_OPTIONS", "NODE_PATH", "OLDPWD", "PAGER", "PATH", "PROMPT_COMMAND", "PS0", "PS1", "PS2", "PS3", "PS4", "PWD",
		"SHELL", "SHELLOPTS", "TERM", "TERMINFO", "TZ", "USER", "VISUAL"}
	steeringPrefixes = []string{"BASH_", "GIT_", "LC_", "LD_", "LESS", "PERL", "PYTHON", "RUBY", "STARSHIP_", "TAZPOD_", "XDG_"}
)

// checkVariable is nil for the name of a variable (POSIX.1 section 8.1) that a secret
// may have.
func checkVariable(name string) error {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
	if strings.Trim(name, letters+"0123456789") != "" || strings.Trim(name[:1], letters) != "" {
		return fmt.Errorf("env %q is not the name of a variable: letters, digits and _, the first no digit", name)
	}
	if slices.Contains(steering, name) || slices.ContainsFunc(steeringPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
		return fmt.Errorf("env %s is a variable that shells or programs go by, not one for a secret", name)
	}
	return nil
}

// Variables are the entries with a file whose variables the sessions of a ghost have.
// The default ghost shows every group: there a variable is that of the entry without a
// profile, and nobody's when two profiles want it.
func (l List) Variables(profile string) List {
	var list List
	for _, e := range l {
		if e.Env == "" || e.File == "" || e.Profile != profile && (profile != "" || l.contested(e)) {
			continue
		}
		list = append(list, e)
	}
	return list
}

// contested tells whether another group has the variable of e, or its file.
func (l List) contested(e Entry) bool {
	return l.Shared(e.File) || slices.ContainsFunc(l, func(other Entry) bool {
		return other.Env == e.Env && other.File != "" && other.Profile != e.Profile
	})
}

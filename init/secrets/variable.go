package secrets

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// maxVariable is a little less than what one variable may take (MAX_ARG_STRLEN in the
// kernel's binfmts.h), its name included.
const maxVariable = 120 << 10 // bytes

// steering are variables by which programs find code to run, or themselves: whoever
// can write to the project would choose it. Those that begin with steeringPrefixes
// are, too.
var (
	steering = []string{"ALL_PROXY", "BASHOPTS", "BROWSER", "CDPATH", "CURL_HOME", "EDITOR", "ENV", "EXINIT", "GCONV_PATH", "HISTFILE", "HOME", "IFS", "INPUTRC",
		"JAVA_TOOL_OPTIONS", "LANG", "LANGUAGE", "LOCPATH", "LOGNAME", "LS_COLORS", "MAIL", "NODE_OPTIONS", "NODE_PATH", "OLDPWD", "OPENSSL_CONF", "PAGER",
		"PATH", "PROMPT_COMMAND", "PS0", "PS1", "PS2", "PS3", "PS4", "PWD", "RIPGREP_CONFIG_PATH", "SHELL", "SHELLOPTS", "SSH_ASKPASS", "TERM", "TERMINFO",
		"TZ", "USER", "VIMINIT", "VISUAL", "_JAVA_OPTIONS"}
	steeringPrefixes = []string{"BASH_", "CARGO_BUILD_", "FZF_", "GIT_", "GOFLAGS", "GOPROXY", "GOTOOLCHAIN", "LC_", "LD_", "LESS", "MAKE", "NPM_CONFIG_", "NVIM_",
		"PERL", "PYTHON", "RUBY", "RUSTC_", "STARSHIP_", "TAZPOD_", "XDG_", "npm_config_"}
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

// Content is what a variable holds of a secret's file: all of it but the end of its
// last line, as a shell takes it. The caller zeroes it.
func Content(f *os.File) (value []byte, err error) {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no file")
	}
	if err != nil {
		return nil, err
	}
	value, err = io.ReadAll(io.LimitReader(f, maxVariable+1))
	switch {
	case err != nil:
	case len(value) > maxVariable:
		err = fmt.Errorf("it is longer than %d KiB", maxVariable>>10)
	case bytes.IndexByte(value, 0) >= 0:
		err = errors.New("a variable can't hold its null byte")
	}
	if err != nil {
		clear(value)
		return nil, err
	}
	return bytes.TrimSuffix(value, []byte("\n")), nil
}

package ghost

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/wire"
)

// user is who sessions run as.
type user struct{ name, shell string }

// findUser reads the image's /etc/passwd (passwd(5)). A missing entry or a
// shell that isn't there are no obstacle to a session.
func findUser() user {
	u := user{name: wire.UserName}
	if f, err := os.Open("/etc/passwd"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Split(lines.Text(), ":")
			if len(fields) == 7 && fields[2] == strconv.Itoa(wire.UserID) {
				u = user{name: fields[0], shell: fields[6]}
				break
			}
		}
	}
	for _, shell := range []string{u.shell, "/bin/bash", "/bin/sh"} {
		if shell != "" && unix.Access(shell, unix.X_OK) == nil {
			u.shell = shell
			break
		}
	}
	return u
}

// environment is what every session has, and what this one adds. Nothing comes
// from the pod's environment, where an engine's flags may have put anything.
func environment(c Config, u user, added []string) []string {
	env := map[string]string{
		"HOME": wire.Home, "USER": u.name, "LOGNAME": u.name, "SHELL": u.shell,
		"PATH":            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG":            utf8,
		"XDG_RUNTIME_DIR": fmt.Sprintf("/run/user/%d", wire.UserID),
	}
	for _, e := range added {
		if name, value, ok := strings.Cut(e, "="); ok && name != "" {
			env[name] = value
		}
	}
	for name, value := range env {
		switch {
		case name != "LANG" && !strings.HasPrefix(name, "LC_") || hasLocale(locales, value):
		case name == "LANG":
			env[name] = utf8
		default:
			delete(env, name)
		}
	}
	if c.History {
		env["HISTFILE"] = wire.Secrets + "/.bash_history"
	}
	// What prompts and programs may rely on comes last.
	env["TAZPOD_GHOST"], env["TAZPOD_PROFILE"], env["TAZPOD_NAME"] = "1", c.Profile, c.Name
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

const utf8 = "C.UTF-8" // the locale that glibc has in itself

var locales = "/usr/lib/locale" // localedef(1); tests have another

// hasLocale tells whether the image has a locale. With one that it hasn't, programs
// complain and take text for ASCII.
func hasLocale(dir, name string) bool {
	switch name {
	case "", "C", "POSIX", utf8, "C.utf8":
		return true
	}
	if strings.Contains(name, "/") {
		return false
	}
	language, codeset, _ := strings.Cut(name, ".")
	codeset = strings.ToLower(strings.ReplaceAll(codeset, "-", "")) // as they are stored
	for _, file := range []string{name, language + "." + codeset, "locale-archive"} {
		if unix.Access(path.Join(dir, file), unix.F_OK) == nil {
			return true // or perhaps, in an archive
		}
	}
	return false
}

func lookup(env []string, name string) string {
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

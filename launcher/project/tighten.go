package project

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/tazzo/tazpod/init/wire"
)

// mayOnlyTighten checks a project's file against what the user would have
// without it. A project that needs more says so in its README, and the user
// says yes in the own file, an environment variable or a flag.
func (f *file) mayOnlyTighten(user *file) error {
	refuse := func(key, value, why string) error {
		return fmt.Errorf("%s: %s: %q %s; a project's file may only make a pod stricter: if you want this, say it in %s",
			f.path, key, value, why, userFile(user))
	}
	if f.Network != nil {
		switch own := *f.Network; {
		case own == "" || own == "none" || user.Network != nil && own == *user.Network:
		case own != "bridge" && own != "default":
			return refuse("network", own, "is not the pod's own network")
		case user.Network != nil && *user.Network == "none":
			return refuse("network", own, "opens a network that your own file closes")
		}
	}
	for _, port := range f.Ports {
		if !onLoopback(port) {
			return refuse("ports", port, "is not published on 127.0.0.1 alone")
		}
	}
	if f.Features.GhostMode != nil && !*f.Features.GhostMode {
		return refuse("features.ghost_mode", "false", "would give up isolation")
	}
	for key, sizes := range map[string][2]*string{"memory": {f.Memory, user.Memory}, "ghost.ram": {f.Ghost.RAM, user.Ghost.RAM}} {
		if sizes[0] == nil || sizes[1] == nil {
			continue
		}
		theirs, err := wire.ParseSize(*sizes[0])
		own, ownErr := wire.ParseSize(*sizes[1])
		if err == nil && ownErr == nil && own > 0 && (theirs == 0 || theirs > own) { // apply tells of errors
			return refuse(key, *sizes[0], "is more than your own file allows")
		}
	}
	if own := user.Ghost.History; own != nil && *own == "ram" && f.Ghost.History != nil && *f.Ghost.History != *own {
		return refuse("ghost.history", *f.Ghost.History, "keeps what your own file doesn't")
	}
	if len(f.Build.Args) > 0 {
		return refuse("build.args", f.Build.Args[0], "changes images that all projects share")
	}
	if f.Build.CACertificates != nil {
		for _, p := range *f.Build.CACertificates {
			if !filepath.IsLocal(p) {
				return refuse("build.ca_certificates", p, "is outside the project")
			}
		}
	}
	return nil
}

// onLoopback tells whether a port, written as for `docker run -p`, is published
// to this machine only.
func onLoopback(port string) bool {
	end := strings.LastIndexByte(port, ':') // between host's part and container's
	if end < 0 {
		return false
	}
	host := port[:end]
	end = strings.LastIndexByte(host, ':')
	if end < 0 {
		return false
	}
	ip := net.ParseIP(strings.Trim(host[:end], "[]"))
	return ip != nil && ip.IsLoopback()
}

func userFile(user *file) string {
	if user.path == "" {
		return "~/.config/tazpod/config.yaml"
	}
	return user.path
}

package control

import (
	"fmt"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/ghost"
	"github.com/tazzo/tazpod/init/secrets"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

// variables are those that secrets.yml gives to the sessions of the ghost: the path of
// a secret's file, or its content. A file that isn't there has none.
func (r *running) variables(o *opened, tell func(string)) (env []string) {
	list := r.list
	if r.only == nil {
		list = list.Variables(r.profile)
	}
	for _, e := range list {
		place, shown := r.find(o, e)
		if e.Env == "" || place == "" {
			continue
		}
		value := path.Join(wire.Secrets, shown)
		if e.Value {
			var err error
			if value, err = o.content(place); err != nil {
				tell(fmt.Sprintf("note: %s is not set: %s: %v", e.Env, shown, err))
				continue
			}
		}
		env = append(env, e.Env+"="+value)
	}
	return env
}

// find is where the file of a secret lies in the vault, and below ~/secrets of this
// ghost; empty when the ghost doesn't show it.
func (r *running) find(o *opened, e secrets.Entry) (place, shown string) {
	if r.only != nil {
		if i := slices.IndexFunc(r.files, func(f ghost.File) bool { return f.Name == e.File }); i >= 0 {
			return path.Join(inVault(r.profile), r.files[i].Path), e.File
		}
		return "", ""
	}
	if r.profile == "" {
		place = o.find(e)
		return place, place
	}
	if place = e.Place(); o.regular(place) {
		return place, e.File
	}
	return "", ""
}

// content is a file of the vault as the value of a variable.
func (o *opened) content(place string) (string, error) {
	f, err := sys.OpenFile(o.tree, place, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer f.Close()
	value, err := secrets.Content(f)
	defer clear(value)
	return string(value), err
}

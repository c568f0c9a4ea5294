package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/ghost"
	"github.com/tazzo/tazpod/init/secrets"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

// A profile is a directory of the vault, which its ghosts see as ~/secrets. A
// file at the vault's top that secrets.yml assigns to a profile moves there when
// a ghost of that profile is next opened, which is told; a link stays in its
// place for the default ghost, which sees all:
//
//	secrets.yml: {name: KUBECONFIG, file: kubeconfig, profile: prod}
//
//	default ghost   ~/secrets/kubeconfig ─▶ profiles/prod/kubeconfig
//	ghost of prod   ~/secrets/kubeconfig    the same file
//
// Nothing ever leaves a profile on the word of secrets.yml, which any program
// that can write to the project writes: its user moves it, in a ghost without
// profile.

// profileOf reads the profile in the name of an SSH user: empty for the default
// ghost.
func profileOf(user string) (string, error) {
	profile, ok := strings.CutPrefix(user, wire.GhostUser+wire.ProfileMark)
	if ok {
		return profile, wire.CheckProfile(profile)
	}
	if user != wire.GhostUser {
		return "", fmt.Errorf("there is no user %q here", user)
	}
	return "", nil
}

// groups reads which profiles there are and checks that profile is one.
func groups(ctx context.Context, profile string) (secrets.List, error) {
	list, err := secrets.Read(ctx, wire.Workspace)
	if err != nil {
		return nil, &usageError{err, "it is in the project's directory"}
	}
	names := list.Profiles()
	if profile != "" && !slices.Contains(names, profile) {
		has := "no profile at all"
		if len(names) > 0 {
			has = strings.Join(names, ", ")
		}
		return nil, &usageError{fmt.Errorf("there is no profile %s: %s has %s", profile, wire.SecretsFile, has),
			"add profile: " + profile + " to the secrets that it shall show"}
	}
	return list, nil
}

// choose finds out what of the vault the ghost shows.
func (r *running) choose(ctx context.Context, o *opened) error {
	list, err := groups(ctx, r.profile)
	if err != nil && r.profile == "" && r.only == nil { // whose vault is shown as a whole
		r.warn("note: no variable of a secret is set: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	r.list = list
	if r.profile != "" {
		for _, note := range o.settle(list, r.profile) {
			r.warn("note: %s", note)
		}
	}
	if r.only == nil {
		return nil
	}
	entries, err := list.Only(r.profile, r.only)
	if err != nil {
		return &usageError{err, "secrets are named by their name in " + wire.SecretsFile}
	}
	r.list = entries
	for _, e := range entries {
		file := o.find(e)
		if r.profile != "" && file != "" {
			var here bool
			if file, here = strings.CutPrefix(file, inVault(r.profile)+"/"); !here {
				file = ""
			}
		}
		if file == "" {
			return &usageError{fmt.Errorf("the vault has no file %s for the secret %s", e.File, e.Name), "put it into ~/secrets of a ghost first"}
		}
		if i := slices.IndexFunc(r.files, func(f ghost.File) bool { return f.Name == e.File }); i < 0 {
			r.files = append(r.files, ghost.File{Path: file, Name: e.File})
		} else if r.files[i].Path != file {
			return &usageError{fmt.Errorf("two profiles have a file %s", e.File), "say which one is meant by --profile"}
		}
	}
	return nil
}

// inVault is the directory of the vault that a ghost of a profile shows.
func inVault(profile string) string {
	if profile == "" {
		return ""
	}
	return path.Join(wire.Profiles, profile)
}

// bridges are those of the pod's settings that can be shown: one that the vault
// has no directory for, since a session put something else there, is left out and
// told, or nobody could enter to mend it.
func (r *running) bridges(o *opened) (good []string) {
	for _, name := range r.pod.config.Bridges {
		place := path.Join(inVault(r.profile), name)
		if kind := o.kind(place); kind != 0 && kind != unix.S_IFDIR {
			r.warn("note: ~/%s is not what the vault has: %s is no directory there", name, path.Join("~/secrets", name))
			continue
		}
		good = append(good, name)
	}
	return good
}

// settle brings the files of a profile's secrets to where they belong, and says
// what it did and what it left. No save runs meanwhile, so that none misses a file
// on its way.
func (o *opened) settle(list secrets.List, profile string) (notes []string) {
	o.saving.Lock()
	defer o.saving.Unlock()
	for _, e := range list {
		if e.Profile != profile || e.File == "" {
			continue
		}
		if list.Shared(e.File) { // whose it is at the top is anybody's guess
			if o.regular(e.File) {
				notes = append(notes, fmt.Sprintf("%s belongs to several profiles and stays where it is: move it to %s of one in a ghost without profile",
					e.File, path.Join("~/secrets", wire.Profiles)))
			}
			continue
		}
		moved, err := o.move(e)
		switch {
		case err != nil:
			notes = append(notes, fmt.Sprintf("%s, which belongs to the profile %s: %v", e.File, profile, err))
		case moved:
			notes = append(notes, fmt.Sprintf("%s belongs to the profile %s from now on", e.File, profile))
		}
	}
	return notes
}

// find is where the file of a secret lies: where it belongs, or still at the
// vault's top; empty when it is nowhere.
func (o *opened) find(e secrets.Entry) string {
	for _, name := range []string{e.Place(), e.File} {
		if o.regular(name) {
			return name
		}
	}
	return ""
}

func (o *opened) regular(name string) bool { return o.kind(name) == unix.S_IFREG }

// move brings the file of e from the vault's top to where it belongs, and leaves a
// link. Nothing is ever replaced.
func (o *opened) move(e secrets.Entry) (moved bool, err error) {
	atTop := o.regular(e.File)
	if !atTop && (o.kind(e.File) != 0 || !o.regular(e.Place())) { // there is nothing to do
		return false, nil
	}
	owner := o.pod.support.KernelID
	top, err := ghost.MakeAll(o.tree, path.Dir(e.File), 0o700, owner)
	if err != nil {
		return false, err
	}
	defer top.Close()
	name := path.Base(e.File)
	if atTop {
		place, err := ghost.MakeAll(o.tree, path.Dir(e.Place()), 0o700, owner)
		if err != nil {
			return false, err
		}
		defer place.Close()
		err = unix.Renameat2(int(top.Fd()), name, int(place.Fd()), name, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			return false, errors.New("there are two of it; delete one in a ghost without profile")
		}
		if err != nil {
			return false, os.NewSyscallError("renameat2", err)
		}
	}
	if err := unix.Symlinkat(o.linkTo(e), int(top.Fd()), name); err != nil {
		return atTop, os.NewSyscallError("symlinkat", err)
	}
	return atTop, os.NewSyscallError("fchownat", unix.Fchownat(int(top.Fd()), name, int(owner), int(owner), unix.AT_SYMLINK_NOFOLLOW))
}

// linkTo is the text of the link. A directory that a bridge shows has another
// parent there, so that only an absolute path leads on from both.
func (o *opened) linkTo(e secrets.Entry) string {
	for _, bridge := range o.pod.config.Bridges {
		if wire.Within(e.File, bridge) {
			return path.Join(wire.Secrets, e.Place())
		}
	}
	return strings.Repeat("../", strings.Count(e.File, "/")) + e.Place()
}

// kind is the type of a file of the vault (S_IFMT bits); 0 when there is none that
// can be reached without links.
func (o *opened) kind(name string) uint32 { return o.stat(name).Mode & unix.S_IFMT }

// stat is what the tree has by that name, all zero if it has nothing.
func (o *opened) stat(name string) (st unix.Stat_t) {
	place, err := sys.OpenPath(o.tree, name, unix.O_NOFOLLOW)
	if err != nil {
		return st
	}
	defer place.Close()
	if err := unix.Fstat(int(place.Fd()), &st); err != nil {
		return unix.Stat_t{}
	}
	return st
}

// pulled is when each profile's secrets were last pulled.
func (o *opened) pulled() map[string]string {
	times := map[string]string{}
	profiles := []string{""}
	if dir, err := sys.OpenFile(o.tree, wire.Profiles, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW); err == nil {
		names, _ := dir.Readdirnames(64) // of what can't be read nothing is told
		dir.Close()
		profiles = append(profiles, names...)
	}
	for _, profile := range profiles {
		place := wire.Pulled
		if profile != "" {
			place = path.Join(wire.Profiles, profile, wire.Pulled)
		}
		if st := o.stat(place); st.Mode&unix.S_IFMT == unix.S_IFREG && (profile == "" || wire.CheckProfile(profile) == nil) {
			times[profile] = stamp(time.Unix(st.Mtim.Unix()))
		}
	}
	return times
}

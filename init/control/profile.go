package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/ghost"
	"github.com/tazzo/tazpod/init/secrets"
	"github.com/tazzo/tazpod/init/sys"
	"github.com/tazzo/tazpod/init/wire"
)

// A profile is a directory of the vault, which its ghosts see as ~/secrets. The
// file of a secret belongs into that of its profile, wherever it was put before;
// a link stays in its old place for the default ghost, which sees all:
//
//	secrets.yml: {name: KUBECONFIG, file: kubeconfig, profile: prod}
//
//	default ghost   ~/secrets/kubeconfig ─▶ profiles/prod/kubeconfig
//	ghost of prod   ~/secrets/kubeconfig    the same file

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
	if r.profile == "" && r.only == nil {
		return nil
	}
	list, err := groups(ctx, r.profile)
	if err != nil {
		return err
	}
	if r.profile != "" {
		for _, note := range o.settle(list) {
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
	for _, e := range entries {
		file := e.File
		if r.profile == "" {
			file = o.find(e)
		}
		if kind, _ := look(o.tree, path.Join(inVault(r.profile), file)); kind != unix.S_IFREG {
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

// settle moves the files of all secrets to where they belong, and says what it
// left. No save runs meanwhile, so that none misses a file on its way.
func (o *opened) settle(list secrets.List) (notes []string) {
	o.saving.Lock()
	defer o.saving.Unlock()
	for _, e := range list {
		if e.File == "" {
			continue
		}
		if err := o.move(o.find(e), e); err != nil {
			notes = append(notes, fmt.Sprintf("%s stays where it is in the vault: %v", e.File, err))
		}
	}
	return notes
}

// find is where the file of a secret lies: where it belongs, or where a link of
// an earlier profile leads, or at the vault's top.
func (o *opened) find(e secrets.Entry) string {
	kind, link := look(o.tree, e.File)
	if kind == unix.S_IFLNK {
		to := path.Join(path.Dir(e.File), link)
		if rest, ok := strings.CutPrefix(to, wire.Profiles+"/"); ok && strings.HasSuffix(rest, "/"+e.File) {
			if profile := strings.TrimSuffix(rest, "/"+e.File); wire.CheckProfile(profile) == nil {
				return to
			}
		}
	}
	if kind == 0 {
		return e.Place()
	}
	return e.File
}

var errTwice = errors.New("there are two of it; delete one, in a ghost without profile")

// move brings the file of e from one place of the vault to where it belongs.
// Nothing is ever replaced but the link that an earlier move left.
func (o *opened) move(from string, e secrets.Entry) error {
	to := e.Place()
	if kind, _ := look(o.tree, from); from == to || kind == 0 {
		return nil // it is there, or nowhere yet
	} else if kind != unix.S_IFREG {
		return fmt.Errorf("%s is no regular file", from)
	}
	owner := o.pod.support.KernelID
	target, err := ghost.MakeAll(o.tree, path.Dir(to), 0o700, owner)
	if err != nil {
		return err
	}
	defer target.Close()
	source, err := ghost.MakeAll(o.tree, path.Dir(from), 0o700, owner)
	if err != nil {
		return err
	}
	defer source.Close()
	if from != e.File && to == e.File { // back to the top, in the place of the link
		if kind, _ := look(o.tree, to); kind == unix.S_IFLNK {
			if err := unix.Unlinkat(int(target.Fd()), path.Base(to), 0); err != nil {
				return err
			}
		}
	}
	err = unix.Renameat2(int(source.Fd()), path.Base(from), int(target.Fd()), path.Base(to), unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		return errTwice
	}
	if err != nil || to == e.File {
		return err
	}
	return o.link(e, to, owner)
}

// link leaves a link to a file in its old place.
func (o *opened) link(e secrets.Entry, to string, owner uint32) error {
	top, err := ghost.MakeAll(o.tree, path.Dir(e.File), 0o700, owner)
	if err != nil {
		return err
	}
	defer top.Close()
	if kind, _ := look(o.tree, e.File); kind == unix.S_IFLNK { // to where it was until now
		if err := unix.Unlinkat(int(top.Fd()), path.Base(e.File), 0); err != nil {
			return err
		}
	}
	text, err := filepath.Rel(path.Dir(e.File), to)
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(text, int(top.Fd()), path.Base(e.File)); err != nil {
		return err
	}
	return unix.Fchownat(int(top.Fd()), path.Base(e.File), int(owner), int(owner), unix.AT_SYMLINK_NOFOLLOW)
}

// look tells the type of a file of the vault (S_IFMT bits; 0 when there is none
// that can be reached without links), and where a link leads.
func look(tree *os.File, name string) (kind uint32, link string) {
	place, err := sys.OpenPath(tree, name, unix.O_NOFOLLOW)
	if err != nil {
		return 0, ""
	}
	defer place.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(place.Fd()), &st); err != nil {
		return 0, ""
	}
	kind = st.Mode & unix.S_IFMT
	if kind == unix.S_IFLNK {
		text := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(int(place.Fd()), "", text)
		if err != nil {
			return 0, ""
		}
		link = string(text[:n])
	}
	return kind, link
}

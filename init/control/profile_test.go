package control

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tazzo/tazpod/init/ghost"
	"github.com/tazzo/tazpod/init/secrets"
	"github.com/tazzo/tazpod/test/need"
)

// content makes the content of a vault: "name" is a file that holds its name,
// "name -> target" a link, "name/" a directory.
func content(t *testing.T, names ...string) *opened {
	t.Helper()
	need.Root(t)
	dir := t.TempDir()
	for _, name := range names {
		name, target, link := strings.Cut(name, " -> ")
		place := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(place), 0o700)
		switch {
		case err != nil:
		case link:
			err = os.Symlink(target, place)
		case strings.HasSuffix(name, "/"):
			err = os.Mkdir(place, 0o700)
		default:
			err = os.WriteFile(place, []byte(name), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tree, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return &opened{pod: &pod{support: ghost.Support{KernelID: 71000}}, tree: tree}
}

// list describes the content in the same way, with what files hold where that
// isn't their name.
func (o *opened) list(t *testing.T) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(o.tree.Name(), func(place string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(o.tree.Name(), place)
		if err != nil {
			return err
		}
		if d.Type() == fs.ModeSymlink {
			target, err := os.Readlink(place)
			names = append(names, name+" -> "+target)
			return err
		}
		text, err := os.ReadFile(place)
		if string(text) != name {
			name += "=" + string(text)
		}
		names = append(names, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func TestSettle(t *testing.T) {
	kube := secrets.Entry{Name: "K", File: "kube", Profile: "prod"}
	deep := secrets.Entry{Name: "D", File: "a/b/deep", Profile: "prod"}
	bridged := secrets.Entry{Name: "B", File: ".kube/config", Profile: "prod"}
	of := func(profile string, e secrets.Entry) secrets.Entry { e.Profile = profile; return e }
	for _, c := range []struct {
		what    string
		content string
		list    secrets.List
		want    string
		note    string
	}{
		{"nothing is there yet", "other", secrets.List{kube, deep}, "other", ""},
		{"to its profile", "kube, other", secrets.List{kube}, "kube -> profiles/prod/kube, other, profiles/prod/kube=kube", "kube belongs to the profile prod from now on"},
		{"from directories", "a/b/deep", secrets.List{deep}, "a/b/deep -> ../../profiles/prod/a/b/deep, profiles/prod/a/b/deep=a/b/deep", "from now on"},
		{"below a bridge", ".kube/config", secrets.List{bridged}, ".kube/config -> /home/tazpod/secrets/profiles/prod/.kube/config, profiles/prod/.kube/config=.kube/config", "from now on"},
		{"it is there", "kube -> profiles/prod/kube, profiles/prod/kube", secrets.List{kube}, "kube -> profiles/prod/kube, profiles/prod/kube", ""},
		{"made in its profile", "profiles/prod/kube", secrets.List{kube}, "kube -> profiles/prod/kube, profiles/prod/kube", ""},
		{"another profile's", "kube", secrets.List{of("dev", kube)}, "kube", ""},
		{"already another profile's", "kube -> profiles/dev/kube, profiles/dev/kube", secrets.List{kube}, "kube -> profiles/dev/kube, profiles/dev/kube", ""},
		{"no profile's any more", "kube -> profiles/prod/kube, profiles/prod/kube", secrets.List{of("", kube)}, "kube -> profiles/prod/kube, profiles/prod/kube", ""},
		{"two profiles'", "kube", secrets.List{kube, of("dev", kube)}, "kube", "belongs to several profiles and stays"},
		{"two profiles', each with its own", "profiles/dev/kube, profiles/prod/kube", secrets.List{kube, of("dev", kube)}, "profiles/dev/kube, profiles/prod/kube", ""},
		{"two of it", "kube, profiles/prod/kube", secrets.List{kube}, "kube, profiles/prod/kube", "there are two"},
		{"a link of somebody's own", "kube -> other, other", secrets.List{kube}, "kube -> other, other", ""},
		{"a directory in its place", "kube/x", secrets.List{kube}, "kube/x", ""},
		{"a link in the way", "a -> /tmp, kube", secrets.List{{Name: "P", File: "a/kube", Profile: "prod"}}, "a -> /tmp, kube", ""},
		{"a profile that is a link", "kube, profiles/prod -> /tmp", secrets.List{kube}, "kube, profiles/prod -> /tmp", "symbolic links"},
		{"profiles that are a link", "kube, profiles -> other, other/prod/", secrets.List{kube}, "kube, profiles -> other", "symbolic links"},
		{"without a file", "kube", secrets.List{{Name: "E", Profile: "prod"}}, "kube", ""},
	} {
		o := content(t, strings.Split(c.content, ", ")...)
		o.pod.config.Bridges = []string{".kube"}
		notes := strings.Join(o.settle(c.list, "prod"), "; ")
		if got := o.list(t); got != c.want || (notes != "") != (c.note != "") || !strings.Contains(notes, c.note) {
			t.Errorf("%s: %s, note %q; want %s, note %q", c.what, got, notes, c.want, c.note)
		}
		before := o.list(t)
		o.settle(c.list, "prod")
		if after := o.list(t); after != before {
			t.Errorf("%s: once more: %s; want no change from %s", c.what, after, before)
		}
	}
}

// TestFind: a secret is never another profile's file of the same name.
func TestFind(t *testing.T) {
	kube := secrets.Entry{Name: "K", File: "kube", Profile: "dev"}
	for files, want := range map[string]string{
		"other": "",
		"kube":  "kube",
		"kube -> profiles/prod/kube, profiles/prod/kube":                    "",
		"kube -> profiles/prod/kube, profiles/dev/kube, profiles/prod/kube": "profiles/dev/kube",
	} {
		if got := content(t, strings.Split(files, ", ")...).find(kube); got != want {
			t.Errorf("find in %s = %q; want %q", files, got, want)
		}
	}
}

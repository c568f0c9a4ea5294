package project

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestWhoSaysIt: what the project's file alone says needs the user's yes.
func TestWhoSaysIt(t *testing.T) {
	home := t.TempDir()
	put(t, filepath.Join(home, ".config/tazpod/config.yaml"), "image: mine\nbuild: {ca_certificates: [tazpod/ca.crt]}")
	for _, c := range []struct {
		project, variable string
		image             Image
		dockerfile        string
		theirCA           bool
	}{
		{"", "", Image{"mine", false}, "", false},
		{"image: theirs", "", Image{"theirs", true}, "", false},
		{"image: theirs", "env", Image{"env", false}, "", false},
		{"image: theirs\nbuild: {dockerfile: D}", "", Image{"theirs", true}, "D", false},
		{"build: {dockerfile: D}", "env", Image{"env", false}, "", false},
		{"build: {ca_certificates: [ca.crt]}", "", Image{"mine", false}, "", true},
	} {
		got, err := Load(makeProject(t, c.project), Overrides{}, env("HOME", home, "TAZPOD_IMAGE", c.variable))
		if err != nil {
			t.Fatal(err)
		}
		if got.Image != c.image || got.Build.Dockerfile != c.dockerfile || got.Build.TheirCA != c.theirCA {
			t.Errorf("project %q, TAZPOD_IMAGE=%s: %+v, %+v; want %+v, %q, %v", c.project, c.variable, got.Image, got.Build, c.image, c.dockerfile, c.theirCA)
		}
		want := filepath.Join(home, ".config/tazpod/ca.crt")
		if c.theirCA {
			want = "ca.crt"
		}
		if len(got.Build.CACertificates) != 1 || got.Build.CACertificates[0] != want {
			t.Errorf("project %q: certificates %q; want %q", c.project, got.Build.CACertificates, want)
		}
	}
}

// TestUserBuild reads what is said of builds outside of any project.
func TestUserBuild(t *testing.T) {
	home := t.TempDir()
	b, err := UserBuild(env("HOME", home))
	if err != nil || b.Args != nil || b.CACertificates != nil {
		t.Errorf("UserBuild() without a file = %+v, %v; want nothing said", b, err)
	}
	file := filepath.Join(home, ".config/tazpod/config.yaml")
	put(t, file, "build: {args: [K9S=none, HELM=v4=x], ca_certificates: [ca.crt]}")
	b, err = UserBuild(env("HOME", home))
	want := map[string]string{"K9S": "none", "HELM": "v4=x"}
	if err != nil || !maps.Equal(b.Args, want) || !slices.Equal(b.CACertificates, []string{filepath.Join(home, ".config/ca.crt")}) || b.TheirCA {
		t.Errorf("UserBuild() = %+v, %v; want %v and the user's certificate", b, err, want)
	}
	put(t, file, "build: {args: [K9S]}")
	if _, err := UserBuild(env("HOME", home)); err == nil || !strings.Contains(err.Error(), `"K9S" is not NAME=VALUE`) {
		t.Errorf("UserBuild(args: [K9S]) = %v; want it refused", err)
	}
}

package trust

import (
	"os"
	"path/filepath"
	"testing"
)

func env(pairs map[string]string) func(string) string {
	return func(name string) string { return pairs[name] }
}

func TestStore(t *testing.T) {
	home := t.TempDir()
	s, err := Open(env(map[string]string{"HOME": home}), "/some/project")
	if err != nil {
		t.Fatal(err)
	}
	one, two := Hash([]byte("a"), []byte("bc")), Hash([]byte("ab"), []byte("c"))
	if one == two {
		t.Error("Hash(a, bc) = Hash(ab, c); want parts kept apart")
	}
	has := func(hash string, want bool) {
		t.Helper()
		if got, err := s.Has(hash); err != nil || got != want {
			t.Errorf("Has() = %v, %v; want %v", got, err, want)
		}
	}
	has(one, false)
	for _, hash := range []string{one, two} {
		if err := s.Add(hash, "/some/pro\nject", "Dockerfile"); err != nil {
			t.Fatal(err)
		}
	}
	has(one, true)
	has(two, true)
	has(Hash(), false)
	path := filepath.Join(home, ".local/state/tazpod/trusted")
	for path, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s is %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Has(one); ok || err == nil {
		t.Errorf("Has() = %v, %v of a file that everybody can write; want an error", ok, err)
	}
}

func TestOpen(t *testing.T) {
	home, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(home, "project"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(home, home+"-link"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(home + "-link") })
	for _, c := range []struct {
		state, home, project string
		ok                   bool
	}{
		{"", home, home + "/project", true},
		{home + "/s", "", home + "/project", true},
		{"", home, home, false}, // whoever makes a project of a home
		{"", home + "-link", home, false},
		{home + "/project/state", home, home + "/project", false},
		{"relative", home, "/", false},
		{"", "", "/x", false},
	} {
		_, err := Open(env(map[string]string{"XDG_STATE_HOME": c.state, "HOME": c.home}), c.project)
		if ok := err == nil; ok != c.ok {
			t.Errorf("Open(state %q, home %q) for %s = %v; want ok = %v", c.state, c.home, c.project, err, c.ok)
		}
	}
}

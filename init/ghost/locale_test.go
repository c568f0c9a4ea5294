package ghost

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestHasLocale(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "de_DE.utf8"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"": true, "C": true, "C.UTF-8": true, "de_DE.UTF-8": true, "de_DE.utf8": true, "de_DE": false, "en_US.UTF-8": false, "../x": false,
	} {
		if got := hasLocale(dir, name); got != want {
			t.Errorf("hasLocale(%q) = %v; want %v", name, got, want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "locale-archive"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !hasLocale(dir, "en_US.UTF-8") {
		t.Error("hasLocale(en_US.UTF-8) = false; want true, for the archive may have it")
	}
}

// A locale of the client's that isn't here gives way to UTF-8.
func TestEnvironmentLocale(t *testing.T) {
	defer func(dir string) { locales = dir }(locales)
	locales = t.TempDir()
	env := environment(Config{}, user{}, []string{"LANG=xx_XX.UTF-8", "LC_TIME=xx_XX.UTF-8", "LC_ALL=C", "TZ=Europe/Rome"})
	for _, want := range []string{"LANG=C.UTF-8", "LC_ALL=C", "TZ=Europe/Rome"} {
		if !slices.Contains(env, want) {
			t.Errorf("environment() = %q; want %s in it", env, want)
		}
	}
	if value := lookup(env, "LC_TIME"); value != "" {
		t.Errorf("LC_TIME = %q; want none", value)
	}
}

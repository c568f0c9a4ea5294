package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWithImages(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	own := []string{".aws", ".gemini"}
	got, err := withImages(own, filepath.Join(dir, "none"))
	if err != nil || !slices.Equal(got, own) {
		t.Errorf("withImages(no directory) = %q, %v; want %q", got, err, own)
	}
	write("gemini", "# comment\n.gemini\n\n .config/gh \n")
	write("k8s", ".kube")
	want := []string{".aws", ".gemini", ".config/gh", ".kube"}
	got, err = withImages(own, dir)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("withImages() = %q, %v; want %q", got, err, want)
	}
	for _, bad := range []string{"/root", "../x", "secrets"} {
		write("bad", bad)
		if got, err := withImages(own, dir); err == nil || !strings.Contains(err.Error(), "bad: ") {
			t.Errorf("withImages(%s) = %q, %v; want an error that names the file", bad, got, err)
		}
	}
}

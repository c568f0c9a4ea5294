package control

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestContent(t *testing.T) {
	o := openedVault(t)
	defer o.watch.Close()
	put := func(name, text string) error {
		return os.WriteFile(filepath.Join(o.tree.Name(), name), []byte(text), 0o600)
	}
	err := errors.Join(put("token", "a\nb\n\n"), put("null", "a\x00b"), put("most", strings.Repeat("x", 120<<10)), put("more", strings.Repeat("x", 120<<10+1)),
		os.Symlink("token", filepath.Join(o.tree.Name(), "link")), os.Mkdir(filepath.Join(o.tree.Name(), "dir"), 0o700))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"token": "a\nb\n", "most": strings.Repeat("x", 120<<10)} {
		if got, err := o.content(name); got != want || err != nil {
			t.Errorf("content(%s) = %.20q, %v; want %.20q", name, got, err, want)
		}
	}
	for name, want := range map[string]string{"null": "null byte", "more": "longer than 120 KiB", "link": "symbolic", "dir": "no file", "none": "no such"} {
		if got, err := o.content(name); got != "" || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("content(%s) = %.20q, %v; want an error with %q", name, got, err, want)
		}
	}
}

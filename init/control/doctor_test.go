package control

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tazzo/tazpod/init/wire"
)

func TestContents(t *testing.T) {
	dir := t.TempDir()
	if got := contents(dir); len(got) != 0 {
		t.Errorf("contents(empty) = %v; want none", got)
	}
	for name, text := range map[string]string{"base.txt": "bash 5.2\ngit 1:2.47\n", "base.cdx.json": "{}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := wire.Check{Name: "contents of base", OK: true, Found: "bash 5.2, git 1:2.47"}
	if got := contents(dir); len(got) != 1 || got[0] != want {
		t.Errorf("contents() = %+v; want %+v", got, want)
	}
}

package vault

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A clock that goes backwards, and files from the future, cost no save and no
// peace.
func TestClock(t *testing.T) {
	defer func() { clock = time.Now }()
	p := copyVault(t, smallVault(t, "before"))
	v := mustOpen(t, p)
	for i, back := range []time.Duration{0, time.Hour, 2 * time.Hour, 30 * 365 * 24 * time.Hour} {
		clock = func() time.Time { return time.Now().Add(-back) }
		name := time.Duration(i).String()
		write(t, v.tree, name, "content")
		future, past := time.Date(2100, 1, 1, 0, 0, 0, 999999999, time.UTC), time.Date(1950, 1, 1, 0, 0, 0, 1, time.UTC)
		path := filepath.Join(v.tree.Name(), name)
		if err := errors.Join(os.Chtimes(path, future, future), os.Chtimes(v.tree.Name(), past, past)); err != nil {
			t.Fatal(err)
		}
		mustSave(t, v, true)
		if changed, err := v.Changed(); changed || err != nil {
			t.Errorf("%v back: Changed() after Save = %v, %v; want false", back, changed, err)
		}
		write(t, v.tree, name, "CONTENT") // as long, and made to look as old
		if err := os.Chtimes(path, future, future); err != nil {
			t.Fatal(err)
		}
		if changed, err := v.Changed(); !changed || err != nil {
			t.Errorf("%v back: Changed() after a write = %v, %v; want true", back, changed, err)
		}
		mustSave(t, v, true)
		if got := readCopy(t, vaultPath(p), name); got != "CONTENT" {
			t.Errorf("%v back: %q is saved; want CONTENT", back, got)
		}
	}
	mustSave(t, v, false)
}

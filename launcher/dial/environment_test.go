package dial

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestPick(t *testing.T) {
	localtime := filepath.Join(t.TempDir(), "localtime")
	for _, c := range []struct {
		link          string
		environ, want []string
	}{
		{"", []string{"LANG=de_DE.UTF-8", "LC_TIME=C", "PATH=/bin", "SECRET=x"}, []string{"LANG=de_DE.UTF-8", "LC_TIME=C"}},
		{"/usr/share/zoneinfo/Europe/Rome", nil, []string{"TZ=Europe/Rome"}},
		{"../usr/share/zoneinfo/Etc/UTC", []string{"TZ=Asia/Tokyo"}, []string{"TZ=Asia/Tokyo"}},
		{"/etc/other", []string{"NO_COLOR=1"}, []string{"NO_COLOR=1"}},
	} {
		if err := os.Remove(localtime); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if c.link != "" {
			if err := os.Symlink(c.link, localtime); err != nil {
				t.Fatal(err)
			}
		}
		if got := pick(c.environ, localtime); !slices.Equal(got, c.want) {
			t.Errorf("pick(%q) with %q = %q; want %q", c.environ, c.link, got, c.want)
		}
	}
}

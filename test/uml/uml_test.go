package uml

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMachine(t *testing.T) {
	dir := t.TempDir()
	m := Start(t, Options{ScratchMB: 64, SwapMB: 64, Binds: []string{dir}})
	for _, c := range []struct {
		script, out, err string
		status           int
	}{
		{"uname -n; echo apart >&2; exit 3", "uml\n", "apart\n", 3},
		{"stat -f -c %T / /scratch /tmp", "overlayfs\next2/ext3\ntmpfs\n", "", 0},
		{"grep -c ^/dev/ubdb /proc/swaps", "1\n", "", 0},
		{"id -u; pwd", "0\n/\n", "", 0},
		{"kill -9 $$", "", "", 137},
		{"test -e /dev/mapper/control && losetup -f", "/dev/loop0\n", "", 0},
	} {
		r := m.Run("sh", "-c", c.script)
		if r.Stdout != c.out || r.Stderr != c.err || r.Status != c.status {
			t.Errorf("%s = %q, %q, %d; want %q, %q, %d", c.script, r.Stdout, r.Stderr, r.Status, c.out, c.err, c.status)
		}
	}
	file := filepath.Join(dir, "file")
	until := m.Start("sh", "-c", "until [ -e "+file+" ]; do sleep 0.1; done; cat "+file)
	if r := m.Run("sh", "-c", "touch /etc/of-the-guest && echo bound >"+file); r.Err() != nil {
		t.Error(r.Err())
	}
	if out := until.Wait().Stdout; out != "bound\n" {
		t.Errorf("a job beside others read %q; want what the other wrote", out)
	}
	if text, err := os.ReadFile(file); string(text) != "bound\n" {
		t.Errorf("the host reads %q, %v from a bound directory", text, err)
	}
	if _, err := os.Stat("/etc/of-the-guest"); err == nil {
		t.Error("the guest wrote to the host's /etc")
	}
}

// TestScan finds what a process of the guest holds, and nothing that none holds.
func TestScan(t *testing.T) {
	m := Start(t, Options{MemoryMB: 256})
	const pages = 1500
	script := fmt.Sprintf(`for i in $(seq %d); do printf '%%s%%04090d' marker 7; done >/dev/shm/pages`, pages)
	if r := m.Run("bash", "-c", script); r.Err() != nil {
		t.Fatal(r.Err())
	}
	held, absent := []byte("marker"+strings.Repeat("0", 4000)), bytes.Repeat([]byte("absent"), 100)
	if hits := m.Scan(held, absent); hits[0] < pages || hits[1] != 0 {
		t.Errorf("Scan = %d; want at least %d, and 0", hits, pages)
	}
}

func TestEachIndex(t *testing.T) {
	for _, c := range []struct {
		in, pattern string
		limit       int
		want        []int
	}{
		{"", "ab", 4, nil},
		{"abxab", "ab", 5, []int{0, 3}},
		{"xxxab", "ab", 4, []int{3}},
		{"xxxab", "ab", 3, nil},
		{"aaaa", "aa", 4, []int{0, 1, 2}},
	} {
		var got []int
		eachIndex([]byte(c.in), []byte(c.pattern), c.limit, func(at int) { got = append(got, at) })
		if !slices.Equal(got, c.want) {
			t.Errorf("eachIndex(%q, %q, %d) = %d; want %d", c.in, c.pattern, c.limit, got, c.want)
		}
	}
}

package luks

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/tazzo/tazpod/test/need"
)

// memory makes the pod have so many bytes for the duration of a test.
func memory(t *testing.T, free, most int64) {
	t.Helper()
	wasAvailable, wasLimit := available, limit
	available, limit = func() int64 { return free }, func() int64 { return most }
	t.Cleanup(func() { available, limit = wasAvailable, wasLimit })
}

func TestDefaultKDF(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		free, limit int64
		memory      int64 // 0: refused
		passes      int
	}{
		{8 << 30, math.MaxInt64, 256 * mib, 4},
		{400 * mib, 512 * mib, 256 * mib, 4},
		{250 * mib, 256 * mib, 128 * mib, 8},
		{100 * mib, math.MaxInt64, 68 * mib, 16},
		{120 * mib, 128 * mib, 64 * mib, 16},
		{96 * mib, 100 * mib, 64 * mib, 16},
		{95 * mib, 100 * mib, 0, 0},
		{0, 100 * mib, 0, 0},
	} {
		memory(t, c.free, c.limit)
		got, err := DefaultKDF()
		var short *MemoryError
		if c.memory == 0 {
			if !errors.As(err, &short) || short.Need != minimumMemory+overhead || short.Have != c.free {
				t.Errorf("DefaultKDF() with %d = %v; want a MemoryError with both numbers", c.free, err)
			}
			continue
		}
		if err != nil || got.Memory != c.memory || got.Iterations != c.passes || got.Type != "argon2id" {
			t.Errorf("DefaultKDF() with %d of %d = %+v, %v; want %d bytes, %d passes", c.free, c.limit, got, err, c.memory, c.passes)
		}
	}
}

func TestUnlockRefusesForMemory(t *testing.T) {
	need.Command(t, "cryptsetup")
	path := formatted(t, "--pbkdf=argon2id", "--pbkdf-memory=65536", "--pbkdf-parallel=1", "--pbkdf-force-iterations=4")
	h, err := readFile(t, path)
	if err != nil {
		t.Fatal(err)
	}
	memory(t, 64<<20, 64<<20)
	var short *MemoryError
	_, _, err = h.Unlock(context.Background(), secret(t, "pass"))
	if !errors.As(err, &short) || short.Need != 64<<20+overhead || short.Have != 64<<20 {
		t.Fatalf("Unlock() = %v; want a MemoryError with both numbers", err)
	}
	if got, want := err.Error(), "the passphrase's key derivation needs 96 MiB of memory, the pod may use 64 MiB"; got != want {
		t.Errorf("Error() = %q; want %q", got, want)
	}
	if _, _, err := Format(context.Background(), 32<<20, KDF{Type: "argon2id", Memory: 64 << 20, Lanes: 1, Iterations: 4}, secret(t, "pass")); !errors.As(err, &short) {
		t.Errorf("Format() = %v; want a MemoryError", err)
	}
	memory(t, 64<<20+overhead, 1<<30)
	key, _, err := h.Unlock(context.Background(), secret(t, "pass"))
	if err != nil {
		t.Errorf("Unlock() with just enough = %v", err)
	}
	key.Destroy()
}

func TestAvailableHere(t *testing.T) {
	if got := available(); got <= 0 || got == math.MaxInt64 {
		t.Errorf("available() = %d; want what this machine has", got)
	}
}

func TestGroups(t *testing.T) {
	v1 := func(root string) *mountinfo.Info {
		return &mountinfo.Info{FSType: "cgroup", VFSOptions: "rw,memory", Root: root, Mountpoint: "/cg/memory"}
	}
	v2 := func(root string) *mountinfo.Info {
		return &mountinfo.Info{FSType: "cgroup2", VFSOptions: "rw", Root: root, Mountpoint: "/cg"}
	}
	for _, c := range []struct {
		name  string
		mount *mountinfo.Info
		own   string
		want  []string
	}{
		{"host, version 2", v2("/"), "0::/user/me\n", []string{"/cg/user/me", "/cg/user", "/cg"}},
		{"own cgroup name space", v2("/"), "0::/\n", []string{"/cg"}},
		{"joined from outside", v2("/"), "0::/../other\n", []string{"/cg"}},
		{"mounted from outside", v2("/../.."), "0::/\n", []string{"/cg"}},
		{"host, version 1", v1("/"), "4:memory:/a\n0::/b\n", []string{"/cg/memory/a", "/cg/memory"}},
		{"container, version 1", v1("/docker/1"), "9:cpu:/x\n4:memory:/docker/1\n", []string{"/cg/memory"}},
		{"below a container's, version 1", v1("/docker/1"), "4:memory:/docker/1/sub\n", []string{"/cg/memory/sub", "/cg/memory"}},
		{"other controller", &mountinfo.Info{FSType: "cgroup", VFSOptions: "rw,cpu", Root: "/", Mountpoint: "/cg/cpu"}, "1:cpu:/\n", nil},
		{"nothing known", v2("/"), "", []string{"/cg"}},
	} {
		var got []string
		for _, g := range groupsOf([]*mountinfo.Info{c.mount}, []byte(c.own)) {
			got = append(got, g.dir)
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: groups = %q; want %q", c.name, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: groups = %q; want %q", c.name, got, c.want)
			}
		}
	}
}

func TestGroupFree(t *testing.T) {
	for _, c := range []struct {
		name  string
		v1    bool
		files map[string]string
		want  int64
	}{
		{"version 2", false, map[string]string{"memory.max": "1000\n", "memory.current": "700\n", "memory.stat": "anon 5\ninactive_file 200\n"}, 500},
		{"no limit", false, map[string]string{"memory.max": "max\n", "memory.current": "700\n"}, math.MaxInt64},
		{"no limit, much cache", false, map[string]string{"memory.stat": "inactive_file 300\n"}, math.MaxInt64},
		{"root group", false, nil, math.MaxInt64},
		{"version 1", true, map[string]string{"memory.limit_in_bytes": "1000\n", "memory.usage_in_bytes": "900\n", "memory.stat": "inactive_file 1\ntotal_inactive_file 300\n"}, 400},
	} {
		dir := t.TempDir()
		for name, text := range c.files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := (group{dir, c.v1}).free(); got != c.want {
			t.Errorf("%s: free() = %d; want %d", c.name, got, c.want)
		}
	}
}

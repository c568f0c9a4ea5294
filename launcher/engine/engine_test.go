package engine

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/system"

	"github.com/tazzo/tazpod/init/wire"
)

// fakeEngine answers pings with an API version, on a unix socket.
func fakeEngine(t *testing.T, version string) (address string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Api-Version", version)
	})}
	go func() { _ = server.Serve(l) }() // always ends with an error
	t.Cleanup(func() { server.Close() })
	return "unix://" + path
}

func onlyHost(address string) func(string) string {
	return func(name string) string { return map[string]string{"DOCKER_HOST": address}[name] }
}

// open sets DOCKER_HOST too, since the client library reads the environment.
func open(t *testing.T, address string) (*Engine, error) {
	t.Helper()
	t.Setenv("DOCKER_HOST", address)
	return Open(context.Background(), onlyHost(address))
}

func TestOpen(t *testing.T) {
	e, err := open(t, fakeEngine(t, "1.41"))
	if err != nil || e.Version != "1.41" {
		t.Fatalf("Open(API 1.41) = %+v, %v; want that version", e, err)
	}
	e.Close()
	e, err = open(t, fakeEngine(t, "1.99"))
	if err != nil || e.Version == "1.99" {
		t.Fatalf("Open(API 1.99) = %+v, %v; want the client's newest version", e, err)
	}
	e.Close()
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ address, message, hint string }{
		{fakeEngine(t, "1.40"), "API 1.40 is older than 1.41", "20.10"},
		{fakeEngine(t, ""), "API 1.24 is older than 1.41", "20.10"},
		{"unix://" + dir + "/none", "no answer", "start it"},
		{"tcp://127.0.0.1:1", "no answer", "DOCKER_HOST"},
		{"nonsense", "nonsense", "DOCKER_HOST"},
	} {
		_, err := open(t, c.address)
		var u *UnreachableError
		if !errors.As(err, &u) || !strings.Contains(err.Error(), c.message) || !strings.Contains(u.Hint, c.hint) {
			t.Errorf("Open(%s) = %v, hint %+v; want %q and the hint %q", c.address, err, u, c.message, c.hint)
		}
	}
}

func TestOpenByContext(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("DOCKER_HOST", "")
	address := fakeEngine(t, "1.41")
	// What `docker context create there --docker host=ADDRESS` writes; the
	// directory is the SHA-256 of the name.
	data, err := json.Marshal(map[string]any{"Name": "there", "Metadata": map[string]any{},
		"Endpoints": map[string]any{"docker": map[string]any{"Host": address, "SkipTLSVerify": false}}})
	if err != nil {
		t.Fatal(err)
	}
	meta := filepath.Join(dir, "contexts/meta", digest("there"))
	if err := os.MkdirAll(meta, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(meta, "meta.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	env := func(name string) string { return map[string]string{"DOCKER_CONTEXT": "there"}[name] }
	e, err := Open(context.Background(), env)
	if err != nil || e.Host != address {
		t.Errorf("Open(context there) = %+v, %v; want %s", e, err, address)
	}
	env = func(name string) string { return map[string]string{"DOCKER_CONTEXT": "nowhere"}[name] }
	var u *UnreachableError
	if _, err := Open(context.Background(), env); !errors.As(err, &u) || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("Open(context nowhere) = %v; want that there is none", err)
	}
}

// TestPrivileges is the whole of what a pod gets, so that a change is seen.
func TestPrivileges(t *testing.T) {
	spec := Spec{Name: "hello-123456", Project: "/home/me/hello", Vault: ".tazpod/vault", Image: "tazpod/base", ImageID: "sha256:1",
		Pod: wire.Pod{Name: "hello-123456", VaultSize: 1 << 28}, Memory: 1 << 30, Ports: []string{"127.0.0.1:80:8080"}}
	config, hostConfig, err := spec.configs(host{AppArmor: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := config.Env, `TAZPOD_POD={"name":"hello-123456","vault_size":268435456}`; len(got) != 1 || got[0] != want {
		t.Errorf("environment = %q; want %q", got, want)
	}
	if hostConfig.Privileged || hostConfig.NetworkMode.IsHost() || len(hostConfig.Devices) > 0 || len(hostConfig.Binds) > 0 || hostConfig.PidMode != "" {
		t.Errorf("host configuration = %+v; want no privilege beyond the list", hostConfig)
	}
	got, err := json.Marshal([]any{hostConfig.CapDrop, hostConfig.CapAdd, hostConfig.SecurityOpt, hostConfig.Mounts,
		hostConfig.Memory, hostConfig.MemorySwap, hostConfig.PidsLimit, hostConfig.Ulimits, hostConfig.PortBindings, config.StopTimeout})
	if err != nil {
		t.Fatal(err)
	}
	want := `[["ALL"],["SYS_ADMIN","CHOWN","DAC_OVERRIDE","FOWNER","SETUID","SETGID","SETFCAP","SYS_CHROOT","KILL"],` +
		`["no-new-privileges","apparmor=unconfined"],[{"Type":"bind","Source":"/home/me/hello","Target":"/workspace"},` +
		`{"Type":"bind","Source":"/home/me/hello/.tazpod","Target":"/workspace/.tazpod","ReadOnly":true,"BindOptions":{"NonRecursive":true}},` +
		`{"Type":"tmpfs","Target":"/workspace/.tazpod/vault","ReadOnly":true,"TmpfsOptions":{"SizeBytes":4096,"Mode":320}},` +
		`{"Type":"bind","Source":"/home/me/hello/.tazpod/vault","Target":"/var/lib/tazpod/vault"}],` +
		`1073741824,1073741824,4096,[{"Name":"memlock","Hard":-1,"Soft":-1}],{"8080/tcp":[{"HostIp":"127.0.0.1","HostPort":"80"}]},45]`
	if string(got) != want {
		t.Errorf("privileges = %s\nwant %s", got, want)
	}
	spec.Pod.Persist = []string{".cache"}
	_, kept, err := spec.configs(host{})
	if err != nil {
		t.Fatal(err)
	}
	volume := kept.Mounts[len(kept.Mounts)-1]
	if volume.Type != "volume" || volume.Target != "/var/lib/tazpod/persist" || !strings.HasPrefix(volume.Source, "hello-123456-persist-") {
		t.Errorf("mount of what persists = %+v; want the project's volume where only root gets", volume)
	}
	other := spec
	if other.Project = "/home/me/evil"; other.volume() == spec.volume() {
		t.Errorf("another project of the same name has the same volume %s", spec.volume())
	}
	_, plain, err := spec.configs(host{Rootless: true})
	if err != nil || len(plain.SecurityOpt) != 1 || len(plain.Ulimits) != 0 {
		t.Errorf("without AppArmor, rootless: %q, %v, %v; want no profile and no limit", plain.SecurityOpt, plain.Ulimits, err)
	}
}

func TestConfigHash(t *testing.T) {
	hash := func(s Spec, h host) string {
		t.Helper()
		c, _, err := s.configs(h)
		if err != nil {
			t.Fatal(err)
		}
		return c.Labels[labelConfig]
	}
	a := Spec{Name: "a", Project: "/a"}
	if hash(a, host{}) != hash(a, host{FixedLimits: true}) {
		t.Error("an engine that can't raise limits makes the pod look changed for ever")
	}
	for _, b := range []Spec{{Name: "a", Project: "/b"}, {Name: "a", Project: "/a", Network: "none"}, {Name: "a", Project: "/a", Memory: 1}, {Name: "a", Project: "/a", Pod: wire.Pod{GhostRAM: 1}},
		{Name: "a", Project: "/a", Pod: wire.Pod{Engine: wire.EngineDMCrypt}}} {
		if hash(a, host{}) == hash(b, host{}) {
			t.Errorf("%+v has the hash of %+v", b, a)
		}
	}
}

// TestNoSwap: a pod without a limit has one at all the machine's memory, which is
// how an engine is told to keep it out of swap; where it can't be told, none.
func TestNoSwap(t *testing.T) {
	for _, c := range []struct{ memory, machine, want int64 }{{0, 8 << 30, 8 << 30}, {1 << 30, 8 << 30, 1 << 30}, {0, 0, 0}, {1 << 30, 0, 1 << 30}} {
		_, h, err := Spec{Name: "a", Project: "/a", Memory: c.memory}.configs(host{Memory: c.machine})
		if err != nil || h.Memory != c.want || h.MemorySwap != c.want {
			t.Errorf("limit of %d on a machine of %d: memory %d, with swap %d, %v; want %d twice", c.memory, c.machine, h.Memory, h.MemorySwap, err, c.want)
		}
	}
	if got := hostOf(system.Info{MemTotal: 5}); got.Memory != 0 {
		t.Errorf("an engine that can't limit swap has %d", got.Memory)
	}
	if got := hostOf(system.Info{MemTotal: 5, SwapLimit: true}); got.Memory != 5 {
		t.Errorf("an engine that can limit swap has %d; want 5", got.Memory)
	}
}

func TestHostOf(t *testing.T) {
	for options, want := range map[string]host{
		"name=apparmor|name=seccomp,profile=default": {AppArmor: true},
		"name=seccomp,profile=builtin|name=rootless": {Rootless: true},
		"name=apparmor,profile=x":                    {AppArmor: true},
		"name=apparmorish":                           {},
		"":                                           {},
	} {
		if got := hostOf(system.Info{SecurityOptions: strings.Split(options, "|")}); got != want {
			t.Errorf("hostOf(%q) = %+v; want %+v", options, got, want)
		}
	}
}

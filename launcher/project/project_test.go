package project

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/launcher/tree"
)

func none(string) string { return "" }

// env makes a lookup of a few variables.
func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// make writes a project with the given settings and returns its directory.
func makeProject(t *testing.T, settings string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, File), settings)
	return dir
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDefaults(t *testing.T) {
	dir := makeProject(t, "")
	inside := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := Load(inside, Overrides{}, none)
	if err != nil {
		t.Fatal(err)
	}
	if c.Dir != dir {
		t.Errorf("Dir = %q; want %q", c.Dir, dir)
	}
	if got, want := c.Name, DefaultName(dir); got != want {
		t.Errorf("Name = %q; want %q", got, want)
	}
	if got, want := c.VaultFile(), filepath.Join(dir, ".tazpod/vault/vault.img"); got != want {
		t.Errorf("VaultFile() = %q; want %q", got, want)
	}
	if p := c.Pod(); p.VaultSize != 256<<20 || p.Vault != "" {
		t.Errorf("Pod() = %+v; want 256 MiB in the default directory", p)
	}
}

func TestNoProject(t *testing.T) {
	if _, err := Load(t.TempDir(), Overrides{}, none); !errors.Is(err, ErrNone) {
		t.Errorf("Load() = %v; want %v", err, ErrNone)
	}
}

func TestPrecedence(t *testing.T) {
	home := t.TempDir()
	userFile := filepath.Join(home, ".config/tazpod/config.yaml")
	put(t, userFile, "image: from-user\nmemory: 1GiB\n")
	dir := makeProject(t, "image: from-project\n")
	for _, c := range []struct {
		flag, variable, want string
	}{
		{"", "", "from-project"},
		{"", "from-env", "from-env"},
		{"from-flag", "from-env", "from-flag"},
	} {
		got, err := Load(dir, Overrides{Image: c.flag}, env("HOME", home, "TAZPOD_IMAGE", c.variable))
		if err != nil {
			t.Fatal(err)
		}
		if got.Image.Name != c.want || got.Memory != 1<<30 {
			t.Errorf("image, memory = %q, %d; want %q, 1 GiB", got.Image.Name, got.Memory, c.want)
		}
	}
}

func TestBadSettings(t *testing.T) {
	for settings, want := range map[string]string{
		"imge: base":                                      `config.yaml:1: unknown key "imge"; do you mean "image"?`,
		"name: ab\nvault:\n  sise: 3":                     `config.yaml:3: unknown key "vault.sise"; do you mean "size"?`,
		"zzzzzzzz: 1":                                     `config.yaml:1: unknown key "zzzzzzzz"`,
		"image: a\nimage: b":                              `config.yaml:2: `,
		"vault: [1, 2":                                    `config.yaml:1: `,
		"vault: big":                                      `config.yaml:1: vault must hold keys and values`,
		"- image":                                         `the file holds no list`,
		"name: &a x\nimage: *a":                           `anchors`,
		"name:\n  first: x":                               `config.yaml:2: name holds no keys`,
		"ghost:\n  bridges:\n    - {}":                    `config.yaml:3: a value of another kind`,
		"vault:\n  size: many":                            `vault.size: "many" is not a size`,
		"vault:\n  size: 1MiB":                            `a vault needs 16 MiB at least`,
		"vault:\n  path: ../x":                            `leads out of the project`,
		"vault:\n  path: /x":                              `leads out of the project`,
		"vault:\n  engine: floppy":                        `none of auto, memory and dmcrypt`,
		"ghost:\n  bridges: [../.aws]":                    `not a directory below the home`,
		"ghost:\n  bridges: [/etc]":                       `not a directory below the home`,
		"ghost:\n  bridges: [secrets]":                    `beside ~/secrets`,
		"ghost:\n  persist: [/etc]":                       `ghost: persist "/etc" is not a directory below the home`,
		"ghost:\n  persist: [secrets]":                    `would keep "secrets", which is secret, on disk in clear`,
		"ghost:\n  ttl: 8":                                `ghost.ttl: "8" is not a duration`,
		"ghost:\n  idle: 10ms":                            `ghost.idle: "10ms" is not between 1s`,
		"ghost:\n  history: disk":                         `ghost.history: "disk" is neither ram nor vault`,
		"ghost:\n  ttll: 8h":                              `config.yaml:2: unknown key "ghost.ttll"; do you mean "ttl"?`,
		"ghost: {bridges: [.aws], persist: [~/.aws/cli]}": `would keep ".aws"`,
		"build:\n  dockerfile: /x":                        `leads out of the project`,
		"name: -x":                                        `pod name "-x"`,
		"name: a b":                                       `pod name "a b"`,
		"image: a\n---\nimage: b":                         `more than one document`,
		strings.Repeat("#", maxFile+1):                    `longer than 64 KiB`,
		"features:\n  ghost_mode: nope":                   `config.yaml:2: a value of another kind`,
	} {
		_, err := Load(makeProject(t, settings), Overrides{}, none)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Load(%.40q) = %v; want %q in it", settings, err, want)
		}
	}
}

// TestGhostsOfTwoFiles: the user's and the project's settings of ghosts are both
// in force, and of two limits the tighter one.
func TestGhostsOfTwoFiles(t *testing.T) {
	home := t.TempDir()
	put(t, filepath.Join(home, ".config/tazpod/config.yaml"), "ghost: {bridges: [.aws], persist: [.cache], ttl: 4h, idle: 10m}\n")
	dir := makeProject(t, "ghost: {bridges: [~/.aws/, .kube], persist: [.vscode-server], ttl: 8h, idle: 5m, history: vault}\n")
	c, err := Load(dir, Overrides{}, env("HOME", home))
	if err != nil {
		t.Fatal(err)
	}
	p := c.Pod()
	want := wire.Pod{Name: p.Name, VaultSize: p.VaultSize, Bridges: []string{".aws", ".kube"}, Persist: []string{".cache", ".vscode-server"},
		TTL: wire.Duration(4 * time.Hour), Idle: wire.Duration(5 * time.Minute), History: true}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("Pod() = %+v; want %+v", p, want)
	}
	if got := strings.Join(c.Ghost.TheirPersist, " "); got != ".vscode-server" {
		t.Errorf("TheirPersist = %s; want the project's .vscode-server alone", got)
	}
	put(t, filepath.Join(home, ".config/tazpod/config.yaml"), "memory: 1GiB\nghost: {ram: 64MiB}\n")
	for settings, ok := range map[string]bool{"memory: 512MiB": true, "memory: 2GiB": false, "memory: 0": false,
		"ghost: {ram: 32MiB}": true, "ghost: {ram: 1GiB}": false, "ghost: {ram: 0}": false} {
		if _, err := Load(makeProject(t, settings), Overrides{}, env("HOME", home)); (err == nil) != ok {
			t.Errorf("Load(%s) = %v; want it taken %v", settings, err, ok)
		}
	}
	put(t, filepath.Join(home, ".config/tazpod/config.yaml"), "ghost: {bridges: [.aws], history: ram}\n")
	if _, err := Load(dir, Overrides{}, env("HOME", home)); err == nil || !strings.Contains(err.Error(), "ghost.history") {
		t.Errorf("a project keeps the history that the user's own file doesn't: %v", err)
	}
	dir = makeProject(t, "ghost: {persist: [.aws]}\n")
	if _, err := Load(dir, Overrides{}, env("HOME", home)); err == nil {
		t.Error("a project may keep on disk what the user's own file has in the vault")
	}
}

// TestEngine: who says last which engine opens the vault, and whether the project
// is who says that it takes devices.
func TestEngine(t *testing.T) {
	for _, c := range []struct {
		user, project, variable, flag string
		want                          string
		theirs                        bool
	}{
		{"", "", "", "", "", false},
		{"", "auto", "", "", "", false},
		{"", "memory", "", "", "", false},
		{"", "dmcrypt", "", "", "dmcrypt", true},
		{"dmcrypt", "", "", "", "dmcrypt", false},
		{"dmcrypt", "memory", "", "", "", false},
		{"", "dmcrypt", "memory", "", "", false},
		{"", "dmcrypt", "dmcrypt", "", "dmcrypt", false},
		{"", "", "memory", "dmcrypt", "dmcrypt", false},
	} {
		home, settings := t.TempDir(), ""
		if c.user != "" {
			put(t, filepath.Join(home, ".config/tazpod/config.yaml"), "vault: {engine: "+c.user+"}\n")
		}
		if c.project != "" {
			settings = "vault: {engine: " + c.project + "}\n"
		}
		got, err := Load(makeProject(t, settings), Overrides{Engine: c.flag}, env("HOME", home, "TAZPOD_ENGINE", c.variable))
		if err != nil {
			t.Errorf("%+v: %v", c, err)
		} else if got.Pod().Engine != c.want || got.Vault.TheirEngine != c.theirs {
			t.Errorf("%+v: engine %q, theirs %v", c, got.Pod().Engine, got.Vault.TheirEngine)
		}
	}
	if _, err := Load(makeProject(t, ""), Overrides{Engine: "floppy"}, none); err == nil || !strings.Contains(err.Error(), "none of auto") {
		t.Errorf("Load with the engine floppy = %v", err)
	}
}

func TestOriginalsKeys(t *testing.T) {
	c, err := Load(makeProject(t, `version: 1.0
image: "tazzo/tazlab.net:tazpod-gemini"
container_name: "tazpod-lab"
user: "someone"
build:
  dockerfile: ".tazpod/Dockerfile.gemini"
  context: "."
features:
  ghost_mode: true
  debug: false
vault:
  size: 536870912
`), Overrides{}, none)
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "tazpod-lab" || c.Image.Name != "tazzo/tazlab.net:tazpod-gemini" ||
		c.Build.Dockerfile != ".tazpod/Dockerfile.gemini" || c.Build.Context != "." || c.Vault.Size != 512<<20 {
		t.Errorf("Load() = %+v; want what the file says", c)
	}
	if len(c.Notes) != 1 || !strings.Contains(c.Notes[0], `"someone"`) {
		t.Errorf("Notes = %q; want one about the user", c.Notes)
	}
}

func TestProjectMayOnlyTighten(t *testing.T) {
	for _, c := range []struct {
		user, project string
		refused       bool
	}{
		{"", "network: none", false},
		{"", "network: bridge", false},
		{"", "network: host", true},
		{"", "network: container:other", true},
		{"network: host", "network: none", false},
		{"network: host", "network: host", false},
		{"network: none", "network: bridge", true},
		{"", `ports: ["127.0.0.1:80:80"]`, false},
		{"", `ports: ["[::1]:80:80/tcp"]`, false},
		{"", `ports: ["80:80"]`, true},
		{"", `ports: ["0.0.0.0:80:80"]`, true},
		{"", `ports: ["80"]`, true},
		{`ports: ["80:80"]`, "", false},
		{"", "features: {ghost_mode: false}", true},
		{"", "build: {ca_certificates: [/etc/evil.crt]}", true},
		{"", "build: {ca_certificates: [ca.crt]}", false},
		{"", "build: {args: [K9S=none]}", true},
		{"build: {args: [K9S=none]}", "", false},
		{"build: {args: [K9S]}", "", true},
	} {
		home := t.TempDir()
		put(t, filepath.Join(home, ".config/tazpod/config.yaml"), c.user)
		_, err := Load(makeProject(t, c.project), Overrides{}, env("HOME", home))
		if refused := err != nil; refused != c.refused {
			t.Errorf("user %q, project %q: %v; want refused = %v", c.user, c.project, err, c.refused)
		}
	}
	dir := makeProject(t, "network: none")
	c, err := Load(dir, Overrides{Network: "host"}, none)
	if err != nil || c.Network != "host" {
		t.Errorf("the flag gives network %q, %v; want host", c.Network, err)
	}
}

func TestInitNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "secrets.yml"), "mine")
	first, err := Init(dir, "k8s")
	if err != nil {
		t.Fatal(err)
	}
	again, err := Init(dir, "gemini")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true, false} {
		if first[i].Kept != want || !again[i].Kept {
			t.Errorf("%s: kept %v, then %v; want %v, then true", first[i].Path, first[i].Kept, again[i].Kept, want)
		}
	}
	if data, _ := os.ReadFile(filepath.Join(dir, "secrets.yml")); string(data) != "mine" {
		t.Errorf("secrets.yml = %q; want it untouched", data)
	}
	c, err := Load(dir, Overrides{}, none)
	if err != nil || c.Image.Name != "k8s" {
		t.Errorf("what Init wrote loads as %+v, %v; want image k8s", c, err)
	}
}

// TestCommentedKeysAreReal makes sure that what the written file suggests is
// accepted once the comment sign is gone.
func TestCommentedKeysAreReal(t *testing.T) {
	var lines []string
	for l := range strings.Lines(configTemplate) {
		lines = append(lines, strings.TrimPrefix(l, "#"))
	}
	text := strings.Join(lines[6:], "")
	text = strings.ReplaceAll(text, " base, k8s or gemini", "# base")
	text = strings.ReplaceAll(text, " The pod's name", "# ")
	if _, err := Load(makeProject(t, text), Overrides{}, none); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestDefaultName(t *testing.T) {
	for dir, want := range map[string]string{
		"/home/me/My Project!": "my-project-",
		"/":                    "pod-",
		"/x/日本":                "pod-",
		"/x/--a__b--":          "a-b-",
	} {
		got := DefaultName(dir)
		if !strings.HasPrefix(got, want) || len(got) != len(want)+hashDigits || checkName(got) != nil {
			t.Errorf("DefaultName(%q) = %q; want %qXXXXXX", dir, got, want)
		}
	}
	if DefaultName("/a/x") == DefaultName("/b/x") {
		t.Error("two directories have one name")
	}
	if long := DefaultName("/" + strings.Repeat("a", 200)); len(long) != maxName || checkName(long) != nil {
		t.Errorf("DefaultName(200 letters) = %q; want %d characters", long, maxName)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(configTemplate))
	f.Add([]byte("a: &x [*x, *x]"))
	f.Add([]byte("vault: {size: 1, ? [a] : b}\nghost:\n  <<: {ram: 1}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxFile {
			return
		}
		own, err := parse("f", data)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("an error of several lines: %q", err)
			}
			return
		}
		if own.mayOnlyTighten(&file{}) == nil {
			_ = own.apply(&Config{Vault: Vault{Size: defaultVaultSize}})
		}
	})
}

// TestLinksAreNotSettings: what a link leads to could be written in the pod.
func TestLinksAreNotSettings(t *testing.T) {
	dir := makeProject(t, "")
	settings := filepath.Join(dir, ".tazpod")
	put(t, filepath.Join(dir, "planted/config.yaml"), "image: evil")
	link := func(target, path string) {
		t.Helper()
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	link("../planted/config.yaml", filepath.Join(settings, "config.yaml"))
	if _, err := Load(dir, Overrides{}, none); !errors.Is(err, tree.ErrLink) {
		t.Errorf("Load(config.yaml is a link) = %v; want %v", err, tree.ErrLink)
	}
	link("planted", settings)
	if _, err := Load(dir, Overrides{}, none); !errors.Is(err, tree.ErrLink) {
		t.Errorf("Load(.tazpod is a link) = %v; want %v", err, tree.ErrLink)
	}
	if _, err := Init(dir, "base"); !errors.Is(err, tree.ErrLink) {
		t.Errorf("Init(.tazpod is a link) = %v; want %v", err, tree.ErrLink)
	}
}

func TestMakeVault(t *testing.T) {
	dir := makeProject(t, "vault: {path: a/vault}")
	c, err := Load(dir, Overrides{}, none)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.MakeVault(); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "a/vault")); err != nil || !info.IsDir() {
		t.Errorf("MakeVault() made %v, %v; want a directory", info, err)
	}
	outside := t.TempDir()
	if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	if err := c.MakeVault(); !errors.Is(err, tree.ErrLink) {
		t.Errorf("MakeVault(a is a link) = %v; want %v", err, tree.ErrLink)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("outside are %v, %v; want nothing", entries, err)
	}
	for _, path := range []string{".", "./", ".tazpod"} {
		if _, err := Load(makeProject(t, "vault: {path: "+path+"}"), Overrides{}, none); err == nil || !strings.Contains(err.Error(), "vault.path") {
			t.Errorf("vault.path %s: %v; want it refused", path, err)
		}
	}
}

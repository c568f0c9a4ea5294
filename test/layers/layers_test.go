// Package layers checks what the documents say of the code: who may import
// whom, what the two programs may depend on, which test stands for which claim.
package layers

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tazzo/tazpod/"

// order has each half's packages from top to bottom. A package imports only
// what stands below it in its half, or in shared.
var (
	pod = []string{"cmd/tazpod-init", "init/control", "init/pid1", "init/ghost", "init/pull", "init/secrets/infisical", "init/secrets", "init/vault", "init/vault/ext4", "init/vault/device",
		"init/luks", "init/steps", "init/sys"}
	host   = []string{"cmd/tazpod", "launcher/engine", "launcher/image", "launcher/project", "launcher/tree", "launcher/trust", "images"}
	shared = []string{"launcher/vault", "launcher/dial", "launcher/term", "init/locked", "init/strict", "init/wire"}
)

// dependencies are the modules that each program may link directly, with the
// reason. What they need in turn comes with them.
var dependencies = map[string]map[string]string{
	"cmd/tazpod-init": {
		"golang.org/x/crypto":              "SSH server, XTS, argon2",
		"golang.org/x/sys":                 "system calls",
		"github.com/alecthomas/kingpin/v2": "command line",
		"github.com/rs/zerolog":            "events in the pod's log",
		"github.com/moby/sys/mountinfo":    "which volumes and masks the container has",
		"github.com/containerd/console":    "raw mode and sizes of terminals",
		"github.com/goccy/go-yaml":         "secrets.yml, strict and with line numbers",
	},
	"cmd/tazpod": {
		"golang.org/x/crypto":              "SSH client",
		"golang.org/x/sys":                 "terminals and descriptors",
		"github.com/alecthomas/kingpin/v2": "command line",
		"github.com/goccy/go-yaml":         "config.yaml, strict and with line numbers",
		"github.com/containerd/console":    "raw mode and sizes of terminals",
		"github.com/docker/docker":         "the engine's API",
		"github.com/docker/cli":            "the engine's contexts and ssh hosts",
		"github.com/docker/go-connections": "types of the engine's API",
		"github.com/containerd/errdefs":    "which error the engine's API returned",
	},
}

func list(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	return strings.Fields(string(out))
}

// imports are the project's own packages that pkg imports directly.
func imports(t *testing.T, pkg string) (own, foreign []string) {
	for _, path := range list(t, "-f", `{{join .Imports "\n"}}`, "./"+pkg) {
		if rest, ok := strings.CutPrefix(path, module); ok {
			own = append(own, rest)
		} else if strings.Contains(strings.Split(path, "/")[0], ".") {
			foreign = append(foreign, path)
		}
	}
	return own, foreign
}

func TestImportsPointDown(t *testing.T) {
	for _, pkg := range list(t, "./cmd/...", "./init/...", "./launcher/...", "./images/...") {
		pkg := strings.TrimPrefix(pkg, module)
		var half []string
		for _, h := range [][]string{pod, host, shared} {
			if slices.Contains(h, pkg) {
				half = h
			}
		}
		if half == nil {
			t.Errorf("%s stands in no list: add it here and to ARCHITECTURE.md", pkg)
			continue
		}
		own, _ := imports(t, pkg)
		for _, imported := range own {
			below := slices.Index(half, imported) > slices.Index(half, pkg)
			if !below && (!slices.Contains(shared, imported) || slices.Contains(shared, pkg)) {
				t.Errorf("%s imports %s, which doesn't stand below it", pkg, imported)
			}
		}
	}
}

func TestDependenciesAreListed(t *testing.T) {
	for program, allowed := range dependencies {
		used := map[string]bool{}
		for _, pkg := range list(t, "-deps", "./"+program) {
			pkg, ok := strings.CutPrefix(pkg, module)
			if !ok {
				continue
			}
			_, foreign := imports(t, pkg)
			for _, path := range foreign {
				found := false
				for m := range allowed {
					if path == m || strings.HasPrefix(path, m+"/") {
						found, used[m] = true, true
					}
				}
				if !found {
					t.Errorf("%s: %s imports %s, which is on no list", program, pkg, path)
				}
			}
		}
		for m := range allowed {
			if !used[m] {
				t.Errorf("%s doesn't use %s any more: take it off the list", program, m)
			}
		}
	}
}

// cited finds the tests that THREAT_MODEL.md names, as "package TestName".
var cited = regexp.MustCompile(`(e2e|[a-z]+(?:/[a-z0-9]+)+) ((?:Test|Fuzz)[A-Z]\w*)`)

func TestCitedTestsExist(t *testing.T) {
	text, err := os.ReadFile("../../THREAT_MODEL.md")
	if err != nil {
		t.Fatal(err)
	}
	claims := cited.FindAllStringSubmatch(string(text), -1)
	if len(claims) < 30 {
		t.Fatalf("THREAT_MODEL.md cites %d tests; want all of its claims'", len(claims))
	}
	for _, c := range claims {
		dir, name := c[1], c[2]
		if dir == "e2e" {
			dir = "test/e2e"
		}
		files, err := filepath.Glob("../../" + dir + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(files, func(f string) bool {
			source, err := os.ReadFile(f)
			return err == nil && bytes.Contains(source, []byte("\nfunc "+name+"("))
		}) {
			t.Errorf("THREAT_MODEL.md cites %s in %s, which isn't there", name, dir)
		}
	}
}

package peers

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tazzo/tazpod/test/need"
)

// real checks the tests themselves.
var real = flag.Bool("real", false, "run each suite, unchanged, with the program on the PATH that it is of")

// limit is for one run of a suite; they take a minute.
const limit = 5 * time.Minute

// stage makes a directory with our program under the peer's name, and the
// suite's helpers beside it, and returns it and its environment. The suite runs in
// a PID namespace whose first process is ours as well: both suites ask whether
// processes are gone, and somebody must reap them.
func stage(t *testing.T, name, script string) (dir string, command func(args ...string) *exec.Cmd) {
	t.Helper()
	need.Root(t)
	need.Command(t, "python3", "gcc", "unshare")
	if *real {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		script = "exec " + path + ` "$@"`
	}
	dir = t.TempDir()
	init := filepath.Join(dir, "tazpod-init")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-E=tazpod_entry", "-o", init, "../../cmd/tazpod-init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+strings.ReplaceAll(script, "INIT", init)), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, alias := range []string{"python", "python3"} { // Debian's, with its packages
		if err := os.Symlink("/usr/bin/python3", filepath.Join(dir, alias)); err != nil {
			t.Fatal(err)
		}
	}
	helpers, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	return dir, func(args ...string) *exec.Cmd {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		t.Cleanup(cancel)
		c := exec.CommandContext(ctx, "unshare", append([]string{"--pid", "--fork", "--kill-child", "--mount-proc", init, "run", "--"}, args...)...)
		c.Env = append(os.Environ(), "PATH="+dir+":/usr/bin:/bin", "PYTHONPATH="+helpers, "PYTHONDONTWRITEBYTECODE=1")
		return c
	}
}

func TestTini(t *testing.T) {
	checkout := need.Checkout(t, "TAZPOD_TINI", "github.com/krallin/tini")
	dir, command := stage(t, "tini", `exec INIT run "$@"`)
	text, err := os.ReadFile(filepath.Join(checkout, "test/run_inner_tests.py"))
	if err != nil {
		t.Fatal(err)
	}
	suite := string(text)
	if *real {
		tiniChanges = nil
	}
	for _, c := range tiniChanges {
		if !strings.Contains(suite, c.old) {
			t.Errorf("the suite has no %q any more (%s)", c.old, c.reason)
		}
		suite = strings.ReplaceAll(suite, c.old, c.new)
	}
	path := filepath.Join(dir, "suite.py")
	if err := os.WriteFile(path, []byte(suite), 0o644); err != nil {
		t.Fatal(err)
	}
	helper := exec.Command("gcc", "-o", filepath.Join(dir, "sigconf-test"), filepath.Join(checkout, "test/sigconf/sigconf-test.c"))
	if out, err := helper.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, subreaper := range []string{"0", "1"} {
		c := command("python3", path)
		c.Env = append(c.Env, "SOURCE_DIR="+checkout, "BUILD_DIR="+dir, "FORCE_SUBREAPER="+subreaper)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("FORCE_SUBREAPER=%s: %v\n%s", subreaper, err, out)
		}
	}
}

func TestDumbInit(t *testing.T) {
	checkout := need.Checkout(t, "TAZPOD_DUMB_INIT", "github.com/Yelp/dumb-init")
	// What is its default is our -g.
	_, command := stage(t, "dumb-init", `[ "$DUMB_INIT_SETSID" = 0 ] || set -- -g "$@"`+"\n"+`exec INIT run "$@"`)
	c := command("python3", "-m", "pytest", "-p", "no:cacheprovider", "--tb=short", "-rA", "--timeout=5", "tests")
	c.Dir = checkout
	out, err := c.CombinedOutput()
	results := regexp.MustCompile(`(?m)^(PASSED|FAILED|ERROR) tests/([^\s\[]+)`).FindAllStringSubmatch(string(out), -1)
	if len(results) < 100 {
		t.Fatalf("%d results: %v\n%s", len(results), err, out)
	}
	if *real {
		unfit = nil
	}
	passed, failed := map[string]int{}, map[string]int{}
	for _, r := range results {
		if r[1] == "PASSED" {
			passed[r[2]]++
		} else {
			failed[r[2]]++
		}
	}
	for name := range failed {
		if unfit[name] == "" {
			t.Errorf("%s fails, and is not listed as unfit", name)
		}
	}
	for name, reason := range unfit {
		if failed[name] == 0 || passed[name] > 0 {
			t.Errorf("%s is listed as unfit (%s), and passes %d times of %d", name, reason, passed[name], passed[name]+failed[name])
		}
	}
	t.Logf("%s", out[bytes.LastIndex(bytes.TrimSpace(out), []byte("\n"))+1:])
	if t.Failed() {
		t.Logf("%s", out)
	}
}

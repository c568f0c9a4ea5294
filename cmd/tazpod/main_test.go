package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/test/need"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tazpod": main})
}

// TestCommands runs testdata/*.txtar: every command's use and errors where no
// engine answers. `code N` checks the last command's exit code.
func TestCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
			env.Setenv("TAZPOD_IMAGE", "")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": code},
	})
}

// code runs a command that must end with the given exit code: code N PROGRAM ARGS.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM ARGS")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("%s ends with %s; want exit code %s", strings.Join(args[1:], " "), got, args[0])
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		args, ours, argv string
		dashes           bool
	}{
		{"run base", "run base", "", false},
		{"run base -- ls -- -l", "run base", "ls -- -l", true},
		{"run --", "run", "", true},
		{"-- ls", "", "ls", true},
		{"--completion-bash run -- x", "--completion-bash run -- x", "", false},
	} {
		ours, argv, dashes := split(strings.Fields(c.args))
		if strings.Join(ours, " ") != c.ours || strings.Join(argv, " ") != c.argv || dashes != c.dashes {
			t.Errorf("split(%q) = %q, %q, %v; want %q, %q, %v", c.args, ours, argv, dashes, c.ours, c.argv, c.dashes)
		}
	}
}

func TestSSHArguments(t *testing.T) {
	for args, want := range map[string]string{
		"":                         "HERE",
		"ls -l":                    "HERE ls -l",
		"-T -L 1:2:3 ls":           "-T -L 1:2:3 HERE ls",
		"-L1:2:3 ls":               "-L1:2:3 HERE ls",
		"-NT":                      "-NT HERE",
		"-vo X=y cmd -o z":         "-vo X=y HERE cmd -o z",
		"-T -- -weird":             "-T -- HERE -weird",
		"-p":                       "-p HERE",
		"-oBatchMode=yes -A -v ls": "-oBatchMode=yes -A -v HERE ls",
	} {
		if got := strings.Join(sshArguments(strings.Fields(args), "HERE"), " "); got != want {
			t.Errorf("sshArguments(%q) = %q; want %q", args, got, want)
		}
	}
}

// TestSSHReadsOurOptions has the real ssh parse what we write, with a path that
// needs every kind of quoting.
func TestSSHReadsOurOptions(t *testing.T) {
	need.Command(t, "ssh")
	self := `/opt/100% "my" tools/it's`
	config := filepath.Join(t.TempDir(), "config")
	text := "Host pod-1\n"
	args := []string{"-G", "-F", "none"}
	for _, o := range sshOptions(self, "pod-1") {
		text += "  " + o.key + " " + o.value + "\n"
		args = append(args, "-o", o.key+"="+o.value)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{append(args, "pod-1"), {"-G", "-F", config, "pod-1"}} {
		out, err := exec.Command("ssh", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ssh -G: %v\n%s", err, out)
		}
		lines := strings.Split(string(out), "\n")
		for _, want := range []string{
			"user " + wire.GhostUser,
			`proxycommand '/opt/100%% "my" tools/it'\''s' connect pod-1`,
			`knownhostscommand "/opt/100%% \"my\" tools/it's" connect --host-key %H pod-1`,
			"stricthostkeychecking true", "pubkeyauthentication false", "preferredauthentications keyboard-interactive",
		} {
			if !slices.Contains(lines, want) {
				t.Errorf("ssh doesn't read %q from\n%s", want, out)
			}
		}
	}
}

package main

import (
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tazzo/tazpod/test/need"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tazpod-init": main, "supervised": supervised})
}

// TestAlone runs testdata/alone: every command's use and errors where there is
// no supervisor.
func TestAlone(t *testing.T) { scripts(t, "testdata/alone") }

// TestSupervised runs testdata/supervised, whose commands find the real
// supervisor: `supervised CMD ARGS` starts it in a mount namespace of its own,
// told that it got no private mounts, so that it opens no vault.
func TestSupervised(t *testing.T) {
	need.Root(t)
	scripts(t, "testdata/supervised")
}

func scripts(t *testing.T, dir string) {
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"code": code},
	})
}

// code runs a program that must end with the given exit code: code N PROGRAM ARGS.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM ARGS")
	}
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
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
		{"", "", "", false},
		{"ghost", "ghost", "", false},
		{"ghost --", "ghost", "", true},
		{"ghost --passphrase-fd 3 -- ls -- -l", "ghost --passphrase-fd 3", "ls -- -l", true},
		{"-- ls", "", "ls", true},
	} {
		ours, argv, dashes := split(strings.Fields(c.args))
		if strings.Join(ours, " ") != c.ours || strings.Join(argv, " ") != c.argv || dashes != c.dashes {
			t.Errorf("split(%q) = %q, %q, %v; want %q, %q, %v", c.args, ours, argv, dashes, c.ours, c.argv, c.dashes)
		}
	}
}

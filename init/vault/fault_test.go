package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tazzo/tazpod/init/sys"
	"golang.org/x/sys/unix"
)

// faults has every call on the vault's directory pass fault until the test ends,
// one at a time.
func faults(t testing.TB, fault func(op *sys.Op, call func() error) error) {
	t.Helper()
	var one sync.Mutex
	sys.Fault = func(op *sys.Op, call func() error) error {
		one.Lock()
		defer one.Unlock()
		return fault(op, call)
	}
	t.Cleanup(func() { sys.Fault = nil })
}

// before runs do before each call of a kind until the test ends, and fails it
// with do's error.
func before(t testing.TB, call string, do func(op *sys.Op) error) {
	t.Helper()
	faults(t, func(op *sys.Op, proceed func() error) error {
		if op.Call == call {
			if err := do(op); err != nil {
				return err
			}
		}
		return proceed()
	})
}

// changes says whether op is one that changes the disk.
func changes(op *sys.Op) bool {
	return !slices.Contains([]string{"open", "stat", "list", "read"}, op.Call)
}

func opName(op *sys.Op) string { return op.Call + " " + strings.Join([]string{op.Name, op.To}, " ") }

// tidying says that a save goes on when op fails: it is about an earlier
// generation.
func tidying(op *sys.Op) bool {
	return op.Call == "stat" || op.Call == "link to" || op.Call == "rename to" && !strings.HasPrefix(op.Name, draftPrefix)
}

// Whatever fails in a save, the vault is the old one, the content stays to be
// saved, and the next save saves it.
func TestSaveFailsAtEachCall(t *testing.T) {
	p := copyVault(t, soundVault(t))
	v := mustOpen(t, p)
	for nth, more := 0, true; more; nth++ {
		v.kept = v.kept.Add(-2 * keepEvery) // every save is one that keeps
		write(t, v.tree, "new", fmt.Sprint("content ", nth))
		was, err := os.Stat(vaultPath(p))
		if err != nil {
			t.Fatal(err)
		}
		var failed *sys.Op
		n := -1
		faults(t, func(op *sys.Op, call func() error) error {
			if n++; n != nth {
				return call()
			}
			failed = op
			return unix.EIO
		})
		saved, err := v.Save(context.Background())
		sys.Fault = nil
		if more = failed != nil; !more {
			continue
		}
		what := fmt.Sprintf("Save() whose call %d, %q, fails", nth, opName(failed))
		is, statErr := os.Stat(vaultPath(p))
		if statErr != nil {
			t.Fatal(statErr)
		}
		switch {
		case tidying(failed):
			if !saved || err != nil {
				t.Errorf("%s = %v, %v; want true, nil", what, saved, err)
			}
			continue
		case !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), p.Dir.Name()):
			t.Errorf("%s = %v; want %v and a name", what, err, unix.EIO)
		case os.SameFile(was, is) == (failed.Call == "sync" && failed.Name == "."):
			t.Errorf("%s: the vault is the old one: %v", what, os.SameFile(was, is))
		}
		noLitter(t, p)
		if changed, err := v.Changed(); !changed || err != nil {
			t.Errorf("%s: Changed() = %v, %v; want true", what, changed, err)
		}
		if failed.Call == "read" && nth%16 > 0 { // they are many
			continue
		}
		mustSave(t, v, true)
		if got, want := readCopy(t, vaultPath(p), "new"), fmt.Sprint("content ", nth); got != want {
			t.Errorf("%s: the next one saves %q; want %q", what, got, want)
		}
	}
}

// readCopy opens a copy of a vault file and returns the content of a file in it.
func readCopy(t testing.TB, path, name string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v := mustOpen(t, copyVault(t, content))
	defer v.Close()
	return read(t, v.tree, name)
}

const killEnv = "TAZPOD_TEST_KILL"

// TestKillHelper is the process that TestKilledAtEachCall kills.
func TestKillHelper(t *testing.T) {
	number, dir, ok := strings.Cut(os.Getenv(killEnv), ":")
	if !ok {
		return // an ordinary run
	}
	last, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := os.Open(filepath.Join(dir, "tree")) // not a temporary one: nobody would remove it
	if err != nil {
		t.Fatal(err)
	}
	v, err := Open(context.Background(), placeIn(t, dir), secret(t, "pass"), tree)
	if err != nil {
		t.Fatal(err)
	}
	write(t, v.tree, "file", "new")
	faults(t, func(op *sys.Op, call func() error) error {
		err := call()
		if changes(op) {
			if last--; last < 0 {
				return errors.Join(err, unix.Kill(os.Getpid(), unix.SIGKILL))
			}
		}
		return err
	})
	mustSave(t, v, true)
}

// Killed after any call, a vault is the old or the new generation, whole, and the
// next opening needs no help.
func TestKilledAtEachCall(t *testing.T) {
	sound := soundVault(t)
	isNew := false
	for nth, more := 0, true; more; nth++ {
		p := copyVault(t, sound)
		if err := os.Mkdir(p.path("tree"), 0o700); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestKillHelper$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d:%s", killEnv, nth, p.Dir.Name()))
		out, err := cmd.CombinedOutput()
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		more = status.Signaled() && status.Signal() == syscall.SIGKILL
		if !more && err != nil {
			t.Fatalf("helper: %v\n%s", err, out)
		}
		v := mustOpen(t, p)
		noLitter(t, p)
		got := read(t, v.tree, "file")
		if got != "new" && (isNew || !strings.HasPrefix(got, "content")) {
			t.Errorf("killed after call %d: file = %.20q", nth, got)
		}
		isNew = got == "new"
		if v.Info().Seal != SealIntact {
			t.Errorf("killed after call %d: the seal is %s", nth, v.Info().Seal)
		}
		write(t, v.tree, "file", "newer")
		mustSave(t, v, true)
		v.Close()
	}
	if !isNew {
		t.Error("the save that nothing killed is not there")
	}
}

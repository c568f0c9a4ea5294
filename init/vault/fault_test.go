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
	"time"

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

// mishap is what can happen to a call.
type mishap struct {
	name  string
	err   error // that a save which fails for it wraps
	fault func(op *sys.Op, call func() error) error
}

func fails(err error) mishap {
	return mishap{err.Error(), err, func(*sys.Op, func() error) error { return err }}
}

// short lets a write do half of what it should.
var short = mishap{"short", nil, func(op *sys.Op, call func() error) error {
	op.Data = op.Data[:(len(op.Data)+1)/2]
	return call()
}}

var interrupted = mishap{"interrupted", nil, fails(unix.EINTR).fault} // once

// Whatever fails in a save, the vault is the old one, the content stays to be
// saved, and the next save saves it.
func TestSaveFailsAtEachCall(t *testing.T) {
	p := copyVault(t, smallVault(t, "before"))
	v := mustOpen(t, p)
	mishaps := []mishap{fails(unix.EIO), fails(unix.ENOSPC), fails(unix.EDQUOT), fails(unix.EROFS), interrupted, short}
	content := 0
	for nth, more := 0, true; more; nth++ {
		for _, m := range mishaps {
			content++
			failed, saved, err := v.saveWith(t, fmt.Sprint(content), nth, m)
			if more = failed != nil; !more {
				break
			}
			what := fmt.Sprintf("Save() whose call %d, %q, is hit by %q", nth, opName(failed), m.name)
			if m.err == nil || tidying(failed) {
				if !saved || err != nil {
					t.Errorf("%s = %v, %v; want true, nil", what, saved, err)
				}
			} else if !errors.Is(err, m.err) || !strings.Contains(err.Error(), p.Dir.Name()+"/") || saved && failed.Name != "." {
				t.Errorf("%s = %v, %v; want %v and a file", what, saved, err, m.err)
			} else if changed, err := v.Changed(); !changed || err != nil {
				t.Errorf("%s: Changed() = %v, %v; want true", what, changed, err)
			}
			noLitter(t, p)
			if !changes(failed) { // they are many, and alike
				break
			}
		}
		if nth%8 == 0 {
			v.saveAgain(t, fmt.Sprint(content))
		}
	}
	v.saveAgain(t, fmt.Sprint(content))
}

// saveWith saves new content, and has m happen to the call with that number. failed
// is nil if the save has fewer calls.
func (v *Vault) saveWith(t *testing.T, content string, nth int, m mishap) (failed *sys.Op, saved bool, err error) {
	t.Helper()
	v.kept = v.kept.Add(-2 * keepEvery) // every save is one that keeps
	write(t, v.tree, "new", content)
	was, err := os.Stat(v.Info().Path)
	if err != nil {
		t.Fatal(err)
	}
	n := -1
	faults(t, func(op *sys.Op, call func() error) error {
		if n++; n != nth {
			return call()
		}
		hit := *op
		failed = &hit
		return m.fault(op, call)
	})
	saved, err = v.Save(context.Background())
	sys.Fault = nil
	is, statErr := os.Stat(v.Info().Path)
	if statErr != nil {
		t.Fatal(statErr)
	}
	if published := err == nil || failed.Call == "sync" && failed.Name == "."; os.SameFile(was, is) == published {
		t.Errorf("after call %d, %q, the vault is the old one: %v (%v)", nth, m.name, !published, err)
	}
	return failed, saved, err
}

// saveAgain has the vault on disk be what was to be saved.
func (v *Vault) saveAgain(t *testing.T, want string) {
	t.Helper()
	if _, err := v.Save(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := readCopy(t, v.Info().Path, "new"); got != want {
		t.Errorf("the next save saves %q; want %q", got, want)
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

// openWhenFree opens a vault whose last owner was killed, perhaps as it forked a
// program: that one holds the lock until it executes or its own end reaches it.
func openWhenFree(t *testing.T, p Place) *Vault {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		v, err := Open(context.Background(), p, secret(t, "pass"), newTree(t))
		if errors.Is(err, ErrInUse) && time.Now().Before(deadline) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { v.Close() })
		return v
	}
}

// Killed after any call, a vault is the old or the new generation, whole, and the
// next opening needs no help.
func TestKilledAtEachCall(t *testing.T) {
	sound := smallVault(t, "content")
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
		v := openWhenFree(t, p)
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

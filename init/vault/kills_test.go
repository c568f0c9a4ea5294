package vault

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/sys"
	"golang.org/x/sys/unix"
)

// holdOpen keeps a vault mounted until the host says so.
func holdOpen(t *testing.T) {
	m := mustMount(t, scratch(t))
	shared := os.Getenv(inMachine)
	if err := os.WriteFile(filepath.Join(shared, "ready"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	await(t, filepath.Join(shared, "go"))
	m.mustClose(t)
}

// kills ends a process by SIGKILL at random moments of opening, writing and
// closing, in a mount namespace of its own, as serve has one.
func kills(t *testing.T) {
	const rounds = 50
	p := scratch(t)
	path := filepath.Join(t.TempDir(), "tree")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	start := func() (*exec.Cmd, io.Reader) {
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestInMachine$")
		cmd.Env = append(os.Environ(), inMachine+"_CHILD="+p.Dir.Name(), "TREE="+path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		return cmd, out
	}
	begin := time.Now()
	cmd, out := start()
	said, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil || !bytes.Contains(said, []byte("closed")) {
		t.Fatalf("a whole round: %v\n%s", err, said)
	}
	whole := time.Since(begin)
	ends := map[string]int{}
	for range rounds {
		cmd, out := start()
		timer := time.AfterFunc(time.Duration(random.Int64N(int64(whole))), func() { _ = cmd.Process.Kill() })
		said, _ := io.ReadAll(out)
		_ = cmd.Wait()
		timer.Stop()
		last := "start"
		for _, word := range []string{"opening", "open", "saved", "closing", "closed"} {
			if bytes.Contains(said, []byte(word+"\n")) {
				last = word
			}
		}
		ends[last]++
		nothingButRest(t)
	}
	t.Log("killed after", ends, "a whole round takes", whole)
	m := mustMount(t, p)
	count := strings.Count(describe(t, m.tree), "file-")
	if count == 0 {
		t.Error("nothing is left of what was saved")
	}
	m.mustClose(t)
	onDevice(t, p, "e2fsck", "-fn")
	if v := mustOpen(t, p); strings.Count(describe(t, v.tree), "file-") != count {
		t.Error("the engine memory finds other files")
	}
}

// nothingButRest is nothing, but for a mapping that was made and not opened yet.
func nothingButRest(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left := remains()
		if len(left) == 0 {
			return
		}
		table, err := exec.Command("dmsetup", "table").CombinedOutput()
		if len(left) == 1 && err == nil && !strings.Contains(string(table), "crypt") && time.Now().After(deadline.Add(-18*time.Second)) {
			t.Logf("a mapping without a key is left: %s", table)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left: %q, tables %s", left, table)
		}
	}
}

// child opens, writes and closes, and says how far it is.
func child(t *testing.T) {
	dir, path := os.Getenv(inMachine+"_CHILD"), os.Getenv("TREE")
	if err := sys.MakePrivate(); err != nil {
		t.Fatal(err)
	}
	say := func(word string) { fmt.Println(word) }
	say("opening")
	m, err := Mount(context.Background(), placeIn(t, dir), secret(t, "pass"), path, ids(t))
	if err != nil {
		t.Fatal(err)
	}
	say("open")
	for n := range 20 {
		write(t, m.tree, fmt.Sprintf("file-%d", n), strings.Repeat("content ", n*1000))
		if n%7 == 0 {
			if _, err := m.Save(context.Background()); err != nil {
				t.Fatal(err)
			}
			say("saved")
		}
	}
	say("closing")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	say("closed")
}

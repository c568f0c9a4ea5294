package ghost

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/init/sys"
)

// visitor puts the program of the roles into a ghost's project, from where
// sessions can run it as `./visitor role NAME`.
func visitor(t *testing.T, c Config) {
	t.Helper()
	text, err := os.ReadFile(executable)
	must(t, err, os.WriteFile(c.Workspace+"/visitor", text, 0o711))
}

// TestDenied: each call that could lead out of a ghost is refused in it.
func TestDenied(t *testing.T) {
	c := prepare(t)
	visitor(t, c)
	stdout, stderr, status := sh(t, start(t, c), "./visitor role calls")
	if status != (Status{}) {
		t.Fatalf("calls ended with %+v: %s", status, stderr)
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if len(lines) < 20 {
		t.Errorf("only %d calls were tried", len(lines))
	}
	for _, line := range lines {
		name, result, _ := strings.Cut(line, ": ")
		want := "operation not permitted"
		switch {
		case strings.HasPrefix(name, "allowed "):
			want = "ok"
		case name == "clone3", name == "io_uring_setup":
			want = "function not implemented"
		}
		if result != want {
			t.Errorf("%s in a ghost: %s; want %s", name, result, want)
		}
	}
}

// TestForeignCalls: calls by another architecture's numbers kill the caller.
func TestForeignCalls(t *testing.T) {
	c := prepare(t)
	visitor(t, c)
	_, _, status := sh(t, start(t, c), "exec ./visitor role x32")
	if status.Signal != syscall.SIGSYS && status.Code != 86 { // 86: this architecture has no such numbers
		t.Errorf("a call with an x32 number ended with %+v; want SIGSYS", status)
	}
}

// TestOutsider: a process of the same user and of the ghost's own kernel id,
// outside, gets nowhere.
func TestOutsider(t *testing.T) {
	c := prepare(t)
	visitor(t, c)
	g := start(t, c)
	s, err := g.Session(SessionConfig{Argv: []string{"/bin/sh", "-c", "echo $TOKEN; exec sleep " + nap(1)}, Env: []string{"TOKEN=s3cret"}})
	must(t, err)
	defer s.Close()
	pid := find(t, "sleep\x00"+nap(1)+"\x00")
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755), os.Link(c.Workspace+"/visitor", dir+"/visitor"))
	for _, id := range []uint32{1000, owner} {
		attack := exec.Command(dir+"/visitor", "role", "attack")
		attack.Env = []string{"PID=" + strconv.Itoa(pid), "BASE=" + c.Base, "TREE=" + c.Tree}
		attack.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
		out, err := attack.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "kill: operation not permitted") {
			t.Fatalf("attack by %d: %v\n%s", id, err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.HasSuffix(line, ": ok\n") {
				t.Errorf("as uid %d outside: %s", id, line)
			}
		}
	}
}

// find waits for a process with a command line.
func find(t *testing.T, cmdline string) int {
	t.Helper()
	for range 200 {
		if pid := lookFor(t, cmdline); pid != 0 {
			return pid
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("no process %q", cmdline)
	return 0
}

// lookFor is the number of a process with a command line, or 0.
func lookFor(t *testing.T, cmdline string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && string(text) == cmdline {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			must(t, err)
			return pid
		}
	}
	return 0
}

// TestWritesLandInRAM: a directory that everybody may write to, on the pod's
// disk, keeps what it has when a ghost writes there.
func TestWritesLandInRAM(t *testing.T) {
	c := prepare(t)
	dir, err := os.MkdirTemp("/var/lib", "ghost-test")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o777), os.WriteFile(dir+"/file", []byte("before"), 0o666), os.Chmod(dir+"/file", 0o666))
	g := start(t, c)
	expect(t, g, fmt.Sprintf("cd %s && echo new >new && printf after >file && cat file && rm file && ls", dir), "afternew")
	if text, err := os.ReadFile(dir + "/file"); err != nil || string(text) != "before" {
		t.Errorf("file outside = %q, %v; want it unchanged", text, err)
	}
	if _, err := os.Stat(dir + "/new"); err == nil {
		t.Error("a file made in the ghost is on disk")
	}
}

// TestDiesWithServe: when the process that started a ghost is killed, nothing
// of the ghost is left.
func TestDiesWithServe(t *testing.T) {
	c := prepare(t)
	visitor(t, c)
	read, write, err := os.Pipe()
	must(t, err)
	defer read.Close()
	serve := exec.Command(c.Workspace+"/visitor", "role", "serve")
	serve.Env = []string{"BASE=" + c.Base, "TREE=" + c.Tree, "WORKSPACE=" + c.Workspace, "NAP=" + nap(1)}
	serve.Stdout, serve.Stderr = write, os.Stderr
	must(t, serve.Start(), write.Close())
	line := make([]byte, 6)
	_, err = read.Read(line)
	must(t, err)
	pid := find(t, "sleep\x00"+nap(1)+"\x00")
	must(t, serve.Process.Kill())
	_ = serve.Wait() // it was killed
	for range 100 {
		if unix.Kill(pid, 0) == unix.ESRCH {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("process %d of the ghost outlives its serve", pid)
}

// TestNoWayBack: nothing of the pod's mounts is left in a ghost's namespace but
// the layer that it reads from.
func TestNoWayBack(t *testing.T) {
	c := prepare(t)
	g := start(t, c)
	s, err := g.Session(SessionConfig{Argv: []string{"sleep", nap(1)}})
	must(t, err)
	defer s.Close()
	pid := find(t, "sleep\x00"+nap(1)+"\x00")
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	must(t, err)
	points := map[string]int{}
	for line := range strings.Lines(string(table)) {
		points[strings.Fields(line)[4]]++
	}
	for point, n := range points {
		if n != 1 && point != "/dev/null" && point != "/etc/hosts" && point != "/etc/hostname" && point != "/sys/firmware" {
			t.Errorf("%d mounts on %s", n, point)
		}
		if strings.HasPrefix(point, c.Base) || strings.HasPrefix(point, c.Tree) {
			t.Errorf("the ghost has %s", point)
		}
	}
	status, err := sys.ReadStatus(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	if status.UIDs[0] != preferredID {
		t.Errorf("a session's uid outside = %d; want %d", status.UIDs[0], preferredID)
	}
}

package pid1

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tazzo/tazpod/test/need"
)

// table is a control group that limits the number of processes.
type table struct {
	t    *testing.T
	path string
}

func newTable(t *testing.T, limit string) table {
	t.Helper()
	need.Root(t)
	root := "/sys/fs/cgroup/pids" // version 1
	if _, err := os.Stat(root); err != nil {
		root = "/sys/fs/cgroup"
	}
	c := table{t, filepath.Join(root, fmt.Sprintf("tazpod-test-%d", os.Getpid()))}
	if err := os.Mkdir(c.path, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		var err error
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if err = os.Remove(c.path); err == nil {
				return
			}
		}
		t.Error(err) // something lives in it
	})
	c.limit(limit)
	return c
}

func (c table) limit(n string) {
	c.t.Helper()
	if err := os.WriteFile(c.path+"/pids.max", []byte(n), 0); err != nil {
		c.t.Fatal(err)
	}
}

// wrap is for how: it starts a program in the table.
func (c table) wrap() []string {
	return []string{"bash", "-c", "echo $$ > " + c.path + `/cgroup.procs && exec "$0" "$@"`}
}

// TestServeWithoutRoom: while there can be no more processes serve doesn't
// start, and nothing else happens; then it does.
func TestServeWithoutRoom(t *testing.T) {
	c := newTable(t, "max")
	r := how{namespace: true, wrap: c.wrap()}.start(t, "pid1")
	r.see("serve {")
	r.out.cut("serve {")
	c.limit("1")
	if err := unix.Kill(hostPID(t, r), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r.see("resource temporarily unavailable")
		r.out.cut("resource temporarily unavailable")
	}
	r.state(func(s State) bool {
		return !s.Running && s.Restarts >= 4 && strings.Contains(s.Last, "resource temporarily unavailable")
	})
	c.limit("max")
	r.see("serve {")
	r.state(func(s State) bool { return s.Running })
	r.signal(unix.SIGTERM)
	r.see("serve saved")
	r.want(0)
}

// TestCommandWithoutRoom gives the init just the threads that the runtime makes
// before the command: their number is tried out.
func TestCommandWithoutRoom(t *testing.T) {
	built := build(t)
	c := newTable(t, "max")
	for room := 2; room <= 16; room++ {
		c.limit(strconv.Itoa(room))
		r := how{wrap: c.wrap(), path: built}.start(t, "run", "true")
		status := r.status()
		r.alone()
		if out := r.out.String(); status == 126 && out == "tazpod: error: true: resource temporarily unavailable\n" {
			return
		}
	}
	t.Error("no start of a command was refused with status 126 and the reason")
}

// TestForkBomb ends a command whose descendants fork, deaf to SIGTERM, as fast
// as a full process table lets them.
func TestForkBomb(t *testing.T) {
	built := build(t)
	everywhere(t, func(t *testing.T, h how) {
		c := newTable(t, "150")
		h.wrap, h.path = c.wrap(), built
		r := h.start(t, "run", "--grace=200ms", "bash", "-c", `
			trap '' TERM; echo ready
			bomb() { while :; do bomb & bomb & done; }
			bomb 2>/dev/null`)
		r.see("ready")
		for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			events, err := os.ReadFile(c.path + "/pids.events")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(string(events), " 0\n") {
				break
			}
			if time.Now().After(end) {
				t.Fatal("the table doesn't fill")
			}
		}
		start := time.Now()
		r.signal(unix.SIGTERM)
		r.want(128 + 9)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("ended after %v; want 200ms", d)
		}
		r.alone()
		if out := r.out.String(); strings.Contains(out, "not killed") {
			t.Errorf("something survived:\n%s", out)
		}
	})
}

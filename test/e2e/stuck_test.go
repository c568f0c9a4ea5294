package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/wire"
	"github.com/tazzo/tazpod/test/need"
)

// TestStuckProcess locks a ghost that has a process which nothing can end: it
// writes to a frozen file system. What must not survive is gone all the same;
// the process follows when the file system is thawed.
func TestStuckProcess(t *testing.T) {
	need.Root(t)
	need.Command(t, "cryptsetup", "losetup", "mkfs.ext4", "fsfreeze")
	p := newProject(t)
	frozen := filepath.Join(p.dir, "frozen")
	if err := os.Mkdir(frozen, 0o755); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "image")
	run(t, "truncate", "-s", "16M", image).ok()
	run(t, "mkfs.ext4", "-q", image).ok()
	run(t, "mount", "-o", "loop", image, frozen).ok()
	t.Cleanup(func() {
		_ = exec.Command("fsfreeze", "-u", frozen).Run()     // mostly it is thawed
		_ = exec.Command("docker", "rm", "-f", p.name).Run() // newProject's cleanup comes later
		if out, err := exec.Command("umount", frozen).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v: %s", frozen, err, out)
		}
	})
	if err := os.Chmod(frozen, 0o777); err != nil {
		t.Fatal(err)
	}
	p.ghost("run", "base", "--", "true").ok()
	h := p.host()
	term := p.terminal("ghost")
	term.unlock()
	p.crowd(term)
	run(t, "fsfreeze", "-f", frozen).ok()
	term.send("STUBBORN='" + p.name + " stuck' sh -c 'cd ~/secrets; exec cp large /workspace/frozen/large' & echo in time >~/secrets/last\n")
	stuck := h.blocked("stuck")
	h.open()
	files := h.hold("/home/tazpod/secrets/large", "/tmp/large")

	start := time.Now()
	p.tazpod("lock").ok()
	if took := time.Since(start); took < 5*time.Second || took > 15*time.Second {
		t.Errorf("lock took %v; want five seconds for the processes, and little more", took)
	}
	equal(t, "status of the session", term.end(), wire.ExitSession)
	equal(t, "state of the vault", p.status().Vault.State, wire.VaultLocked)
	h.zeroed(files)
	equal(t, "copies of the volume key", h.copies(h.key[:32], h.key[32:]), 0)
	equal(t, "locks of the vault", h.locks(), 0)
	for kind, pid := range h.marked() {
		if pid != stuck {
			t.Errorf("process %d (%s) survived", pid, kind)
		}
	}
	if !strings.Contains(run(t, "docker", "logs", p.name).both(), "still has processes") {
		t.Error("the log doesn't tell that a process could not be ended")
	}

	run(t, "fsfreeze", "-u", frozen).ok()
	h.nothing()
	equal(t, "what was written last", p.ghost("ghost", "--", "sh", "-c", "cat ~/secrets/last").ok(), "in time\n")
}

// blocked waits until a marked process sleeps where no signal reaches it.
func (h *host) blocked(kind string) (pid int) {
	h.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		pid = h.marked()[kind]
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // none when it has just ended
		if _, rest, _ := strings.Cut(string(stat), ") "); strings.HasPrefix(rest, "D ") {
			return pid
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("process %d (%s) isn't blocked: %s", pid, kind, stat)
		}
	}
}

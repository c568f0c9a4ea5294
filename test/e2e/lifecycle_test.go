package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/wire"
)

// status asks the pod itself.
func (p *project) status() wire.Status {
	p.t.Helper()
	var s wire.Status
	out := p.inPod("root", "tazpod-init", "status", "--json").ok()
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		p.t.Fatalf("status %q: %v", out, err)
	}
	return s
}

// locked waits until nothing of a ghost is left: no process of it, no RAM
// mount, no open vault.
func (p *project) locked() {
	p.t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		s := p.status()
		rest := p.inPod("root", "sh", "-c", "ps -eo args | grep -E '[r]ole (ghost|keeper)|[s]leep 98765|[t]azpod-init connect'").stdout
		mounts := p.inPod("root", "sh", "-c", `grep -hE '/run/tazpod/(vault|ghost)' /proc/[0-9]*/mountinfo`).stdout
		if s.Vault.State == wire.VaultLocked && len(s.Ghosts) == 0 && rest == "" && mounts == "" {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("still there: %+v\nprocesses: %s\nmounts: %s", s, rest, mounts)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestJoin has two ways into one ghost, by the launcher and by plain docker.
func TestJoin(t *testing.T) {
	p := newProject(t)
	first := p.opened()
	first.send("echo shared >/tmp/sha''red; echo $$ >/dev/shm/pid; echo do''ne\n")
	first.expect("done")
	second := onTerminal(t, exec.Command("docker", "exec", "-it", p.name, "tazpod-init", "ghost"))
	second.unlock()
	second.send("cat /tmp/shared; kill -0 $(cat /dev/shm/pid) && echo sa''me\n")
	second.expect("shared")
	second.expect("same")
	s := p.status()
	if len(s.Ghosts) != 1 || len(s.Ghosts[0].Sessions) != 2 || s.Vault.State != wire.VaultOpen {
		t.Errorf("status = %+v; want an open vault and one ghost with two sessions", s)
	}
	first.send("exit\n")
	equal(t, "status of the first", first.end(), 0)
	second.send("cat /tmp/shared\n")
	second.expect("shared")
	second.send("exit\n")
	equal(t, "status of the second", second.end(), 0)
	p.locked()
}

// TestJoinNeedsThePassphrase although the vault is open.
func TestJoinNeedsThePassphrase(t *testing.T) {
	p := newProject(t)
	first := p.opened()
	wrong := "not the passphrase"
	start := time.Now()
	(&command{p: p, args: []string{"ghost", "--", "true"}, pass: &wrong}).run().status(wire.ExitPassphrase)
	if took := time.Since(start); took < 250*time.Millisecond {
		t.Errorf("a wrong passphrase was answered after %v; want a delay", took)
	}
	p.ghost("ghost", "--", "true").ok()
	first.send("exit\n")
	first.end()
}

// TestAutosave kills the pod two seconds after a change.
func TestAutosave(t *testing.T) {
	p := newProject(t)
	term := p.opened()
	term.send("echo early >~/secrets/early; echo writ''ten\n")
	term.expect("written")
	deadline := time.Now().Add(4 * time.Second) // two, and as much again for a slow machine
	for p.status().Vault.Changed && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	run(t, "docker", "kill", p.name).ok()
	equal(t, "status of the session", term.end(), wire.ExitSession)
	equal(t, "what was written", p.ghost("run", "base", "--", "sh", "-c", "cat ~/secrets/early").ok(), "early\n")
}

// TestStatusWithoutPod tells the truth when nothing runs.
func TestStatusWithoutPod(t *testing.T) {
	p := newProject(t)
	if out := p.tazpod("status").ok(); !strings.Contains(out, "no pod") && !strings.Contains(out, "not running") && !strings.Contains(out, "absent") {
		t.Errorf("status before the first run = %q", out)
	}
	p.ghost("run", "base", "--", "true").ok()
	p.tazpod("stop").ok()
	if out := p.tazpod("status").ok(); !strings.Contains(out, "stopped") && !strings.Contains(out, "exited") {
		t.Errorf("status of a stopped pod = %q", out)
	}
}

// TestInitOverwritesNothing runs init twice around an edit.
func TestInitOverwritesNothing(t *testing.T) {
	p := newProject(t)
	for _, file := range []string{".tazpod/config.yaml", "secrets.yml", ".tazpod/.gitignore"} {
		path := filepath.Join(p.dir, file)
		if err := os.WriteFile(path, []byte("# mine\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		p.tazpod("init")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, file, string(text), "# mine\n")
	}
}

// TestCrowd has many come, go and lock at the same time. Whatever each of them
// gets, the supervisor lives, the end is the end, and nothing is lost.
func TestCrowd(t *testing.T) {
	p := newProject(t)
	p.ghost("run", "base", "--", "sh", "-c", "echo kept >~/secrets/kept").ok()
	var crowd sync.WaitGroup
	codes := make(chan int, 64)
	pass := passphrase
	for i := range 4 {
		for range 3 {
			cmd := (&command{p: p, args: []string{"ghost", "--", "sh", "-c", fmt.Sprintf("echo %d >~/secrets/%d; sleep 0.%d", i, i, i)}, pass: &pass}).build(t.Context())
			crowd.Go(func() {
				_ = cmd.Run() // what it got is in its state
				codes <- cmd.ProcessState.ExitCode()
			})
		}
	}
	for range 6 {
		time.Sleep(700 * time.Millisecond)
		p.tazpod("lock").ok()
	}
	crowd.Wait()
	close(codes)
	for code := range codes {
		if code != 0 && code != wire.ExitSession {
			t.Errorf("somebody of the crowd got status %d; want 0, or %d for being locked out", code, wire.ExitSession)
		}
	}
	p.locked()
	if log := run(t, "docker", "logs", p.name).both(); strings.Contains(log, "serve ended") || strings.Contains(log, "panic") || strings.Contains(log, "fatal error") {
		t.Error("the supervisor did not survive")
	}
	equal(t, "content", p.ghost("ghost", "--", "sh", "-c", "cat ~/secrets/kept").ok(), "kept\n")
}

// TestShortAnswer types one character where a passphrase is asked for, beside an
// open ghost.
func TestShortAnswer(t *testing.T) {
	p := newProject(t)
	first := p.opened()
	second := p.terminal("ghost")
	second.expect("Passphrase: ")
	second.send("y\n")
	second.expect("wrong passphrase")
	second.expect("Passphrase: ")
	second.send("\x03")
	equal(t, "status", second.end(), 130)
	first.ready()
	first.send("exit\n")
	equal(t, "status of the other", first.end(), 0)
}

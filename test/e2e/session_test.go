package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestMainPath is the first evening with TazPod: a vault, a secret, an end, and
// the secret again.
func TestMainPath(t *testing.T) {
	p := newProject(t)
	p.fresh = true
	p.ghost("run", "base", "--", "sh", "-c", "echo hunter2 >~/secrets/token && cat ~/secrets/token").ok()
	equal(t, "secret after reopening", p.ghost("ghost", "--", "sh", "-c", "cat ~/secrets/token").ok(), "hunter2\n")
	p.inPod("tazpod", "sh", "-c", "! grep -rs hunter2 /home /tmp /workspace /run /dev/shm /var/tmp").ok()
	status := p.tazpod("status", "--json").ok()
	if !strings.Contains(status, `"locked"`) {
		t.Errorf("status after the last session doesn't say locked: %s", status)
	}
	p.tazpod("down").ok()
	equal(t, "secret in a new pod", p.ghost("run", "base", "--", "sh", "-c", "cat ~/secrets/token").ok(), "hunter2\n")
}

func TestInteractiveShell(t *testing.T) {
	p := newProject(t)
	term := p.terminal("run", "base")
	term.expect("New passphrase: ")
	term.send(passphrase + "\n")
	term.expect("Strength 100 of 100")
	term.expect("Repeat passphrase: ")
	term.send(passphrase + "\n")
	term.ready()
	if strings.Contains(term.screen(), passphrase) {
		t.Error("the passphrase was echoed")
	}
	term.send("stty size; tput colors; shopt -q login_shell && echo log''in; tty\n")
	term.expect("24 80")
	term.expect("256")
	term.expect("login")
	term.expect("/dev/pts/0")
	term.resize(50, 132)
	term.send("until [ \"$(stty size)\" = '50 132' ]; do sleep 0.1; done; echo resi''zed\n")
	term.expect("resized")
	t.Run("Ctrl-C", func(t *testing.T) {
		term.foreground()
		term.send("\x03")
		term.send("echo inter''rupted $?\n")
		term.expect("interrupted 130")
	})
	t.Run("job control", func(t *testing.T) {
		term.foreground()
		term.send("\x1a")
		term.expect("Stopped")
		term.send("bg; jobs; kill %1; wait; echo wai''ted\n")
		term.expect("Running")
		term.expect("waited")
	})
	t.Run("less", func(t *testing.T) {
		term.send("seq 1 500 | less; echo le''ft\n")
		term.expect("20")
		term.send("G")
		term.expect("500")
		term.send("q")
		term.expect("left")
	})
	t.Run("vim", func(t *testing.T) {
		term.send("vim -u NONE ~/secrets/note; echo le''ft\n")
		term.expect("~")
		term.send("ihello from vim\x1b:wq\r")
		term.expect("left")
		term.send("cat ~/secrets/note\n")
		term.expect("hello from vim")
	})
	t.Run("tmux", func(t *testing.T) {
		term.send("tmux; echo le''ft\n")
		term.ready()
		term.send("echo $TMUX_PANE; exit\n")
		term.expect("%0")
		term.expect("left")
	})
	term.send("exit 7\n")
	equal(t, "status", term.end(), 7)
	equal(t, "note", p.ghost("ghost", "--", "sh", "-c", "cat ~/secrets/note").ok(), "hello from vim\n")
}

func TestCommandStreamsApart(t *testing.T) {
	p := newProject(t)
	r := p.ghost("run", "base", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
	equal(t, "stdout", r.status(3), "out\n")
	if !strings.HasSuffix(r.stderr, "err\n") || strings.Contains(r.stderr, "out\n") {
		t.Errorf("stderr = %q; want only what was written there, after our own lines", r.stderr)
	}
	pass := passphrase
	big := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	r = (&command{p: p, args: []string{"ghost", "--", "cat"}, stdin: big, pass: &pass}).run()
	if r.ok() != big {
		t.Errorf("cat returned %d bytes, or other ones; want the %d that went in", len(r.stdout), len(big))
	}
	equal(t, "arguments", p.ghost("ghost", "--", "printf", "%s|", "a b", "$HOME", "it's", "", "ü\n").ok(), "a b|$HOME|it's||ü\n|")
	for _, c := range []struct {
		what string
		argv []string
		want int
	}{
		{"missing command", []string{"no-such-command"}, 127},
		{"not executable", []string{"/etc/passwd"}, 126},
		{"killed", []string{"sh", "-c", "kill -TERM $$"}, 128 + 15},
	} {
		p.ghost(append([]string{"ghost", "--"}, c.argv...)...).status(c.want)
	}
}

func TestSignalsReachTheCommand(t *testing.T) {
	p := newProject(t)
	p.tazpod("up", "base").ok()
	pass := passphrase
	cmd := (&command{p: p, pass: &pass, args: []string{"ghost", "--", "sh", "-c",
		"trap 'echo got TERM; exit 9' TERM; echo ready; while :; do sleep 0.1; done"}}).build(t.Context())
	term := onTerminalOutputOnly(t, cmd)
	term.expect("ready")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	term.expect("got TERM")
	equal(t, "status", term.end(), 9)
}

// TestWorkspaceKeepsItsOwner and its neighbour show where writes go.
func TestWorkspaceKeepsItsOwner(t *testing.T) {
	p := newProject(t)
	if err := os.Chown(p.dir, 12345, 54321); err != nil {
		t.Fatal(err)
	}
	p.ghost("run", "base", "--", "sh", "-c", "touch /workspace/made && stat -c %U /workspace/made").ok()
	st, err := os.Stat(filepath.Join(p.dir, "made"))
	if err != nil {
		t.Fatal(err)
	}
	sys := st.Sys().(*syscall.Stat_t)
	equal(t, "uid outside", sys.Uid, 12345)
	equal(t, "gid outside", sys.Gid, 54321)
}

func TestOtherWritesLandInRAM(t *testing.T) {
	p := newProject(t)
	marker := "marker-of-the-ram-test"
	p.ghost("run", "base", "--", "sh", "-c", `for d in ~ /tmp /var/tmp /dev/shm ~/.cache; do
		mkdir -p $d; echo `+marker+` >$d/`+marker+` || exit; done; sync`).ok()
	p.inPod("root", "sh", "-c", "! find / -xdev -name "+marker+" | grep . && ! find /tmp /dev/shm /run /home -name "+marker+" | grep .").ok()
	p.ghost("ghost", "--", "sh", "-c", "! find / -name "+marker+" 2>/dev/null | grep .").ok()
	if out := run(t, "docker", "diff", p.name).ok(); strings.Contains(out, marker) {
		t.Errorf("the container's layer has the marker:\n%s", out)
	}
}

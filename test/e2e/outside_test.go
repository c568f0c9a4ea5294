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
)

// TestNothingIsLogged looks for the passphrase, a secret and a command line
// wherever the engine and the pod write things down.
func TestNothingIsLogged(t *testing.T) {
	p := newProject(t)
	since := fmt.Sprint(time.Now().Unix())
	p.ghost("run", "base", "--", "sh", "-c", "echo sword''fish >~/secrets/pw; cat ~/secrets/pw").ok()
	wrong := "a wrong passphrase"
	(&command{p: p, args: []string{"ghost", "--", "true"}, pass: &wrong}).run().status(wire.ExitPassphrase)
	p.tazpod("lock").ok()
	written := map[string]string{
		"log of the pod":   run(t, "docker", "logs", p.name).both(),
		"inspect":          run(t, "docker", "inspect", p.name).both(),
		"events":           run(t, "docker", "events", "--since", since, "--until", fmt.Sprint(time.Now().Unix()+1)).both(),
		"status":           p.tazpod("status", "--json").both(),
		"files of the pod": p.inPod("root", "sh", "-c", "cat /run/tazpod/* 2>/dev/null; true").both(),
	}
	for where, text := range written {
		for _, secret := range []string{passphrase, "correct horse", wrong, "swordfish", "sword''fish"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s has %q", where, secret)
			}
		}
	}
	if !strings.Contains(written["log of the pod"], `"event":"opened"`) {
		t.Error("the log doesn't tell that the vault was opened: this test looks at the wrong place")
	}
}

// TestStandalone uses the image with plain docker.
func TestStandalone(t *testing.T) {
	p := newProject(t)
	start := func(args ...string) {
		_ = exec.Command("docker", "rm", "-f", p.name).Run() // from the round before
		run(t, append(append([]string{"docker", "run", "-d", "--name", p.name, "--label", "io.tazpod.test=1",
			"-v", p.dir + ":/workspace"}, args...), "tazpod/base")...).ok()
	}
	start("--cap-add", "SYS_ADMIN")
	for _, prompt := range []string{"New passphrase: ", "Passphrase: "} {
		term := onTerminal(t, exec.Command("docker", "exec", "-it", p.name, "tazpod-init", "ghost"))
		term.expect(prompt)
		term.send(passphrase + "\n")
		if prompt == "New passphrase: " {
			term.expect("Repeat passphrase: ")
			term.send(passphrase + "\n")
		}
		term.ready()
		term.send("echo alone >>~/secrets/alone; wc -l ~/secrets/alone; exit 5\n")
		if prompt == "Passphrase: " {
			term.expect("2 /home/tazpod/secrets/alone")
		}
		equal(t, "status", term.end(), 5)
	}
	// The terminal of a docker exec as another user could be read by that user.
	refused := onTerminal(t, exec.Command("docker", "exec", "-it", "-u", "tazpod", p.name, "tazpod-init", "ghost"))
	if code := refused.end(); code == 0 || strings.Contains(refused.screen(), "Passphrase: ") {
		t.Errorf("as user tazpod: status %d: %s", code, refused.screen())
	}
	start("--cap-drop", "ALL")
	term := onTerminal(t, exec.Command("docker", "exec", "-it", p.name, "tazpod-init", "ghost"))
	equal(t, "status without capabilities", term.end(), wire.ExitPrivileges)
	for _, text := range []string{"unshare CLONE_NEWNS", "operation not permitted", "--cap-add SYS_ADMIN"} {
		if !strings.Contains(term.screen(), text) {
			t.Errorf("the refusal doesn't say %q: %s", text, term.screen())
		}
	}
	if strings.Contains(term.screen(), "assphrase") {
		t.Errorf("asked for a passphrase that it can't use: %s", term.screen())
	}
}

// TestOpenSSH uses the real client.
func TestOpenSSH(t *testing.T) {
	p := newProject(t)
	p.ghost("run", "base", "--", "true").ok()
	script := filepath.Join(t.TempDir(), "askpass")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho '"+passphrase+"'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	options := []string{"-F", "none", "-o", "ProxyCommand=" + tazpod + " connect", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"}
	ssh := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), args[0], append(options, args[1:]...)...)
		cmd.Dir = p.dir
		cmd.Env = append(os.Environ(), "SSH_ASKPASS="+script, "SSH_ASKPASS_REQUIRE=force", "DISPLAY=:0")
		return cmd
	}
	output := func(args ...string) string {
		t.Helper()
		out, err := ssh(args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	equal(t, "exec", output("ssh", "ghost@pod", "echo $TAZPOD_GHOST; echo over ssh >~/secrets/ssh"), "1\n")
	equal(t, "status", ssh("ssh", "ghost@pod", "exit 42").Run().(*exec.ExitError).ExitCode(), 42)
	term := onTerminal(t, ssh("ssh", "-t", "ghost@pod"))
	term.ready()
	term.send("tty; exit 6\n")
	term.expect("/dev/pts/0")
	equal(t, "status with a terminal", term.end(), 6)
	local := filepath.Join(t.TempDir(), "copy")
	output("scp", "ghost@pod:/home/tazpod/secrets/ssh", local)
	text, err := os.ReadFile(local)
	if err != nil || string(text) != "over ssh\n" {
		t.Errorf("scp copied %q, %v", text, err)
	}
	output("scp", local, "ghost@pod:/home/tazpod/secrets/back")
	equal(t, "scp back", p.ghost("ghost", "--", "sh", "-c", "cat ~/secrets/back").ok(), "over ssh\n")

	port := fmt.Sprint(20000 + os.Getpid()%20000)
	server := ssh("ssh", "-L", "127.0.0.1:"+port+":127.0.0.1:8000", "ghost@pod",
		"cd ~/secrets && exec python3 -m http.server 8000 --bind 127.0.0.1")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for deadline := time.Now().Add(20 * time.Second); len(got) == 0 && time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		got, _ = exec.Command("curl", "-sf", "--noproxy", "*", "http://127.0.0.1:"+port+"/ssh").Output()
	}
	equal(t, "through -L", string(got), "over ssh\n")
	_ = server.Process.Kill()
	_ = server.Wait()
	p.locked()
}

// TestStockCryptsetup opens our vault with the reference tool.
func TestStockCryptsetup(t *testing.T) {
	p := newProject(t)
	p.ghost("run", "base", "--", "true").ok()
	image := filepath.Join(p.dir, ".tazpod/vault/vault.img")
	test := exec.Command("cryptsetup", "open", "--test-passphrase", "--key-file", "-", image)
	test.Stdin = strings.NewReader(passphrase)
	if out, err := test.CombinedOutput(); err != nil {
		t.Errorf("cryptsetup open --test-passphrase: %v: %s", err, out)
	}
	dump := run(t, "cryptsetup", "luksDump", image).ok()
	for _, text := range []string{"Version:       \t2", "aes-xts-plain64", "argon2id"} {
		if !strings.Contains(dump, text) {
			t.Errorf("luksDump doesn't say %q:\n%s", text, dump)
		}
	}
}

// TestProjectFilesAreOutOfReach tries what a hostile program of the pod would
// do to the project's configuration and vault.
func TestProjectFilesAreOutOfReach(t *testing.T) {
	p := newProject(t)
	if err := os.Chown(p.dir, 1000, 1000); err != nil { // as on most machines
		t.Fatal(err)
	}
	run(t, "chown", "-R", "1000:1000", p.dir).ok()
	p.ghost("run", "base", "--", "true").ok()
	p.inPod("tazpod", "touch", "/workspace/mine").ok()
	for _, script := range []string{
		"echo 'image: evil' >>/workspace/.tazpod/config.yaml",
		"touch /workspace/.tazpod/new",
		"mv /workspace/.tazpod /workspace/gone",
		"rm -f /workspace/.tazpod/vault/vault.img",
		"touch /workspace/.tazpod/vault/vault.img",
		"ls /var/lib/tazpod/vault",
	} {
		if r := p.inPod("tazpod", "sh", "-c", script); r.code == 0 {
			t.Errorf("%s: succeeded", script)
		}
	}
	p.ghost("ghost", "--", "sh", "-c", "echo safe >~/secrets/safe").ok()
	equal(t, "content", p.ghost("ghost", "--", "sh", "-c", "cat ~/secrets/safe").ok(), "safe\n")
}

// TestTamperingIsTold flips a bit of the encrypted content.
func TestTamperingIsTold(t *testing.T) {
	p := newProject(t)
	p.ghost("run", "base", "--", "sh", "-c", "head -c 3000000 /dev/urandom >~/secrets/big").ok()
	f, err := os.OpenFile(p.vault(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// The data of the large file lie behind the first blocks of the file system.
	offset, b := int64(0), make([]byte, 1)
	for at := int64(4 << 20); offset == 0 && at < 200<<20; at += 4096 {
		if _, err := f.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		if b[0] != 0 {
			offset = at + 4096*20
		}
	}
	if _, err := f.ReadAt(b, offset); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, offset); err != nil {
		t.Fatal(err)
	}
	r := p.ghost("ghost", "--", "true")
	if !strings.Contains(r.stderr, "note: ") && r.code == 0 {
		t.Errorf("a changed block was not told: status %d, %q", r.code, r.stderr)
	}
}

// TestLockWins has lock called while a passphrase is being checked.
func TestLockWins(t *testing.T) {
	p := newProject(t)
	p.ghost("run", "base", "--", "true").ok()
	pass := passphrase
	login := (&command{p: p, args: []string{"ghost", "--", "sleep", "98765"}, pass: &pass}).build(t.Context())
	if err := login.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = login.Process.Kill(); _ = login.Wait() }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if p.inPod("root", "pgrep", "-f", "luksDump --batch-mode").code == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the passphrase is never checked")
		}
	}
	p.tazpod("lock").ok()
	p.locked()
}

// TestHostileFile makes one that is vast and empty, which nothing may read
// through.
func TestHostileFile(t *testing.T) {
	p := newProject(t)
	term := p.opened()
	term.send("truncate -s 4T ~/secrets/vast; echo important >~/secrets/important; echo writ''ten\n")
	term.expect("written")
	start := time.Now()
	p.status()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("status took %v", took)
	}
	term.send("exit\n")
	term.end()
	equal(t, "important", p.ghost("ghost", "--", "sh", "-c", "cat ~/secrets/important").ok(), "important\n")
}

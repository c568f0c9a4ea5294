package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/wire"
)

// file makes a file outside the project.
func (p *project) file(content string) string {
	p.t.Helper()
	f, err := os.CreateTemp(p.t.TempDir(), "")
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		p.t.Fatal(err)
	}
	return f.Name()
}

// with runs a command with a passphrase of the test's choice.
func (p *project) with(pass string, args ...string) result {
	p.t.Helper()
	return p.tazpod(append(args, "--passphrase-file", p.file(pass))...)
}

func (p *project) keys() (keys []wire.VaultKey) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(p.tazpod("vault", "key", "list", "--json").ok()), &keys); err != nil {
		p.t.Fatal(err)
	}
	return keys
}

var cheap = []string{"--iter-time", "100ms"}

// answer gives a passphrase where one is asked for.
func (term *terminal) answer(prompt, pass string) {
	term.t.Helper()
	term.expect(prompt)
	term.send(pass + "\n")
}

const (
	another = "lorem ipsum dolor sit amet"
	newer   = "a quick brown fox and a lazy dog"
)

// TestVaultKeys: people change who can open the vault, while it is open and while it
// is locked, and a session goes on meanwhile.
func TestVaultKeys(t *testing.T) {
	p := newProject(t)
	p.ghost("run", "base", "--", "true").ok()
	p.sessionWith(passphrase, "sh", "-c", "echo token >secrets/kubeconfig")
	p.tazpod("vault", "passwd").says("no terminal").status(wire.ExitPassphrase)

	// Locked, on a terminal.
	term := p.terminal(append([]string{"vault", "passwd"}, cheap...)...)
	term.answer("Passphrase: ", "wrong")
	term.expect("try again")
	term.answer("Passphrase: ", passphrase)
	term.answer("New passphrase: ", newer)
	term.expect("Strength")
	term.answer("Repeat passphrase: ", newer)
	equal(t, "status of passwd", term.end(), 0)
	if s := term.screen(); strings.Contains(s, newer) || !strings.Contains(s, "earlier generations") {
		t.Errorf("passwd says %s", s)
	}
	p.with(passphrase, "ghost", "--no-tty").says("wrong passphrase").status(wire.ExitPassphrase)
	p.locked()

	// Open.
	term = p.terminal("ghost")
	term.answer("Passphrase: ", newer)
	term.ready()
	p.with(newer, "vault", "key", "add", "--label", "ada", "--iter-time", "100ms", "--new-passphrase-file", p.file(another)).ok()
	p.with(another, "vault", "key", "add", "--new-passphrase-file", p.file(newer)).says("opens the vault already").status(wire.ExitFailure)
	keys := p.keys()
	if len(keys) != 2 || keys[1].Label != "ada" || !strings.Contains(keys[0].KDF, "argon2id") {
		t.Errorf("the keys are %+v", keys)
	}
	equal(t, "what who has another key of the open vault reads", p.sessionWith(another, "cat", "secrets/kubeconfig"), "token\n")
	p.with(newer, "vault", "key", "remove", "17").says("no such keyslot", "vault key list").status(wire.ExitUsage)

	// One's own keyslot takes a yes, the last one stays.
	own := p.terminal("vault", "key", "remove", "1")
	own.answer("Passphrase: ", newer)
	own.expect("[y/N] ")
	own.send("n\n")
	equal(t, "status after a no", own.end(), wire.ExitUsage)
	p.with(another, "vault", "key", "remove", "1").says("removed").ok()
	p.with(newer, "ghost", "--no-tty").says("wrong passphrase").status(wire.ExitPassphrase)
	p.with(another, "vault", "key", "remove", "2", "--yes").says("the last keyslot", "add another one first").status(wire.ExitFailure)
	term.send("cat ~/secrets/kubeconfig; exit\n")
	equal(t, "status of the session that went on", term.end(), 0)
	p.locked()
	equal(t, "content", p.sessionWith(another, "cat", "secrets/kubeconfig"), "token\n")
	for _, earlier := range []string{"vault.img.1", "vault.img.2"} {
		if _, err := os.Stat(filepath.Join(filepath.Dir(p.vault()), earlier)); err == nil {
			t.Errorf("%s is left, which removed keys open", earlier)
		}
	}
}

// sessionWith runs a command in the ghost, and returns what it prints.
func (p *project) sessionWith(pass string, argv ...string) string {
	p.t.Helper()
	args := []string{"ghost", "--passphrase-file", p.file(pass), "--", "sh", "-c", `cd && exec "$@"`, "sh"}
	return p.tazpod(append(args, argv...)...).ok()
}

func TestVaultRecovery(t *testing.T) {
	p := newProject(t)
	p.ghost("run", "base", "--", "true").ok()
	code := regexp.MustCompile(`([0-9A-Z]{5}-){5}[0-9A-Z]{5}`)
	term := p.terminal("vault", "recovery")
	term.answer("Passphrase: ", passphrase)
	term.expect("[y/N] ")
	term.send("\x03") // not written down
	equal(t, "status after Ctrl-C", term.end(), 130)
	if seen := code.FindString(term.screen()); seen == "" {
		t.Errorf("no code is shown: %s", term.screen())
	}
	equal(t, "keys after Ctrl-C", len(p.keys()), 1)
	first := code.FindString(p.with(passphrase, "vault", "recovery", "--yes", "--iter-time", "100ms").ok())
	equal(t, "what the code opens, typed carelessly", p.sessionWith(strings.ToLower(strings.ReplaceAll(first, "-", " ")), "echo", "open"), "open\n")
	wrong := []byte(first)
	wrong[8] = '0' + ('1'-wrong[8])&1
	p.with(string(wrong), "vault", "check").says("group 2").status(wire.ExitPassphrase)
	second := code.FindString(p.with(first, "vault", "recovery", "--yes", "--iter-time", "100ms").ok())
	p.with(first, "vault", "check").says("wrong passphrase").status(wire.ExitPassphrase)
	p.with(second, "vault", "check").ok()
	if keys := p.keys(); len(keys) != 2 || !keys[1].Recovery {
		t.Errorf("the keys are %+v", keys)
	}
}

// TestVaultCopies: what was saved can be looked at, copied, and gone back to.
func TestVaultCopies(t *testing.T) {
	p := newProject(t)
	p.ghost("run", "base", "--", "true").ok()
	write := func(what string) {
		t.Helper()
		p.sessionWith(passphrase, "sh", "-c", "echo "+what+" >secrets/n")
	}
	content := func() string { t.Helper(); return p.sessionWith(passphrase, "cat", "secrets/n") }
	write("first")
	dir := t.TempDir()
	backup, header := filepath.Join(dir, "backup"), filepath.Join(dir, "header")
	p.tazpod("vault", "backup", backup).ok()
	p.tazpod("vault", "backup", backup).says("exists").status(wire.ExitUsage)
	p.tazpod("vault", "backup", "--header", header).ok()
	onDisk, err := os.ReadFile(p.vault())
	if err != nil {
		t.Fatal(err)
	}
	if copied, err := os.ReadFile(backup); err != nil || !bytes.Equal(copied, onDisk) {
		t.Errorf("the backup isn't the vault: %v", err)
	}
	if out, err := exec.Command("du", "-k", backup).Output(); err != nil || len(out) > len("9999\t")+len(backup)+1 {
		t.Errorf("the backup of a nearly empty vault takes %s, %v", out, err)
	}
	write("second")

	// An open vault isn't replaced.
	term := p.opened()
	for _, args := range [][]string{{"rollback", "1"}, {"restore", backup, "--yes"}, {"create"}} {
		p.with(passphrase, append([]string{"vault"}, args...)...).says("the vault is open", "tazpod lock").status(wire.ExitFailure)
	}
	term.send("exit\n")
	equal(t, "status of the session", term.end(), 0)

	p.with("wrong", "vault", "restore", backup, "--yes").says("wrong passphrase").status(wire.ExitPassphrase)
	p.tazpod("vault", "restore", p.file("no vault"), "--yes", "--passphrase-file", p.file(passphrase)).says("not a LUKS vault").status(wire.ExitVault)
	equal(t, "content before restoring", content(), "second\n")
	p.with(passphrase, "vault", "restore", backup, "--yes").ok()
	equal(t, "restored content", content(), "first\n")
	p.with(passphrase, "vault", "rollback", "1").says("Generation 1 is the vault now").ok()
	equal(t, "content gone back to", content(), "second\n")
	p.with(passphrase, "vault", "rollback", "9").says("no such earlier generation", "vault generations").status(wire.ExitUsage)
	if list := p.tazpod("vault", "generations").ok(); strings.Count(list, "the vault's keys") < 2 {
		t.Errorf("the generations are\n%s", list)
	}

	// Damage to the header is found and mended; a lost one comes from its backup.
	patch(t, p.vault(), 4100, []byte("damage"))
	p.with(passphrase, "vault", "check").ok()
	if rows := p.with(passphrase, "vault", "check").ok(); !strings.Contains(rows, "both copies are sound") {
		t.Errorf("after mending, check says\n%s", rows)
	}
	patch(t, p.vault(), 0, make([]byte, 64<<10))
	p.with(passphrase, "vault", "check").says("not a LUKS vault").status(wire.ExitVault)
	p.with(passphrase, "vault", "restore", "--header", header, "--yes").ok()
	equal(t, "content behind the restored header", content(), "second\n")
}

// TestRestoreLosesItsPod: a client in the middle of sending ends when nobody takes it
// any more, and the vault is what it was.
func TestRestoreLosesItsPod(t *testing.T) {
	p := newProject(t)
	p.ghost("run", "base", "--", "true").ok()
	p.sessionWith(passphrase, "sh", "-c", "echo kept >secrets/n")
	backup := filepath.Join(t.TempDir(), "backup")
	p.tazpod("vault", "backup", backup).ok()
	h := p.host()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		cmd := (&command{p: p, args: []string{"vault", "restore", backup, "--yes", "--passphrase-file", p.file(passphrase)}}).build(ctx)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for drafts := 0; drafts == 0; time.Sleep(10 * time.Millisecond) {
			names, err := filepath.Glob(p.vault() + ".new-*")
			if drafts = len(names); err != nil || ctx.Err() != nil {
				t.Fatalf("no draft appears: %v, %v", err, ctx.Err())
			}
		}
		h.kill("role serve")
		if err := cmd.Wait(); err == nil || ctx.Err() != nil {
			t.Errorf("the client ends with %v, %v; want an error of its own", err, ctx.Err())
		}
		cancel()
		equal(t, "content", p.sessionWith(passphrase, "cat", "secrets/n"), "kept\n")
	}
}

// patch writes over a part of a file.
func patch(t *testing.T, path string, offset int64, p []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(p, offset); err != nil {
		t.Fatal(err)
	}
}

// TestVaultResize: a vault that is full in an open ghost has room at once.
func TestVaultResize(t *testing.T) {
	p := newProject(t)
	p.tazpod("up", "base").ok()
	p.with(passphrase, "vault", "create", "--size", "1MiB").says("between 16 MiB").status(wire.ExitUsage)
	p.with(passphrase, "vault", "create", "--size", "24MiB", "--iter-time", "100ms").ok()
	p.with(passphrase, "vault", "create").says("there is a vault already").status(wire.ExitVault)
	term := p.opened()
	term.send("head -c 30M /dev/zero | tr '\\0' x >~/secrets/big || echo NO\"\" SPACE\n")
	term.expect("NO SPACE")
	p.with(passphrase, "vault", "resize", "96MiB").ok()
	term.send("head -c 30M /dev/zero | tr '\\0' x >~/secrets/big && echo all\"\" written\n")
	term.expect("all written")
	term.send("exit\n")
	equal(t, "status of the session", term.end(), 0)
	p.locked()
	p.with(passphrase, "vault", "resize", "24MiB").says("don't fit").status(wire.ExitFailure)
	equal(t, "size of the content", strings.TrimSpace(p.sessionWith(passphrase, "stat", "-c", "%s", "secrets/big")), "31457280")
	p.with(passphrase, "vault", "check").ok()
}

func TestVaultExport(t *testing.T) {
	p := newProject(t)
	p.ghost("run", "base", "--", "true").ok()
	p.sessionWith(passphrase, "sh", "-c", "umask 077; mkdir secrets/d; echo x >secrets/d/f; ln -s d/f secrets/l; chmod 640 secrets/d/f")
	dir := filepath.Join(t.TempDir(), "out")
	p.with(passphrase, "vault", "export", dir).says("in clear", "--yes").status(wire.ExitUsage)
	term := p.terminal("vault", "export", dir)
	term.expect("[y/N] ")
	term.send("y\n")
	term.answer("Passphrase: ", passphrase)
	term.expect("Are you sure?")
	term.send("n\n")
	equal(t, "status after a second no", term.end(), wire.ExitUsage)
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("%v was written after a no", entries)
	}
	p.with(passphrase, "vault", "export", dir, "--yes").ok()
	got, err := os.ReadFile(filepath.Join(dir, "l"))
	info, _ := os.Stat(filepath.Join(dir, "d/f"))
	if string(got) != "x\n" || err != nil || info.Mode() != 0o640 {
		t.Errorf("exported: %q, %v, %v", got, err, info)
	}
	p.with(passphrase, "vault", "export", dir, "--yes").says("not empty").status(wire.ExitUsage)
}

// TestVaultInPod: the pod's own program does the same, on a terminal and by
// descriptor, and nothing that was typed is left in the supervisor's memory.
func TestVaultInPod(t *testing.T) {
	p := newProject(t)
	p.ghost("run", "base", "--", "true").ok()
	h := p.host()
	term := onTerminal(t, exec.Command("docker", "exec", "-it", p.name, "tazpod-init", "vault", "passwd", "--iter-time", "100ms"))
	term.answer("Passphrase: ", passphrase)
	term.expect("New passphrase: ")
	if h.copies([]byte(passphrase)) == 0 {
		t.Error("the passphrase isn't in the supervisor's memory while it waits for another: what is looked for is not seen")
	}
	term.send(newer + "\n")
	term.answer("Repeat passphrase: ", newer)
	equal(t, "status", term.end(), 0)
	h.forgotten("after passwd", newer, passphrase)
	shown := p.inPod("0", "sh", "-c", "printf '"+newer+"' | tazpod-init vault recovery --yes --iter-time 100ms --passphrase-fd 0").ok()
	h.forgotten("after recovery", strings.TrimSpace(shown), newer)
	p.inPod("0", "sh", "-c", "printf '"+strings.TrimSpace(shown)+"' | tazpod-init vault check --passphrase-fd 0").ok()
	p.inPod("1000", "tazpod-init", "vault", "key", "list").says("may not reach").status(wire.ExitFailure)
	p.locked()
}

// forgotten waits until no secret is in the supervisor's memory.
func (h *host) forgotten(when string, secrets ...string) {
	h.t.Helper()
	for _, secret := range secrets {
		deadline := time.Now().Add(10 * time.Second)
		for n := 1; n > 0; time.Sleep(100 * time.Millisecond) {
			if n = h.copies([]byte(secret)); n > 0 && time.Now().After(deadline) {
				h.t.Errorf("%s a secret is %d times in the supervisor's memory", when, n)
				break
			}
		}
	}
}

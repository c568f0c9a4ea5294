package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tazzo/tazpod/init/wire"
)

func (p *project) vault() string { return filepath.Join(p.dir, ".tazpod/vault/vault.img") }

func TestWrongPassphrase(t *testing.T) {
	p := newProject(t)
	p.ghost("run", "base", "--", "true").ok()
	term := p.terminal("ghost")
	for range 3 {
		term.expect("Passphrase: ")
		term.send("wrong\n")
	}
	equal(t, "status", term.end(), wire.ExitPassphrase)
	if strings.Contains(term.screen(), "wrong\n") {
		t.Errorf("the passphrase was echoed: %s", term.screen())
	}
	term = p.terminal("ghost")
	term.expect("Passphrase: ")
	term.send("wrong again\n")
	term.unlock()
	term.send("exit\n")
	equal(t, "status after a typo", term.end(), 0)
	(&command{p: p, args: []string{"ghost", "--", "true"}}).run().says("passphrase", "--passphrase-fd").status(wire.ExitPassphrase)
	empty := ""
	(&command{p: p, args: []string{"ghost", "--", "true"}, pass: &empty}).run().says("empty").status(wire.ExitPassphrase)
}

func TestPromptsCanBeLeft(t *testing.T) {
	p := newProject(t)
	p.tazpod("up", "base").ok()
	leave := func(key string, want int, answers ...string) {
		t.Helper()
		term := p.terminal("ghost")
		for _, a := range answers {
			term.expect("New passphrase: ")
			term.send(a)
		}
		term.expect([]string{"New passphrase: ", "Repeat passphrase: "}[len(answers)])
		term.send(key)
		equal(t, "status", term.end(), want)
		if _, err := os.Stat(p.vault()); err == nil {
			t.Error("a vault was made nevertheless")
		}
	}
	early := p.terminal("ghost")
	early.expect("There is no vault") // the prompt comes next
	early.send("\x03")
	equal(t, "status after an early Ctrl-C", early.end(), 130)
	leave("\x03", 130)
	leave("\x04", wire.ExitPassphrase)
	leave("\x03", 130, passphrase+"\n")
	leave("\x04", wire.ExitPassphrase, passphrase+"\n")
	term := p.terminal("ghost")
	term.expect("New passphrase: ")
	term.send(passphrase + "\n")
	term.expect("Repeat passphrase: ")
	term.send("something else\n")
	term.expect("differ")
	term.expect("New passphrase: ")
	term.send("\n")
	term.expect("empty")
	term.expect("New passphrase: ")
	term.send("\x03")
	equal(t, "status", term.end(), 130)
	p.ghost("ghost", "--", "true").ok() // makes the vault
	term = p.terminal("ghost")
	term.expect("Passphrase: ")
	term.send("\x03")
	equal(t, "status", term.end(), 130)
	p.locked()
}

func TestPodDiesInMidSession(t *testing.T) {
	p := newProject(t)
	term := p.opened()
	run(t, "docker", "kill", p.name).ok()
	equal(t, "status", term.end(), wire.ExitSession)
	if !strings.Contains(term.screen(), "tazpod: error: ") {
		t.Errorf("nothing was said: %s", term.screen())
	}
	p.ghost("run", "base", "--", "true").ok()
}

// TestBadVaults damages the file in every way that people meet, and sees a
// clear refusal that changes nothing.
func TestBadVaults(t *testing.T) {
	p := newProject(t)
	p.ghost("run", "base", "--", "true").ok()
	good, err := os.ReadFile(p.vault())
	if err != nil {
		t.Fatal(err)
	}
	luks1 := filepath.Join(t.TempDir(), "luks1")
	format := func(path string, args ...string) []byte {
		t.Helper()
		if err := os.WriteFile(path, make([]byte, 32<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("cryptsetup", append(append([]string{"luksFormat", "-q", "--pbkdf-force-iterations", "1000",
			"--pbkdf", "pbkdf2", "--key-file", "-"}, args...), path)...)
		cmd.Stdin = strings.NewReader(passphrase)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, c := range []struct {
		name string
		data []byte
		says string
	}{
		{"empty", nil, "LUKS"},
		{"truncated in the header", good[:1<<20], "truncated"},
		{"truncated in the content", good[:3<<20], ""},
		{"not LUKS", make([]byte, 4<<20), "LUKS"},
		{"LUKS1", format(luks1, "--type", "luks1"), "LUKS1"},
		{"unsupported cipher", format(luks1, "--type", "luks2", "--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"), "aes-cbc"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(p.vault(), c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			r := p.ghost("ghost", "--", "true").says("vault.img", c.says, "hint")
			r.status(wire.ExitVault)
			now, err := os.ReadFile(p.vault())
			if err != nil || string(now) != string(c.data) {
				t.Errorf("the refused vault was changed (%v)", err)
			}
		})
	}
	t.Run("damaged primary header", func(t *testing.T) {
		data := append([]byte(nil), good...)
		clear(data[:4096])
		if err := os.WriteFile(p.vault(), data, 0o600); err != nil {
			t.Fatal(err)
		}
		p.ghost("ghost", "--", "true").ok() // the second copy serves
	})
	t.Run("symbolic link", func(t *testing.T) {
		elsewhere := filepath.Join(t.TempDir(), "elsewhere")
		if err := os.Rename(p.vault(), elsewhere); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/etc/passwd", p.vault()); err != nil {
			t.Fatal(err)
		}
		p.ghost("ghost", "--", "true").status(wire.ExitVault)
		if err := os.Remove(p.vault()); err != nil {
			t.Fatal(err)
		}
	})
	if err := os.WriteFile(p.vault(), good, 0o600); err != nil {
		t.Fatal(err)
	}
	p.ghost("ghost", "--", "true").ok()
	t.Run("missing", func(t *testing.T) {
		run(t, "mv", p.vault(), p.vault()+".1").ok()
		earlier := run(t, "sh", "-c", "cd "+filepath.Dir(p.vault())+" && ls vault.img.*").ok()
		p.ghost("ghost", "--", "true").says("vault.img: missing", "vault.img.1", "tazpod vault rollback 1").status(wire.ExitVault)
		equal(t, "earlier generations", run(t, "sh", "-c", "cd "+filepath.Dir(p.vault())+" && ls vault.img.*").ok(), earlier)
		// Without those, a new one is made, in a dialogue that says so.
		run(t, "sh", "-c", "rm "+p.vault()+".*").ok()
		p.ghost("ghost", "--", "true").says("There is no vault").ok()
	})
}

func TestVaultInUse(t *testing.T) {
	p := newProject(t)
	term := p.opened()
	other := p.name + "-2"
	run(t, "docker", "run", "-d", "--name", other, "--cap-add", "SYS_ADMIN", "-v", p.dir+":/workspace", "tazpod/base").ok()
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", other).Run() })
	second := onTerminal(t, exec.Command("docker", "exec", "-it", other, "tazpod-init", "ghost"))
	second.expect("Passphrase: ")
	second.send(passphrase + "\n")
	equal(t, "status", second.end(), wire.ExitVaultInUse)
	if !strings.Contains(second.screen(), "in use") {
		t.Errorf("it says: %s", second.screen())
	}
	term.send("exit\n")
	term.end()
}

// TestFullDisk fails a save, keeps the content, and saves when there is room.
func TestFullDisk(t *testing.T) {
	p := newProject(t)
	vault := filepath.Join(p.dir, ".tazpod/vault")
	if err := os.MkdirAll(vault, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", vault).ok()
	t.Cleanup(func() {
		_ = exec.Command("docker", "rm", "-f", p.name).Run() // newProject's cleanup comes later
		if out, err := exec.Command("umount", vault).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v: %s", vault, err, out)
		}
	})
	term := p.opened()
	term.send("echo safe >~/secrets/small; head -c 40M /dev/urandom >~/secrets/large; echo writ''ten\n")
	term.expect("written")
	for deadline := time.Now().Add(20 * time.Second); p.status().Vault.State != wire.VaultUnsaved; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("status = %+v; want unsaved", p.status())
		}
	}
	if out := p.tazpod("status").ok(); !strings.Contains(out, "no space left") {
		t.Errorf("status doesn't say why: %s", out)
	}
	term.expect("no space left on device: free some space")
	term.send("rm ~/secrets/large\n")
	term.expect("the vault is saved again")
	equal(t, "times it was told", strings.Count(term.screen(), "no space left"), 1)
	term.send("exit\n")
	equal(t, "status", term.end(), 0)
	equal(t, "small file", p.ghost("ghost", "--", "sh", "-c", "cat ~/secrets/small").ok(), "safe\n")
	if rest := run(t, "ls", "-A", vault).ok(); strings.Contains(rest, "tmp") {
		t.Errorf("temporary files are left: %s", rest)
	}
}

func TestReadOnlyProject(t *testing.T) {
	p := newProject(t)
	p.ghost("run", "base", "--", "true").ok()
	p.tazpod("down").ok()
	run(t, "docker", "run", "-d", "--name", p.name, "--cap-add", "SYS_ADMIN", "-v", p.dir+":/workspace:ro", "tazpod/base").ok()
	term := onTerminal(t, exec.Command("docker", "exec", "-it", p.name, "tazpod-init", "ghost"))
	term.expect("Passphrase: ")
	term.send(passphrase + "\n")
	equal(t, "status", term.end(), wire.ExitVault)
	if !strings.Contains(term.screen(), "read-only") {
		t.Errorf("it says: %s", term.screen())
	}
}

// TestPlantedLinks has one where the vault's directory was. Those in the home
// are TestAttacks's.
func TestPlantedLinks(t *testing.T) {
	p := newProject(t)
	p.ghost("run", "base", "--", "true").ok()
	vault := filepath.Join(p.dir, ".tazpod/vault")
	if err := os.Rename(vault, vault+"-real"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", vault); err != nil {
		t.Fatal(err)
	}
	p.ghost("ghost", "--", "true").says("symbolic link").status(wire.ExitVault)
}

func TestEngineTrouble(t *testing.T) {
	p := newProject(t)
	for _, args := range [][]string{{"run", "base"}, {"ghost"}, {"status"}, {"up", "base"}, {"down"}} {
		r := (&command{p: p, args: args, env: []string{"DOCKER_HOST=unix:///nonexistent.sock"}}).run()
		r.says("tazpod: error: ", "tazpod: hint: ").status(wire.ExitNoEngine)
	}
	config := filepath.Join(p.dir, ".tazpod/config.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, append(text, "vualt: {}\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	p.tazpod("status").says("vualt", "config.yaml:").status(wire.ExitUsage)
}
